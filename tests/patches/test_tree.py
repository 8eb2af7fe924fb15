# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The repository's own tree, and the series that makes it: strict on the pin, by anchors on other known releases."""

from __future__ import annotations

import os
import shutil
import subprocess

import patch_ng
import pytest

from patching import PatchError, swap, tree
from patching.refresh import refresh, release
from patching.series import read_pin
from toy import ENGINE, FACE, OTHER, OVERLAY, UPSTREAM, quiet, snapshot


def test_apply_gives_what_other_programs_give(toy, tmp_path):
    """Two patch programs that nobody here wrote make the same bytes of the diffs that the patches show."""
    theirs = toy.checkout(tmp_path / "theirs")
    for name in ("name-fork.patch", "add-call.patch", "write-whole.patch"):
        assert patch_ng.fromfile(str(toy.repo.patches / name)).apply(strip=1, root=str(theirs))
    assert {path: (theirs / path).read_bytes() for path in UPSTREAM} == {path: toy.get(path) for path in UPSTREAM}
    if shutil.which("git"):
        theirs = toy.checkout(tmp_path / "gits")
        for name in ("name-fork.patch", "add-call.patch", "write-whole.patch"):
            subprocess.run(["git", "apply", str(toy.repo.patches / name)], cwd=theirs, check=True)
        assert (theirs / ENGINE).read_bytes() == toy.get(ENGINE)


def test_apply_and_revert_twice(toy):
    """Re-applying is a no-op down to the files' times; revert gives every byte back; an empty tree is made whole."""
    before, patched = snapshot(toy.repo.root), {path: toy.get(path) for path in UPSTREAM}
    assert toy.apply() == ["nothing to do: the tree is as the series has it"]
    assert snapshot(toy.repo.root) == before and tree.status(toy.repo)[0] == "applied"
    toy.revert()
    assert {path: toy.get(path) for path in UPSTREAM} == UPSTREAM and tree.status(toy.repo)[0] == "clean"
    assert toy.revert() == ["nothing to do: the tree is upstream's"]
    for path in (*UPSTREAM, tree.RECORD):
        (toy.repo.root / path).unlink()
    assert tree.status(toy.repo)[0] == "empty"
    toy.apply()
    assert {path: toy.get(path) for path in UPSTREAM} == patched


def test_another_known_release_and_back(toy):
    """Its files come, those that it lacks go, the series goes in by its anchors, our package stays; and back again."""
    patched = {path: toy.get(path) for path in UPSTREAM}
    older = {path: data for path, data in OTHER.items() if path != "ultralytics/dot.bin"}
    toy.pin_wheel(v0_9_7=toy.make_wheel("0.9.7", {**older, "ultralytics/old.py": b"OLD = 1\n"}))
    tree.apply(toy.repo, "0.9.7", log=quiet)
    assert b"__version__ = '0.9.7'\n__version__ += " in toy.get(FACE) and b"self.mine()" in toy.get(ENGINE)
    assert not (toy.repo.root / "ultralytics/dot.bin").exists() and tree.status(toy.repo)[0] == "applied"
    toy.revert()
    assert toy.get(ENGINE) == OTHER[ENGINE]
    toy.apply()
    assert {path: toy.get(path) for path in UPSTREAM} == patched and not (toy.repo.root / "ultralytics/old.py").exists()
    assert {path: toy.get(path) for path in OVERLAY} == OVERLAY
    with pytest.raises(PatchError, match=r"ultralytics 0.9.8 has no sha256 .* take one of 1.0.0, 0.9.7, or patch a"):
        tree.apply(toy.repo, "0.9.8", log=quiet)


@pytest.mark.parametrize("path", [FACE, "ultralytics/dot.bin"])
@pytest.mark.parametrize("act", ["apply", "revert"])
def test_edited_file_stops_everything(toy, act, path):
    """In our own tree every upstream file is ours to vouch for; what is neither pristine nor patched is an edit."""
    toy.put(path, toy.get(path) + b"# mine\n")
    before = snapshot(toy.repo.root)
    with pytest.raises(PatchError, match=rf"{path} was edited: write the edit as a change"):
        getattr(toy, act)()
    assert snapshot(toy.repo.root) == before and tree.status(toy.repo)[0] == "drifted"


