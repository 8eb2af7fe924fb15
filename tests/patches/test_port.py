# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Porting to another release, drifting over several, and releasing: on a toy upstream with a smoke test of its own."""

from __future__ import annotations

import types

import pytest

from patching import PatchError, Repo, drift, port, release, wheel
from patching.check import check
from patching.pin import read_pin
from patching.status import status
from toy import ENGINE, FACE, UPSTREAM, quiet

NEWER = {
    **UPSTREAM,
    FACE: UPSTREAM[FACE].replace(b"1.0.0", b"1.1.0"),
    ENGINE: UPSTREAM[ENGINE].replace(b"line_20 = 20\n", b"line_20 = 20\nnew = 1\n"),
    "ultralytics/new.py": b"NEW = 1\n",
}
SMOKE = """
from ultralytics import __version__
from ultralytics.distill import OURS
assert "+distill." in __version__ and OURS == 1, __version__
{more}
"""


@pytest.fixture
def smoke(tmp_path, monkeypatch):
    """A smoke test that the toy can pass; returns the file."""
    file = tmp_path / "smoke.py"
    file.write_text(SMOKE.format(more=""))
    monkeypatch.setattr(port, "SMOKE", file)
    return file


def told(made) -> list[str]:
    """Return the report of a port."""
    lines: list[str] = []
    port.report(made, lines.append)
    return lines


def test_port_and_write(toy, smoke):
    """A release whose lines moved: reported with offsets, tried out, written, and then as good as any series."""
    digest = wheel.sha256(toy.add_release("1.1.0", NEWER).read_bytes())
    made = port.make_port(toy.repo, "1.1.0")
    assert told(made) == [
        f"ultralytics-1.1.0-py3-none-any.whl sha256={digest}",
        "* name-fork: moved (__init__.py:5 +0)",
        "* add-call: moved (engine/run.py:15 +0, 43 +1)",
    ]
    assert not made.needs_a_hand and port.try_out(made, quiet)
    port.write(made, quiet)
    pin = read_pin(toy.repo.patches / "upstream.toml")
    assert (pin.version, pin.sha256, pin.distill) == ("1.1.0", digest, 3)
    assert check(toy.repo)[0] == []
    toy.apply()
    assert status(toy.repo, toy.repo.root)[0] == "applied"
    assert toy.get("ultralytics/new.py") == b"NEW = 1\n" and b'"1.1.0"' in toy.get(FACE)
    before = toy.patches()
    toy.refresh()
    assert toy.patches() == before


def test_port_to_the_pin_changes_nothing(toy, smoke):
    """The pinned release itself is clean, and writing it gives the same bytes."""
    made = port.make_port(toy.repo, "1.0.0")
    assert made.words == ["clean", "clean"]
    before = toy.patches()
    port.write(made, quiet)
    assert toy.patches() == before


@pytest.mark.parametrize(
    ("files", "words", "line"),
    [
        (
            {ENGINE: NEWER[ENGINE].replace(b"line_14 = 14", b"line_14 = 41")},
            ["moved", "conflict"],
            f"  {ENGINE}:15: add-call does not fit",
        ),
        ({ENGINE: None}, ["conflict", "conflict"], f"  {ENGINE}:0: add-call does not fit"),
        (
            {
                ENGINE: NEWER[ENGINE]
                .replace(b"line_14 = 14", b"second = 2")
                .replace(b"line_40 = 40", b"line_40 = 40\nthird = 3")
            },
            ["moved", "there already"],
            "* add-call: there already: ultralytics 1.1.0 has it, drop the patch",
        ),
    ],
)
def test_what_needs_a_hand(toy, shot, files, words, line):
    """A conflict, a file that is gone, a change that upstream made too: told, and not written."""
    toy.add_release("1.1.0", {path: data for path, data in {**NEWER, **files}.items() if data is not None})
    made = port.make_port(toy.repo, "1.1.0")
    assert made.needs_a_hand and made.words == words and line in told(made)
    before = shot(toy.repo.root)
    with pytest.raises(PatchError, match=r"nothing was written|would become empty"):
        port.write(made, quiet)
    assert shot(toy.repo.root) == before


