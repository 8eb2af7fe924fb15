# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The static check: one sentence for each broken rule, with file and line; nothing talks it out of that."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patching import PACKAGE, PatchError, Repo, tree
from patching.check import BUDGET, check
from patching.refresh import refresh
from patching.series import FIELDS, parse_patch, read_pin
from toy import ENGINE, FACE, OVERLAY, PATCHES, Toy, quiet, snapshot

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "scripts/patchset.py")


def failures(toy) -> str:
    """Return all the sentences as one text."""
    return "\n".join(check(toy.repo)[0])


def test_sound_series_passes_and_is_counted(toy):
    """Three patches, two files; 1 + 4 + 2 changed lines."""
    assert check(toy.repo) == ([], f"3 patches, 2 files, 7 changed lines (at most {BUDGET})")


def test_needs_no_download_and_no_package(tmp_path):
    """In a bare interpreter, with neither tree nor wheel nor network, check does all of its work on our own series."""
    for name in ("scripts", "patches"):
        shutil.copytree(ROOT / name, tmp_path / name)
    command = [sys.executable, "-E", "-s", "-S", str(tmp_path / "scripts/patchset.py"), "check"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed lines" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["patches", "scripts"]


def test_reader_that_is_gone():
    """What is printed into a closed pipe, as by `| head`, is lost without a traceback."""
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "check"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 1)
    process.stderr.close()


def test_six_commands_each_with_an_example(tmp_path):
    """The command line is small enough to be read; a failure is exit code 1 and one line."""
    said = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True).stdout
    names = re.findall(r"^    (\w+) ", said, re.MULTILINE)
    assert len(names) == 6
    for name in names:
        shown = subprocess.run([sys.executable, SCRIPT, name, "--help"], capture_output=True, text=True).stdout
        assert f"example: python scripts/patchset.py {name}" in " ".join(shown.split())
    done = subprocess.run([sys.executable, SCRIPT, "apply", "--target", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("field", FIELDS)
def test_header_field_missing_or_open(toy, field):
    """Every patch says what it does, why, why not otherwise, when it goes, and whether it is needed."""
    lines = toy.get("patches/add-call.patch").decode().splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if line.startswith(field + ":"))
    for value in ("", f"{field}:\n", f"{field}: TODO\n"):
        toy.put("patches/add-call.patch", "".join([*lines[:number], value, *lines[number + 1 :]]).encode())
        said = f":{number + 1} leaves {field} open" if value else f":1 has 0 fields {field}"
        assert f"add-call.patch{said}" in failures(toy)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Drop-when:", "Dropwhen:", "has field Dropwhen: known are"),
        ("Needed: required", "Needed: perhaps", "has Needed 'perhaps': say required, or optional: LOST"),
        ("Needed: required", "Needed: optional", "has Needed 'optional'"),
        ("Touches: ", "Touched: ", "has field Touched"),
        (" sha256=", " md5=", "expected PATH sha256=DIGEST"),
        ("First\n", "Last\n", "has 'Last': expected First, Before, After, Replace"),
        ("First\n", "Or: First\n", "from the second place on after `Or: `"),
        ("First\n", "First\nIf: x\n", "has no lines: they follow"),
        ("First\n    distill.begin(self)\n", "First\n", "has no lines: they follow, indented by four blanks"),
        (", Runner.train\nFirst", "\nFirst", "First without a function"),
        (
            "Runner.train\nFirst",
            "Runner.train\n    stray()\nFirst",
            "they stand under one of First, Before, After, Replace",
        ),
        ("Before: self\\.step\\(", "Before: self\\.step(", "that is no regular expression"),
        ("After: self\\.step\\(\n    distill.end(self)\n", "", "has no place"),
        (f"--- a/{ENGINE}", f"--- a/{FACE}", "touches other files than its changes or its diff"),
        ("Subject: do", "Subject: do\nsomething", "a header line is `Field: value`, or indented"),
    ],
)
def test_malformed_patch(toy, old, new, message):
    """Each is named with its file."""
    toy.edit("patches/add-call.patch", old, new)
    assert message in failures(toy) and "add-call.patch" in failures(toy)


BAD = ["../e.py", "/etc/e.py", "ultralytics/../e.py", "ultralytics//e.py", "ultralytics\\e.py", "C:/ultralytics/e.py"]


@pytest.mark.parametrize(
    "path", [*BAD, "setup.py", "ultralytics", "ultralytics/distill/a.py", "ultralytics/Distill/a.py"]
)
def test_path_that_leaves_upstreams_package(toy, path):
    """A patch names plain paths inside upstream's package, and none in ours."""
    toy.put("patches/add-call.patch", toy.get("patches/add-call.patch").replace(ENGINE.encode(), path.encode()))
    assert f"names {path!r}" in failures(toy)


