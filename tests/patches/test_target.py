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
from patching.record import RECORD, read_record
from patching.series import parse_patch
from patching.status import target_status
from patching.store import STORE
from toy import ENGINE, FACE, OVERLAY, UPSTREAM

# Another version: three lines more above the series' hunks, one less between them, and a word more in the face.
OTHER = {
    **UPSTREAM,
    FACE: UPSTREAM[FACE].replace(b'"1.0.0"', b'"0.9.7"').replace(b"A toy.", b"A toy of mine."),
    ENGINE: UPSTREAM[ENGINE]
    .replace(b"line_03 = 3\n", b"line_03 = 3\nmine_1 = 1\nmine_2 = 2\nmine_3 = 3\n")
    .replace(b"line_30 = 30\n", b""),
}


@pytest.fixture
def theirs(toy, tmp_path):
    """A user's checkout of another version, with a file of the user's own."""
    root = toy.checkout(tmp_path / "theirs", OTHER)
    (root / "ultralytics/mine.py").write_text("MINE = 1\n")
    return root


def content(root):
    """Return all bytes and modes below a folder."""
    return {p.relative_to(root): (p.is_file() and p.read_bytes(), p.stat().st_mode) for p in sorted(root.rglob("*"))}


def edit(root, path, old, new):
    """Replace a text that stands once in a file of the user's."""
    data = (root / path).read_bytes()
    assert data.count(old) == 1
    (root / path).write_bytes(data.replace(old, new))


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
    edit(theirs, ENGINE, b"line_14 = 14\n", b"line_14 = 'mine'\n")
    edit(theirs, FACE, b'NAME = "toy"', b'NAME = "my toy"')
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


def test_later_edits_survive(toy, theirs):
    """What the user writes after apply stays through a newer series and through revert; status says so."""
    toy.apply(theirs)
    edit(theirs, ENGINE, b"line_50 = 50\n", b"line_50 = 'later'\n")
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
    edit(theirs, ENGINE, b"third = 3\n", b"third = 4\n")
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


def test_edited_copy_of_our_package_is_not_taken_away(toy, theirs, shot):
    """An edit of our package in the user's tree stops a revert, which would lose it."""
    toy.apply(theirs)
    (theirs / "ultralytics/distill/__init__.py").write_text("OURS = 2\n")
    before = shot(theirs)
    with pytest.raises(PatchError, match="distill/__init__.py was edited"):
        toy.revert(theirs)
    assert shot(theirs) == before
    assert target_status(toy.repo, theirs)[0] == "drifted"


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
    edit(theirs, FACE, b'"0.9.7"', b'"0.8.0"')
    assert users.nearest_line(toy.repo.root, theirs) == toy.repo
