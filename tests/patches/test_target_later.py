# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Users' own trees that changed after the series went in: edits, a newer series, lost records, other line ends."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from patching import PatchError
from patching.record import RECORD, read_record
from patching.status import target_status
from patching.store import STORE
from toy import ENGINE, OTHER, UPSTREAM, replace_once


def test_later_edits_survive(toy, theirs):
    """What the user writes after apply stays through a newer series and through revert; status says so."""
    toy.apply(theirs)
    replace_once(theirs / ENGINE, b"line_50 = 50\n", b"line_50 = 'later'\n")
    assert target_status(toy.repo, theirs)[0] == "drifted"
    toy.edit("patches/add-call.patch", "+third = 3", "+third = 33")
    toy.apply(theirs)
    text = (theirs / ENGINE).read_bytes()
    assert b"third = 33\n" in text and b"line_50 = 'later'\n" in text
    assert target_status(toy.repo, theirs)[0] == "applied"
    toy.revert(theirs)
    assert (theirs / ENGINE).read_bytes() == OTHER[ENGINE].replace(b"line_50 = 50\n", b"line_50 = 'later'\n")


def test_newer_series_is_partly_in(toy, theirs):
    """Before the newer series goes in, status says which patch is not."""
    toy.apply(theirs)
    toy.edit("patches/add-call.patch", "+third = 3", "+third = 33")
    word, lines = target_status(toy.repo, theirs)
    assert (word, lines[1].partition(",")[0]) == ("partly", "add-call: partly")


def test_edit_in_our_lines_stops_us(toy, theirs, shot):
    """An edit of a line that the series added is neither lost nor guessed at."""
    toy.apply(theirs)
    replace_once(theirs / ENGINE, b"third = 3\n", b"third = 4\n")
    before = shot(theirs)
    for act in (toy.apply, toy.revert):
        with pytest.raises(PatchError, match=r"run.py:44 was edited in lines of the series or next to them"):
            act(theirs)
    assert shot(theirs) == before
    assert target_status(toy.repo, theirs)[0] == "drifted"


def test_lost_store_on_the_pinned_version(toy, tmp_path):
    """When what was kept is lost, the pinned files themselves tell what stood there."""
    root = toy.checkout(tmp_path / "theirs")
    toy.apply(root)
    shutil.rmtree(root / STORE)
    (root / RECORD).unlink()
    assert target_status(toy.repo, root)[0] == "applied"
    toy.revert(root)
    assert {path: (root / path).read_bytes() for path in UPSTREAM} == UPSTREAM
    assert not (root / "ultralytics/distill").exists()


def test_copy_of_a_tree_that_this_tool_unpacked(toy, tmp_path):
    """Its record names upstream's files as well; taking the series out of the copy leaves them."""
    toy.apply()
    shutil.copytree(toy.repo.root / "ultralytics", tmp_path / "theirs/ultralytics")
    assert UPSTREAM.keys() <= read_record(tmp_path / "theirs").keys()
    toy.revert(tmp_path / "theirs")
    left = {p.relative_to(tmp_path / "theirs").as_posix() for p in (tmp_path / "theirs").rglob("*") if p.is_file()}
    assert left == UPSTREAM.keys() and all((tmp_path / "theirs" / k).read_bytes() == v for k, v in UPSTREAM.items())


def test_lost_store_of_another_version(toy, theirs, shot):
    """Where nothing tells what stood there, neither a second apply nor a revert takes the patched files for it."""
    toy.apply(theirs)
    shutil.rmtree(theirs / STORE)
    (theirs / RECORD).unlink()
    before = shot(theirs)
    for act in (toy.apply, toy.revert):
        with pytest.raises(PatchError, match=r"has the series, but what stood there before is not kept"):
            act(theirs)
    assert shot(theirs) == before
    assert target_status(toy.repo, theirs)[0] == "applied"


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_committed_and_checked_out_with_other_line_ends(toy, theirs, tmp_path):
    """A patched tree that git checks out with CRLF is still applied, and can be reverted."""

    def git(folder, *args):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *who, *args], cwd=folder, check=True, capture_output=True)

    toy.apply(theirs)
    git(theirs, "init", "-q")
    git(theirs, "add", "-A")
    git(theirs, "commit", "-qm", "patched")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "-c", "core.autocrlf=true", str(theirs), str(clone))
    assert (
        b"\r\n" in (clone / ENGINE).read_bytes() and b"\r\n" in (clone / "ultralytics/distill/__init__.py").read_bytes()
    )
    assert target_status(toy.repo, clone)[0] == "applied"
    toy.revert(clone)
    assert (clone / ENGINE).read_bytes().replace(b"\r\n", b"\n") == OTHER[ENGINE]
    assert not (clone / "ultralytics/distill").exists() and not (clone / STORE).exists()


def test_edited_copy_of_our_package_is_not_taken_away(toy, theirs, shot):
    """An edit of our package in the user's tree stops a revert, which would lose it."""
    toy.apply(theirs)
    (theirs / "ultralytics/distill/__init__.py").write_text("OURS = 2\n")
    before = shot(theirs)
    with pytest.raises(PatchError, match="distill/__init__.py was edited"):
        toy.revert(theirs)
    assert shot(theirs) == before
    assert target_status(toy.repo, theirs)[0] == "drifted"
