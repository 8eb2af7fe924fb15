# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Users' own trees: other versions, edits, CRLF, with git and without; all or nothing, and every byte comes back."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from patching import PatchError
from patching import target as users
from patching.carry import carry
from patching.place import format_diff
from patching.record import RECORD
from patching.series import parse_patch
from patching.status import target_status
from patching.store import STORE
from toy import ENGINE, FACE, OVERLAY, UPSTREAM, replace_once


def content(root):
    """Return all bytes and modes below a folder."""
    return {p.relative_to(root): (p.is_file() and p.read_bytes(), p.stat().st_mode) for p in sorted(root.rglob("*"))}


def test_pinned_version_and_back(toy, tmp_path):
    """On exactly the pinned version hunks go in without a word on offsets, our package beside; and all goes again."""
    root = toy.checkout(tmp_path / "theirs")
    (root / "ultralytics/dot.bin").write_bytes(b"my own")  # not touched by the series, so none of our business
    before = content(root)
    assert toy.apply(root) == ["* applying name-fork (1/2)", "* applying add-call (2/2)"]
    assert (root / ENGINE).read_bytes() == toy.get(ENGINE)
    assert {path: (root / path).read_bytes() for path in OVERLAY} == OVERLAY
    assert target_status(toy.repo, root) == ("applied", ["name-fork: applied", "add-call: applied"])
    (root / "ultralytics/distill/__pycache__").mkdir()
    (root / "ultralytics/distill/__pycache__/x.pyc").write_bytes(b"")
    toy.revert(root)
    assert content(root) == before


def test_other_version_and_back(toy, theirs, shot):
    """Hunks move along and say by how many lines; the second time nothing happens; revert is exact."""
    before = content(theirs)
    assert target_status(toy.repo, theirs)[0] == "clean"
    assert toy.apply(theirs) == [
        "* applying name-fork (1/2): moved (__init__.py:5 +0; engine/run.py:14 +3)",
        "* applying add-call (2/2): moved (engine/run.py:18 +3, 44 +2)",
    ]
    text = (theirs / ENGINE).read_bytes()
    assert b"mine_3 = 3\n" in text and b"line_40 = 40\nthird = 3\n" in text and b"line_10 = 10\nfirst = 1\n" in text
    assert b'"0.9.7"\n\n__version__ += "+distill.3"\n' in (theirs / FACE).read_bytes()
    assert target_status(toy.repo, theirs)[0] == "applied"
    after = shot(theirs)
    assert toy.apply(theirs) == ["nothing to do: all 2 patches are in place, neither they nor your tree changed"]
    assert shot(theirs) == after
    toy.revert(theirs)
    assert content(theirs) == before
    assert toy.revert(theirs) == ["nothing to do: the series is not in this tree"]


def test_conflict_leaves_all_as_it_was(toy, theirs, shot):
    """Each conflict is told with file, line, both sides and what the patch wants; nothing at all is written."""
    replace_once(theirs / ENGINE, b"line_14 = 14\n", b"line_14 = 'mine'\n")
    replace_once(theirs / FACE, b'NAME = "toy"', b'NAME = "my toy"')
    before, log = shot(theirs), []
    with pytest.raises(PatchError, match=r"^name-fork, add-call do not fit .*theirs: nothing was written"):
        users.apply(toy.repo, theirs, log.append)
    assert shot(theirs) == before
    assert log[log.index("ultralytics/engine/run.py:18: add-call does not fit") :] == [
        "ultralytics/engine/run.py:18: add-call does not fit",
        "  pinned:",
        "    | line_14 = 14",
        "  your tree:",
        "    | line_14 = 'mine'",
        "  the patch wants:",
        "    | second = 2",
    ]
    assert f"{FACE}:5: name-fork does not fit" in log
    word, lines = target_status(toy.repo, theirs)
    assert (word, lines) == ("clean", ["name-fork: clean, conflict", "add-call: clean, conflict"])


def test_dry_run_tells_and_writes_nothing(toy, theirs, shot):
    """The same lines as the real thing, for apply and for revert."""
    before, told = shot(theirs), []
    users.apply(toy.repo, theirs, told.append, write=False)
    assert shot(theirs) == before
    assert told == toy.apply(theirs)
    after, told = shot(theirs), []
    users.revert(toy.repo, theirs, told.append, write=False)
    assert shot(theirs) == after
    assert told == toy.revert(theirs)


