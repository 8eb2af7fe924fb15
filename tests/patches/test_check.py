# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The static check: one sentence for each broken rule, with file and line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from patching.check import BUDGET, check
from patching.pin import pin_text, read_pin
from toy import ENGINE, FACE

ROOT = Path(__file__).resolve().parents[2]


def failures(toy) -> str:
    """Return all the sentences as one text."""
    return "\n".join(check(toy.repo)[0])


def test_sound_series_passes_and_is_counted(toy):
    """Two patches, two files; 1 + 1 and 2 + 1 changed lines."""
    assert check(toy.repo) == ([], f"2 patches, 2 files, 5 changed lines (at most {BUDGET})")


def test_needs_no_download_and_no_package(tmp_path):
    """In a bare interpreter, with neither tree nor wheel nor network, check does all of its work."""
    for name in ("scripts", "patches"):
        shutil.copytree(ROOT / name, tmp_path / name)
    command = [sys.executable, "-E", "-s", "-S", str(tmp_path / "scripts/patchset.py"), "check"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed lines" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["patches", "scripts"]


def test_reader_that_is_gone():
    """What is printed into a closed pipe, as by `| head`, is lost without a traceback."""
    command = [sys.executable, str(ROOT / "scripts/patchset.py"), "check"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 1)
    process.stderr.close()


@pytest.mark.parametrize("field", ["Subject", "Why", "No-other-way", "Forwarded", "Drop-when"])
def test_header_field_missing_or_open(toy, field):
    """Every patch says what it does, why, why not otherwise, and when it goes."""
    text = toy.get("patches/add-call.patch").decode()
    lines = text.splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if line.startswith(field + ":"))
    for value, message in (("", "leaves"), (f"{field}:\n", "leaves"), (f"{field}: TODO\n", "leaves")):
        toy.put("patches/add-call.patch", "".join([*lines[:number], value, *lines[number + 1 :]]).encode())
        if value:
            assert f"add-call.patch:{number + 1} {message} {field} open" in failures(toy)
        else:
            assert f"add-call.patch:1 has 0 fields {field}" in failures(toy)


def test_fresh_patch_is_refused_until_its_header_is_filled(toy):
    """What refresh makes of a new patch is a form to fill in."""
    toy.edit(ENGINE, "line_55 = 55", "line_55 = 5")
    toy.refresh("change-line.patch", fill=False)
    assert failures(toy).count("change-line.patch") == 5


def test_unknown_field(toy):
    """A misspelt field is no field."""
    toy.edit("patches/add-call.patch", "Drop-when:", "Dropwhen:")
    assert "has field Dropwhen: known are" in failures(toy)


def test_long_value_goes_on_in_indented_lines(toy):
    """A paragraph may be broken."""
    toy.edit("patches/add-call.patch", "Drop-when: because", "Drop-when:\n  because")
    assert failures(toy) == ""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("@@ -39,6 +39,7 @@", "@@ -39,9 +39,10 @@", "promises 9 old and 10 new lines, but has 6 and 7"),
        ("@@ -12,7 +12,7 @@", "@@ -12,7 +12,7 @@ def f():", "expected `@@"),
        ("-line_14 = 14\n", "line_14 = 14\n", "a hunk line starts with"),
        ("-line_14 = 14\n+second = 2\n", " line_14 = 14\n", "changes nothing"),
        (f"--- a/{ENGINE}", f"--- {ENGINE}", "expected a/PATH and b/PATH"),
        (f"+++ b/{ENGINE}", f"+++ b/{FACE}", "with the same PATH"),
        (f"--- a/{ENGINE}", "--- /dev/null", "a patch only changes files"),
        (" line_43 = 43\n", " line_43 = 43\ntrailing\n", "expected `--- a/PATH`"),
    ],
)
def test_malformed_diff(toy, old, new, message):
    """Counts, marks and names are right, and nothing follows; the place is named."""
    toy.edit("patches/add-call.patch", old, new)
    assert message in failures(toy)
    assert "add-call.patch:" in failures(toy)


@pytest.mark.parametrize(
    "path",
    [
        "../evil.py",
        "/etc/evil.py",
        "ultralytics/../evil.py",
        "ultralytics//evil.py",
        "ultralytics\\evil.py",
        "C:/ultralytics/evil.py",
        "setup.py",
        "ultralytics",
        "ultralytics/distill/config.py",
    ],
)
def test_path_that_leaves_upstreams_package(toy, path):
    """A patch names plain paths inside upstream's package, and none in ours."""
    toy.put("patches/add-call.patch", toy.get("patches/add-call.patch").replace(ENGINE.encode(), path.encode()))
    assert f"names {path!r}" in failures(toy)