@pytest.mark.parametrize(
    "spoil", [lambda x: x.replace(b"\n", b"\r\n"), lambda x: x[:-1], lambda x: b"", lambda x: b"\xff" + x]
)
def test_bytes_that_are_no_patch(toy, spoil):
    """LF line ends, a last line end, UTF-8, and something in it."""
    toy.put("patches/add-call.patch", spoil(toy.get("patches/add-call.patch")))
    assert re.search(r"add-call.patch (is not UTF-8|has a carriage return or breaks off)", failures(toy))


def test_series_and_folder_agree(toy):
    """No patch is forgotten in the folder, none is listed twice or missing; names say what a patch does."""
    toy.put("patches/series", b"name-fork.patch\nname-fork.patch\ndo-more.patch\n0001-fix.patch\n")
    text = failures(toy)
    assert "series:2 lists name-fork.patch a second time" in text
    assert "series:3 lists do-more.patch: there is no such file" in text
    assert "series:4 lists 0001-fix.patch: a name is verb-object.patch" in text
    assert "patches/add-call.patch is not listed" in text


def test_budget_and_version(toy):
    """The whole series stays small, and its number is the pin's."""
    more = "\\(\n" + "    distill.end(self)\n" * (BUDGET + 1)
    toy.edit("patches/add-call.patch", "\\(\n    distill.end(self)\n", more)
    refresh(toy.repo, log=quiet)
    toy.edit("patches/upstream.toml", "distill = 3", "distill = 4")
    assert f"series changes {BUDGET + 7} lines, at most {BUDGET}" in failures(toy)
    assert "does not end ultralytics.__version__ in +distill.4" in failures(toy)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[wheels]", "[files]", "cannot be read"),
        ("distill = 3", 'distill = "three"', "must be an integer"),
        ('version = "1.0.0"', "version = 1.0.0", "cannot be read"),
        ('version = "1.0.0"', 'version = "1.0.0"\nversion = "2.0.0"', "cannot be read"),
        ('sha256 = "', 'sha256 = "Z', "is no release of ultralytics with its sha256"),
        ('version = "', 'version = "../', "is no release of ultralytics with its sha256"),
        ("distill = 3", "distill = 3\nother = 1", "cannot be read"),
    ],
)
def test_malformed_pin(toy, old, new, message):
    """The pin is read strictly."""
    toy.edit("patches/upstream.toml", old, new)
    assert message in failures(toy)


def test_pin_is_toml():
    """Our small reader and a real one read the same."""
    tomllib = pytest.importorskip("tomllib")
    pin = read_pin(Repo(ROOT))
    data = tomllib.loads((ROOT / "patches/upstream.toml").read_text())
    assert data["wheels"] == pin.wheels and data["upstream"] == {
        "version": pin.version,
        "sha256": pin.sha256,
        "distill": pin.distill,
    }


def test_our_diffs_are_those_of_our_changes():
    """The series of this repository is strict on the pin; `git apply` could put it there."""
    files, plan = tree.patched(Repo(ROOT))
    assert {path for path in files if files[path] != plan.files[path]} >= {f"{PACKAGE}/engine/trainer.py"}
    assert not plan.left_out and not plan.there


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A toy repository with its tree pristine."""
    toy = Toy(tmp_path_factory.mktemp("sound") / "repo")
    toy.apply()
    toy.revert()
    return toy.repo.root


EDITS = (
    b"\r",
    b"\n",
    b"\0",
    b"\xff\xfe",
    b"In ultralytics/x\n",
    b"First\n",
    b"--- a/x\n+++ b/x\n",
    b"    ",
    b"../evil",
)
FILES = ("series", "upstream.toml", *(f"{name}.patch" for name in PATCHES))


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.sampled_from(EDITS), st.floats(0, 1), st.integers(0, 40))
def test_spoiled_series_is_whole_or_refused(sound, file, edit, at, cut):
    """Whatever is done to one of the files: the tree is as it was, or wholly patched and can be taken back."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "repo"
        shutil.copytree(sound, root)
        path = root / "patches" / file
        data = path.read_bytes()
        place = int(at * len(data))
        path.write_bytes(data[:place] + edit + data[place + cut :])
        repo, before = Repo(root), snapshot(root)
        try:
            tree.apply(repo, log=quiet)
        except PatchError as error:
            assert str(error) and "\n" not in str(error)
            assert snapshot(root) == before
        else:
            changed = {p for p, v in snapshot(root).items() if before.get(p) != v}
            assert all(p.startswith(f"{PACKAGE}/") for p in changed)
            tree.revert(repo, quiet)
            assert {p: v[0] for p, v in snapshot(root).items()} == {p: v[0] for p, v in before.items()} | {
                tree.RECORD: (root / tree.RECORD).read_bytes()
            }
        assert {path.name for path in Path(folder).iterdir()} == {"repo"}
        assert all((root / p).read_bytes() == data for p, data in OVERLAY.items())
        check(repo)  # says what is wrong, or nothing; never a traceback
        for name in PATCHES:
            try:
                parse_patch((root / f"patches/{name}.patch").read_bytes(), name)
            except PatchError:
                pass
