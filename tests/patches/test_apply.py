# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Applying and reverting: strict, all or nothing, and without a trace."""

from __future__ import annotations

import os
import shutil
import subprocess

import patch_ng
import pytest

from patching import PatchError, swap, tree
from patching.status import status
from toy import ENGINE, FACE, UPSTREAM


def test_apply_gives_what_other_programs_give(toy, tmp_path):
    """Two patch programs that nobody here wrote make the same bytes of the same patches."""
    theirs = toy.checkout(tmp_path / "theirs")
    for name in ("name-fork.patch", "add-call.patch"):
        assert patch_ng.fromfile(str(toy.repo.patches / name)).apply(strip=1, root=str(theirs))
    assert {path: (theirs / path).read_bytes() for path in UPSTREAM} == {path: toy.get(path) for path in UPSTREAM}
    if shutil.which("git"):
        theirs = toy.checkout(tmp_path / "gits")
        for name in ("name-fork.patch", "add-call.patch"):
            subprocess.run(["git", "apply", str(toy.repo.patches / name)], cwd=theirs, check=True)
        assert (theirs / ENGINE).read_bytes() == toy.get(ENGINE)


def test_second_apply_touches_nothing_and_says_why(toy, shot):
    """Re-applying is a no-op down to the files' times, and names its reason."""
    before = shot(toy.repo.root)
    assert toy.apply() == ["nothing to do: all 2 patches are in place, neither they nor upstream changed"]
    assert shot(toy.repo.root) == before


def test_one_line_a_patch(toy):
    """The log has one line a patch, with its place in the series."""
    toy.revert()
    assert [line for line in toy.apply() if line.startswith("*")] == [
        "* applying name-fork (1/2)",
        "* applying add-call (2/2)",
    ]


def test_revert_gives_every_byte_back(toy):
    """After revert the tree is upstream's; a second one has nothing to do."""
    toy.revert()
    assert {path: toy.get(path) for path in UPSTREAM} == UPSTREAM
    assert toy.revert() == ["nothing to do: the tree is upstream's"]


def test_apply_unpacks_an_empty_tree(toy):
    """From a fresh clone, which has our package only, apply makes the whole tree."""
    patched = {path: toy.get(path) for path in UPSTREAM}
    for path in (*UPSTREAM, tree.RECORD):
        (toy.repo.root / path).unlink()
    toy.apply()
    assert {path: toy.get(path) for path in UPSTREAM} == patched


def test_removed_patch_resets_its_file(toy):
    """A patch that left the series leaves the tree as well, without a download or a fresh tree."""
    toy.put("patches/series", b"name-fork.patch\n")
    (toy.repo.patches / "add-call.patch").unlink()
    assert f"  {ENGINE}: its patches or its source changed" in toy.apply()
    assert b"first = 1" in toy.get(ENGINE)
    assert b"third = 3" not in toy.get(ENGINE)


def test_file_no_longer_touched_is_reset(toy):
    """The same where no patch touches the file any more: what the tool wrote last is its own to take back."""
    patch = toy.get("patches/name-fork.patch")
    lines = [
        line for line in patch.splitlines(keepends=True) if ENGINE.encode() not in line or line[:3] in (b"---", b"+++")
    ]
    diff = b"".join(lines)
    toy.put("patches/name-fork.patch", diff[: diff.index(b"--- a/" + ENGINE.encode())])
    toy.put("patches/series", b"name-fork.patch\n")
    (toy.repo.patches / "add-call.patch").unlink()
    toy.apply()
    assert toy.get(ENGINE) == UPSTREAM[ENGINE]
    assert b"+distill.3" in toy.get(FACE)


def test_changed_patch_is_applied_anew(toy):
    """A patch edited in place goes in without a revert in between, and the reason is named."""
    toy.edit("patches/add-call.patch", "+third = 3", "+third = 33")
    assert f"  {ENGINE}: its patches or its source changed" in toy.apply()
    assert b"third = 33\n" in toy.get(ENGINE)