@pytest.mark.parametrize("mixed", [False, True])
def test_crlf_checkout(toy, theirs, mixed):
    """Line ends stay as they are, ours follow them, and every byte comes back."""
    for path in (FACE, ENGINE):
        data = (theirs / path).read_bytes().replace(b"\n", b"\r\n")
        (theirs / path).write_bytes(data.replace(b"line_20 = 20\r\n", b"line_20 = 20\n") if mixed else data)
    before = content(theirs)
    toy.apply(theirs)
    text = (theirs / ENGINE).read_bytes()
    assert b"line_10 = 10\r\nfirst = 1\r\nline_11" in text
    assert text.replace(b"\r\n", b"").count(b"\n") == mixed
    assert target_status(toy.repo, theirs)[0] == "applied"
    toy.revert(theirs)
    assert content(theirs) == before


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_git_checkout(toy, theirs):
    """Under git the same, nothing of git's is touched, and after revert git sees no change."""

    def git(*args):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "core.autocrlf=false"]
        return subprocess.run(["git", *who, *args], cwd=theirs, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "mine")
    toy.apply(theirs)
    changed = {line[3:] for line in git("status", "--porcelain").splitlines()}
    assert changed == {FACE, ENGINE, RECORD, STORE + "/", "ultralytics/distill/"}
    assert b"+first = 1" in git("diff").encode()
    toy.revert(theirs)
    assert git("status", "--porcelain") == ""


def test_result_must_stay_valid_python():
    """A line that lands where Python cannot have it stops all of it, though no text conflicts."""
    path, inner = "ultralytics/x.py", [b"    a,\n", b"    b,\n", b"    c,\n", b"    d,\n"]
    base = [b"x = [\n", *inner, b"]\n"]
    diff = format_diff(path, base, [*base[:3], b"    1,\n", *base[3:]])
    patch = parse_patch(b"Subject: add a number\n\n" + diff, "add-number.patch")
    theirs = b"".join([b"def f(\n", *inner, b"): ...\n"])
    carried = carry([patch], {path: b"".join(base)}, {path: theirs})
    assert (carried.conflicts, carried.broken) == ([], ["ultralytics/x.py:4"])
    with pytest.raises(PatchError, match=r"ultralytics/x.py:4 would no longer be valid Python in /theirs"):
        users.require_whole(carried, "/theirs")


def test_users_own_distill_package_is_not_overwritten(toy, theirs, shot):
    """A package of the same name that the user wrote stops us."""
    (theirs / "ultralytics/distill").mkdir()
    (theirs / "ultralytics/distill/__init__.py").write_text("THEIRS = 1\n")
    before = shot(theirs)
    with pytest.raises(PatchError, match="distill/__init__.py was edited"):
        toy.apply(theirs)
    assert shot(theirs) == before
    assert target_status(toy.repo, theirs)[0] == "foreign"


def test_target_file_gone(toy, theirs):
    """A touched file that is missing is theirs to restore."""
    (theirs / ENGINE).unlink()
    with pytest.raises(PatchError, match=r"run.py is gone: restore it"):
        toy.apply(theirs)
    assert target_status(toy.repo, theirs)[0] == "foreign"


def test_not_an_ultralytics_tree(toy, tmp_path):
    """A folder without the tree is refused in one sentence."""
    with pytest.raises(PatchError, match="has no ultralytics/__init__.py"):
        toy.apply(tmp_path)
    assert target_status(toy.repo, tmp_path)[0] == "foreign"


def test_nothing_is_written_through_links(toy, theirs, shot, tmp_path):
    """A folder of the target that is a link to elsewhere does not lead us there."""
    shutil.move(str(theirs / "ultralytics/engine"), str(tmp_path / "elsewhere"))
    (theirs / "ultralytics/engine").symlink_to(tmp_path / "elsewhere")
    before = shot(tmp_path)
    with pytest.raises(PatchError, match="nothing is written through links"):
        toy.apply(theirs)
    assert shot(tmp_path) == before


def test_series_of_the_nearest_line(toy, theirs):
    """A tree gets the series of its own minor version where there is one, else the pin's."""
    older = toy.add_line("0.9.0", UPSTREAM)
    assert users.nearest_line(toy.repo.root, theirs) == older
    replace_once(theirs / FACE, b'"0.9.7"', b'"0.8.0"')
    assert users.nearest_line(toy.repo.root, theirs) == toy.repo