def test_patch_that_left_or_changed(toy):
    """What the tool wrote last is its own to take back, without a revert in between."""
    toy.put("patches/series", b"name-fork.patch\nwrite-whole.patch\n")
    with pytest.raises(PatchError, match="write-whole.patch shows another diff .* run `refresh`"):
        toy.apply()
    refresh(toy.repo, log=quiet)
    toy.apply()
    assert b"distill.end" not in toy.get(ENGINE) and b"write_whole" in toy.get(ENGINE)


@pytest.mark.parametrize("content", [b"", b"not json", b"[1]", b'{"a": 1}', b'{"../../x": "y"}', b"\xff"])
def test_broken_record_is_no_record(toy, content):
    """What the tool noted may be lost or broken: then bytes alone decide, and they suffice."""
    toy.put(tree.RECORD, content)
    toy.apply()
    toy.put(tree.RECORD, content)
    toy.revert()
    assert {path: toy.get(path) for path in UPSTREAM} == UPSTREAM


@pytest.mark.parametrize("failing", [2, 3])
def test_failure_in_the_middle_is_undone(toy, monkeypatch, failing):
    """When a later file cannot be swapped in, the earlier ones come back, with their times and modes."""
    toy.revert()
    os.chmod(toy.repo.root / FACE, 0o600)
    before, calls, real = snapshot(toy.repo.root), [], os.replace

    def replace(source, place):
        calls.append(place)
        if len(calls) == failing + 1:
            raise OSError(28, "No space left on device", str(place))
        real(source, place)

    monkeypatch.setattr(swap.os, "replace", replace)
    with pytest.raises(PatchError, match="No space left on device.*nothing was changed"):
        toy.apply()
    assert snapshot(toy.repo.root) == before
    toy.apply()
    assert (toy.repo.root / FACE).stat().st_mode & 0o777 == 0o600


def test_refresh_is_exact_and_moves_to_another_release(toy):
    """Without a change nothing is written; a new pin is the changes on its files, told before and proven after."""
    before, log = snapshot(toy.repo.patches), []
    refresh(toy.repo, log=quiet)
    assert snapshot(toy.repo.patches) == before
    toy.make_wheel("1.1.0", {**OTHER, FACE: OTHER[FACE].replace(b"0.9.7", b"1.1.0")})
    refresh(toy.repo, "1.1.0", write=False, tried=False, log=log.append)
    assert snapshot(toy.repo.patches) == before and "* add-call: in" in log
    refresh(toy.repo, "1.1.0", tried=False, log=quiet)
    assert read_pin(toy.repo).version == "1.1.0" and "1.0.0" in read_pin(toy.repo).wheels
    toy.apply()
    assert b"'1.1.0'\n__version__ += " in toy.get(FACE)


def test_refresh_that_does_not_fit_writes_nothing(toy):
    """The places are told; what is no release is refused before a download."""
    toy.make_wheel("1.1.0", {**OTHER, ENGINE: b"class Runner:\n    pass\n"})
    before, log = snapshot(toy.repo.root), []
    with pytest.raises(PatchError, match=r"^add-call, write-whole not fitting ultralytics 1.1.0: nothing was written"):
        refresh(toy.repo, "1.1.0", log=log.append)
    assert f"  {ENGINE}: write-whole does not fit: there is no Runner.save" in log
    with pytest.raises(PatchError, match=r"'../1.1.0' is no release"):
        refresh(toy.repo, "../1.1.0", log=quiet)
    assert snapshot(toy.repo.root) == before


def test_release_raises_our_number(toy):
    """The patch, the pin and the changelog have the new one; without an open part nothing is written."""
    toy.put("CHANGELOG.md", b"# Changes\n\n## Unreleased\n\n- more\n")
    release(toy.repo, build=False, log=quiet)
    assert read_pin(toy.repo).distill == 4 and b"## 1.0.0+distill.4\n" in toy.get("CHANGELOG.md")
    toy.apply()
    assert b'__version__ += "+distill.4"' in toy.get(FACE)
    before = snapshot(toy.repo.root)
    with pytest.raises(PatchError, match="has 0 parts '## Unreleased'"):
        release(toy.repo, build=False, log=quiet)
    assert snapshot(toy.repo.root) == before