@pytest.mark.parametrize("act", ["apply", "revert"])
def test_dirty_tree_stops_everything(toy, shot, act):
    """An upstream file that is neither pristine nor patched is somebody's edit: nothing is written."""
    if act == "apply":
        toy.revert()
    toy.edit(FACE, '"""A toy."""', '"""My toy."""')
    before = shot(toy.repo.root)
    with pytest.raises(PatchError, match=r"__init__.py was edited .*refresh"):
        getattr(toy, act)()
    assert shot(toy.repo.root) == before


def test_untouched_upstream_file_may_not_be_dirty_either(toy):
    """In our own tree every upstream file is ours to vouch for, since it is what gets installed."""
    toy.put("ultralytics/dot.bin", b"changed")
    with pytest.raises(PatchError, match="dot.bin was edited"):
        toy.apply()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-line_14 = 14", "-line_15 = 15", "it expects 'line_15 = 15', there is 'line_14 = 14'"),
        ("@@ -39,6 +39,7 @@", "@@ -38,6 +38,7 @@", "does not fit"),
        ("@@ -39,6 +39,7 @@", "@@ -39,6 +40,7 @@", "line numbers"),
        ("@@ -39,6 +39,7 @@", "@@ -2,6 +2,7 @@", "line numbers"),
    ],
)
def test_patch_that_does_not_fit_stops_everything(toy, shot, old, new, message):
    """No fuzz and no offset: a hunk fits where it says or the tree stays as it was."""
    toy.revert()
    toy.edit("patches/add-call.patch", old, new)
    before = shot(toy.repo.root)
    with pytest.raises(PatchError, match=message):
        toy.apply()
    assert shot(toy.repo.root) == before


@pytest.mark.parametrize("content", [b"", b"not json", b"[1]", b'{"a": 1}', b'{"../../x": "y"}', b"\xff"])
def test_broken_record_is_no_record(toy, content):
    """What the tool noted may be lost or broken: then bytes alone decide, and they suffice."""
    toy.put(tree.RECORD, content)
    toy.apply()
    toy.put(tree.RECORD, content)
    toy.revert()
    assert {path: toy.get(path) for path in UPSTREAM} == UPSTREAM


@pytest.mark.parametrize("failing", [1, 2])
def test_failure_in_the_middle_is_undone(toy, shot, monkeypatch, failing):
    """When the second file cannot be swapped in, the first one comes back, with its time and mode."""
    toy.revert()
    os.chmod(toy.repo.root / FACE, 0o600)
    before = shot(toy.repo.root)
    calls, real = [], os.replace

    def replace(source, place):
        calls.append(place)
        if len(calls) == failing + 1:
            raise OSError(28, "No space left on device", str(place))
        real(source, place)

    monkeypatch.setattr(swap.os, "replace", replace)
    with pytest.raises(PatchError, match="No space left on device.*nothing was changed"):
        toy.apply()
    assert shot(toy.repo.root) == before


def test_mode_survives(toy):
    """A swapped file keeps its mode."""
    os.chmod(toy.repo.root / ENGINE, 0o755)
    toy.revert()
    assert (toy.repo.root / ENGINE).stat().st_mode & 0o777 == 0o755


def test_interrupted_swap_can_be_finished_or_undone(toy):
    """Killed between two files, the tree is half old and half new, and both directions still know every byte."""
    patched = {path: toy.get(path) for path in UPSTREAM}
    toy.put(FACE, UPSTREAM[FACE])
    (toy.repo.root / tree.RECORD).unlink()
    assert status(toy.repo, toy.repo.root)[0] == "partly"
    toy.apply()
    assert {path: toy.get(path) for path in UPSTREAM} == patched


def test_status_words(toy):
    """Each word of status, with its line for the patch."""
    root = toy.repo.root
    assert status(toy.repo, root) == ("applied", ["name-fork: applied", "add-call: applied"])
    toy.edit(ENGINE, "line_50 = 50", "line_50 = 51")
    assert status(toy.repo, root) == (
        "drifted",
        [f"name-fork: drifted: {ENGINE}:52 and after", f"add-call: drifted: {ENGINE}:52 and after"],
    )
    toy.edit(ENGINE, "line_50 = 51", "line_50 = 50")
    toy.revert()
    assert status(toy.repo, root) == ("clean", ["name-fork: clean", "add-call: clean"])
    (root / FACE).unlink()
    assert status(toy.repo, root)[0] == "empty"