def test_too_much_context(toy):
    """Three lines of context at most: more only breaks sooner."""
    text = toy.get("patches/name-fork.patch").decode()
    text = text.replace("@@ -8,6 +8,7 @@\n", "@@ -7,7 +7,8 @@\n line_07 = 7\n")
    toy.put("patches/name-fork.patch", text.encode())
    assert "has 4 lines of context: at most 3" in failures(toy)


def test_carriage_returns(toy):
    """Patches have LF line ends; the first other one is named."""
    toy.put("patches/add-call.patch", toy.get("patches/add-call.patch").replace(b"\n", b"\r\n"))
    assert "add-call.patch:1 has a carriage return" in failures(toy)


@pytest.mark.parametrize("cut", [0, 1, 100, 300, -1])
def test_truncated_patch(toy, cut):
    """A patch that breaks off is refused, wherever it does."""
    toy.put("patches/add-call.patch", toy.get("patches/add-call.patch")[:cut])
    assert "add-call.patch" in failures(toy)


def test_series_and_folder_agree(toy):
    """No patch is forgotten in the folder, none is listed twice or missing."""
    toy.put("patches/series", b"name-fork.patch\nname-fork.patch\ndo-more.patch\n")
    text = failures(toy)
    assert "series:2 lists name-fork.patch a second time" in text
    assert "series:3 lists do-more.patch: there is no such file" in text
    assert "patches/add-call.patch is not listed" in text


@pytest.mark.parametrize("name", ["0001-add-call.patch", "call.patch", "Add-call.patch", "add-call.diff"])
def test_name_says_what_the_patch_does(toy, name):
    """Verb and object, no numbers: numbers collide and churn."""
    (toy.repo.patches / "add-call.patch").rename(toy.repo.patches / name)
    toy.edit("patches/series", "add-call.patch", name)
    assert "a name is verb-object.patch" in failures(toy)


def test_hashes_agree_with_the_pin(toy):
    """A patch and the pin speak of the same pristine file."""
    digest = read_pin(toy.repo.patches / "upstream.toml").files[ENGINE]
    toy.edit("patches/add-call.patch", digest, "0" * 64)
    assert f"gives another hash for {ENGINE} than upstream.toml" in failures(toy)


def test_pin_lists_exactly_the_touched_files(toy):
    """The pin's table is complete and has nothing stale."""
    pin = read_pin(toy.repo.patches / "upstream.toml")
    pin.files["ultralytics/gone.py"] = "0" * 64
    toy.put("patches/upstream.toml", pin_text(pin).encode())
    assert "ultralytics/gone.py is listed, but no patch touches it" in failures(toy)


def test_touches_lists_exactly_the_changed_files(toy):
    """The header does not speak of other files than the diffs."""
    lines = toy.get("patches/name-fork.patch").splitlines(keepends=True)
    toy.put(
        "patches/name-fork.patch", b"".join(line for line in lines if not line.startswith(b"Touches: " + FACE.encode()))
    )
    assert "says Touches" in failures(toy)


def test_budget(toy):
    """The whole series stays small; what is more than a call goes to our own package."""
    toy.edit(ENGINE, "line_55 = 55\n", "line_55 = 55\n" + "more = 0\n" * BUDGET)
    toy.refresh("add-much.patch")
    assert f"series changes {BUDGET + 5} lines, at most {BUDGET}" in failures(toy)


def test_version_follows_the_pin(toy):
    """Raising our number in the pin alone is noticed."""
    toy.edit("patches/upstream.toml", "distill = 3", "distill = 4")
    assert "does not make ultralytics.__version__ 1.0.0+distill.4" in failures(toy)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[files]", "[file]", "cannot be read"),
        ("distill = 3", 'distill = "three"', "must be an integer"),
        ('version = "1.0.0"', "version = 1.0.0", "cannot be read"),
        ('version = "1.0.0"', 'version = "1.0.0"\nversion = "2.0.0"', "cannot be read"),
        ('sha256 = "', 'sha256 = "Z', "64 lower-case hexadecimal digits"),
        ('wheel = "', 'wheel = "../', "must be a plain name"),
        ("distill = 3", "distill = 3\nother = 1", "cannot be read"),
    ],
)
def test_malformed_pin(toy, old, new, message):
    """The pin is read strictly."""
    toy.edit("patches/upstream.toml", old, new)
    assert message in failures(toy)


def test_pin_is_toml(toy):
    """Our small reader and a real one read the same."""
    tomllib = pytest.importorskip("tomllib")
    pin = read_pin(toy.repo.patches / "upstream.toml")
    data = tomllib.loads(toy.get("patches/upstream.toml").decode())
    assert data == {
        "upstream": {"version": pin.version, "wheel": pin.wheel, "sha256": pin.sha256, "distill": pin.distill},
        "files": pin.files,
    }