def test_result_that_does_not_run(toy, smoke):
    """The smoke test's last line is the reason."""
    toy.add_release("1.1.0", NEWER)
    smoke.write_text(SMOKE.format(more="raise RuntimeError('no terms')"))
    lines: list[str] = []
    assert not port.try_out(port.make_port(toy.repo, "1.1.0"), lines.append)
    assert lines == ["smoke test: RuntimeError: no terms"]


def test_newest_release_is_what_the_index_gives(toy, monkeypatch):
    """Without a version pip picks; what comes is cached under its own name."""
    data, calls = toy.add_release("1.1.0", NEWER).read_bytes(), []
    (toy.repo.cache / "ultralytics-1.1.0-py3-none-any.whl").unlink()

    def run(command, **_):
        calls.append(command[-1])
        with open(f"{command[command.index('--dest') + 1]}/ultralytics-1.1.0-py3-none-any.whl", "wb") as file:
            file.write(data)
        return types.SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(wheel.subprocess, "run", run)
    assert port.make_port(toy.repo, "newest").pin.version == "1.1.0"
    assert port.make_port(toy.repo, "1.1.0").pin.version == "1.1.0"
    assert calls == ["ultralytics"]
    with pytest.raises(PatchError, match="is no release"):
        port.require_release("--pre")


def test_second_line_moves_with_its_folder(toy, smoke):
    """A ported second line stands in the folder of its new version, and the pin stays."""
    older = toy.add_line("0.9.0", UPSTREAM)
    for name, data in toy.patches().items():
        if name.endswith(".patch") or name == "series":
            toy.put(f"patches/0.9.0/{name}", data)
    toy.add_release("0.9.1", NEWER)
    port.write(port.make_port(older, "0.9.1"), quiet)
    assert not older.patches.exists()
    assert check(Repo(toy.repo.root, "0.9.1"))[0] == []
    assert read_pin(toy.repo.patches / "upstream.toml").version == "1.0.0"


def test_drift_tells_draws_and_counts(toy, smoke, tmp_path):
    """One row a release, each once; a conflict, or a smoke test that fails, is a hand needed."""
    toy.add_release("1.1.0", NEWER)
    toy.add_release("1.2.0", {**NEWER, ENGINE: NEWER[ENGINE].replace(b"line_14 = 14", b"line_14 = 41")})
    lines: list[str] = []
    rows = drift.drift(toy.repo, ["1.0.0", "1.1.0", "1.2.0", "1.1.0"], tmp_path / "out", lines.append)
    assert [(row.version, row.smoke) for row in rows] == [
        ("1.0.0", "passed"),
        ("1.1.0", "passed"),
        ("1.2.0", "not run"),
    ]
    assert lines[-1] == "2 of 3 releases need no hand (67 percent)"
    page = (tmp_path / "out/drift.md").read_text()
    assert "| add-call | clean | moved | conflict |" in page and "drift.png" in page
    assert (tmp_path / "out/drift.png").read_bytes().startswith(b"\x89PNG")


def test_release_raises_the_number_everywhere(toy):
    """Pin, patch and changelog agree on the new version; the series still keeps the rules."""
    toy.put("CHANGELOG.md", b"# Changes\n\n## Unreleased\n\n- More.\n\n## 1.0.0+distill.3\n")
    release.release(toy.repo.root, build=False, log=quiet)
    assert read_pin(toy.repo.patches / "upstream.toml").local_version == "1.0.0+distill.4"
    assert check(toy.repo)[0] == []
    assert b"## 1.0.0+distill.4\n\n- More." in toy.get("CHANGELOG.md")
    toy.apply()
    assert b'"+distill.4"' in toy.get(FACE)


def test_release_needs_an_open_part(toy, shot):
    """Nothing is released of which nobody said what changed."""
    toy.put("CHANGELOG.md", b"# Changes\n\n## 1.0.0+distill.3\n")
    before = shot(toy.repo.root)
    with pytest.raises(PatchError, match="has 0 parts '## Unreleased'"):
        release.release(toy.repo.root, build=False, log=quiet)
    assert shot(toy.repo.root) == before
