# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Users' own trees: other versions, edits, kills; all or nothing, and every byte comes back or the tool refuses."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from patching import PatchError, target
from patching.swap import WORK
from toy import ENGINE, FACE, OVERLAY, quiet, replace_once, snapshot

STORE, OURS = "ultralytics/.patchset", "ultralytics/distill"


def test_other_version_and_back(toy, theirs):
    """Changes find their places, the second time nothing happens, and revert is exact, bytecode of ours included."""
    before = snapshot(theirs, times=False)
    assert target.status(toy.repo, theirs)[0] == "clean"
    assert toy.apply(theirs) == ["* name-fork (1/3): in", "* add-call (2/3): in", "* write-whole (3/3): in"]
    text = (theirs / ENGINE).read_text()
    assert (
        "        distill.begin(self)\n        self.mine()\n" in text and 'write_whole(path, b"")  # all of it' in text
    )
    assert b"'0.9.7'\n__version__ += \"+distill.3\"\n" in (theirs / FACE).read_bytes()
    assert {path: (theirs / path).read_bytes() for path in OVERLAY} == OVERLAY
    assert target.status(toy.repo, theirs) == (
        "applied",
        [f"{name}: fits" for name in ("name-fork", "add-call", "write-whole")],
    )
    after = snapshot(theirs)
    assert toy.apply(theirs) == ["nothing to do: the series is in place, neither it nor your tree changed"]
    assert snapshot(theirs) == after
    (theirs / OURS / "__pycache__").mkdir()
    (theirs / OURS / "__pycache__/x.pyc").write_bytes(b"")
    toy.revert(theirs)
    assert snapshot(theirs, times=False) == before
    assert toy.revert(theirs) == ["nothing to do: the series is not in this tree"]


def test_conflict_of_a_required_patch_leaves_all_as_it_was(toy, theirs):
    """It is told once a change, and nothing at all is written."""
    replace_once(theirs / ENGINE, b"self.step(", b"self.go(")
    before, log = snapshot(theirs), []
    with pytest.raises(PatchError, match="^add-call does not fit .*theirs: nothing was written"):
        target.apply(toy.repo, theirs, log=log.append)
    assert snapshot(theirs) == before
    assert [line for line in log if "does not fit" in line] == [
        f"{ENGINE}: add-call does not fit: the line is not in Runner.train"
    ] * 2
    assert "add-call: does not fit" in target.status(toy.repo, theirs)[1]


def test_pasted_by_hand(toy, theirs):
    """Who pastes what the report shows gets the rest; revert leaves what is the user's, and says so."""
    replace_once(
        theirs / ENGINE,
        b"        self.step(",
        b"        if self.loss:\n            distill.add(self)\n        self.go(",
    )
    replace_once(theirs / ENGINE, b"        return self", b"        distill.end(self)\n        return self")
    before = snapshot(theirs, times=False)
    assert toy.apply(theirs)[-1] == f"* {ENGINE}: lines of the series that you pasted stay yours, a revert leaves them"
    assert (theirs / ENGINE).read_bytes().count(b"distill.") == 3
    assert toy.revert(theirs)[-1].endswith("that you pasted are still there, and their package is gone")
    assert snapshot(theirs, times=False) == before


@pytest.mark.parametrize("wished", [True, False])
def test_optional_patch_is_left_out(toy, theirs, wished):
    """One sentence says what is lost; the others go in; it comes when it fits or is wished again."""
    if not wished:
        replace_once(theirs / ENGINE, b"path.write_bytes", b"path.put")
    log = toy.apply(theirs, *["write-whole"] * wished)
    assert log[0] == "* leaving out write-whole: without it a kill leaves a torn file"
    assert b"distill.end" in (theirs / ENGINE).read_bytes() and b"write_whole" not in (theirs / ENGINE).read_bytes()
    if not wished:
        replace_once(theirs / ENGINE, b"path.put", b"path.write_bytes")
    toy.apply(theirs)
    assert b"write_whole" in (theirs / ENGINE).read_bytes()


@pytest.mark.parametrize("name", ["add-call", "nothing"])
def test_required_patch_cannot_be_left_out(toy, theirs, name):
    """Only optional ones can; the sentence names them."""
    with pytest.raises(PatchError, match=f"--without {name} is no optional patch: those are write-whole"):
        toy.apply(theirs, name)


def test_print_writes_nothing(toy, theirs):
    """Every line with its place, our package's copy, and not a byte."""
    before, log = snapshot(theirs), []
    target.apply(toy.repo, theirs, log=log.append, show=True)
    assert snapshot(theirs) == before
    assert any(line.startswith(f"{FACE}, after line 1: __version__") for line in log)
    assert '  |__version__ += "+distill.3"' in log and log[-1].startswith("and copy ")


def test_edits_made_afterwards_survive_revert_and_a_newer_series(toy, theirs):
    """A user's line right beside ours stays, in both directions."""
    before = (theirs / ENGINE).read_bytes()
    toy.apply(theirs)
    assert target.status(toy.repo, theirs)[0] == "applied"
    replace_once(theirs / ENGINE, b"        distill.end(self)\n", b"        distill.end(self)\n        self.more()\n")
    assert target.status(toy.repo, theirs)[0] == "drifted"
    toy.apply(theirs)
    toy.put("patches/add-call.patch", toy.get("patches/add-call.patch").replace(b"distill.end", b"distill.finish"))
    toy.apply(theirs)
    assert b"distill.finish(self)\n        self.more()\n" in (theirs / ENGINE).read_bytes()
    toy.revert(theirs)
    assert (theirs / ENGINE).read_bytes() == before.replace(b"        )\n", b"        )\n        self.more()\n")


@pytest.mark.parametrize("act", ["apply", "revert"])
@pytest.mark.parametrize(
    ("path", "old", "new", "message"),
    [
        (ENGINE, b"distill.end(self)", b"distill.end(self, 1)", r"run.py was edited in lines of the series"),
        (f"{OURS}/__init__.py", b"1", b"2", r"__init__.py is not as the series has it: undo that"),
        (f"{STORE}/after/{FACE}", b"distill.3", b"distill.4", r"\.patchset is broken"),
    ],
)
def test_edits_in_what_is_ours_are_refused(toy, theirs, act, path, old, new, message):
    """What cannot be told apart is not guessed."""
    toy.apply(theirs)
    if path == f"{OURS}/__init__.py" and act == "apply":
        toy.put(path, b"OURS = 3\n")
    replace_once(theirs / path, old, new)
    before = snapshot(theirs)
    with pytest.raises(PatchError, match=message):
        getattr(toy, act)(theirs)
    assert snapshot(theirs) == before


@pytest.mark.parametrize("act", ["apply", "revert"])
@pytest.mark.parametrize("restored", [False, True])
def test_lines_of_ours_without_a_record_are_never_an_original(toy, theirs, act, restored):
    """After `git clean -fdx`, and after a checkout of one file more: refused, with what to type."""
    engine = (theirs / ENGINE).read_bytes()
    toy.apply(theirs)
    for folder in (STORE, OURS):
        shutil.rmtree(theirs / folder)
    if restored:
        (theirs / ENGINE).write_bytes(engine)
    before = snapshot(theirs)
    with pytest.raises(PatchError, match=rf"^{FACE}.* hold lines of the series, .*`git checkout -- {FACE}"):
        getattr(toy, act)(theirs)
    assert snapshot(theirs) == before
    assert target.status(toy.repo, theirs)[0] == "foreign"


def test_change_of_branch_under_a_store(toy, theirs):
    """Files that hold nothing of ours any more are the new originals."""
    old = (theirs / ENGINE).read_bytes()
    toy.apply(theirs)
    (theirs / ENGINE).write_bytes(old.replace(b"self.mine()", b"self.yours()"))
    toy.apply(theirs)
    assert b"distill.end" in (theirs / ENGINE).read_bytes()
    toy.revert(theirs)
    assert (theirs / ENGINE).read_bytes() == old.replace(b"self.mine()", b"self.yours()")


@pytest.mark.parametrize("ends", [b"\r\n", b"\r"])
def test_line_ends_of_the_checkout(toy, theirs, ends):
    """CRLF, and what git makes of it afterwards."""
    for path in (FACE, ENGINE):
        (theirs / path).write_bytes((theirs / path).read_bytes().replace(b"\n", ends))
    before = snapshot(theirs, times=False)
    toy.apply(theirs)
    data = (theirs / ENGINE).read_bytes()
    assert b"distill.end(self)" + ends in data and b"\n" not in data.replace(ends, b"")
    toy.revert(theirs)
    assert snapshot(theirs, times=False) == before


def test_package_of_that_name_and_no_tree(toy, theirs, tmp_path):
    """A fork's own `ultralytics/distill` is not overwritten; a folder without a tree is named."""
    (theirs / OURS).mkdir()
    (theirs / OURS / "__init__.py").write_text("THEIRS = 1\n")
    with pytest.raises(PatchError, match="this tree has an ultralytics/distill of its own"):
        toy.apply(theirs)
    with pytest.raises(PatchError, match=r"give the folder above an Ultralytics tree"):
        toy.apply(tmp_path / "nothing")


def test_linked_file_and_folder(toy, theirs, tmp_path):
    """Nothing is written through a link."""
    (theirs / "ultralytics/engine").rename(tmp_path / "outside")
    (theirs / "ultralytics/engine").symlink_to(tmp_path / "outside")
    before = snapshot(tmp_path)
    with pytest.raises(PatchError, match="nothing is written through links"):
        toy.apply(theirs)
    assert snapshot(tmp_path) == before


KILLED = """
import os, signal, sys
sys.path[:0] = [{scripts!r}, {tests!r}]
from pathlib import Path
from patching import Repo, swap, target
from toy import quiet
count = {count}
def counted(name, real):
    def call(*args, **kwargs):
        global count
        count -= 1
        if count < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call
calls = [(os, "replace"), (os, "unlink"), (swap.shutil, "copy2"), (swap.shutil, "rmtree")]
for module, name in calls + [(Path, "write_bytes"), (Path, "unlink"), (Path, "mkdir")]:
    setattr(module, name, counted(name, getattr(module, name)))
repo, tree = Repo(Path({repo!r})), Path({tree!r})
if {act!r} == "apply":
    target.apply(repo, tree, tried=False, log=quiet)
else:
    target.revert(repo, tree, quiet)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("act", ["apply", "revert"])
@pytest.mark.parametrize("count", [0, 8, 30, 50, 62, 72, 79, 95])
def test_killed_run_leaves_nothing_that_the_next_does_not_clean(toy, theirs, act, count):
    """SIGKILL at the n-th write: status sees it, and apply and revert go on as if nothing had been."""
    clean = snapshot(theirs, times=False)
    toy.apply(theirs)
    applied = snapshot(theirs, times=False)
    if act == "apply":
        toy.revert(theirs)
    paths = {"scripts": str(Path(target.__file__).parents[1]), "tests": str(Path(__file__).parent)}
    code = KILLED.format(count=count, repo=str(toy.repo.root), tree=str(theirs), act=act, **paths)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode in (-signal.SIGKILL, 0), done.stderr
    left = snapshot(theirs, times=False)
    assert (target.status(toy.repo, theirs)[0] == "interrupted") == (theirs / WORK).exists()
    assert (theirs / WORK).exists() or left in (clean, applied)
    toy.apply(theirs)
    assert snapshot(theirs, times=False) == applied
    toy.revert(theirs)
    assert snapshot(theirs, times=False) == clean


def test_edit_after_a_kill_is_not_lost(toy, theirs):
    """A file that the user wrote between the kill and the next run stops it."""
    (theirs / WORK / "old/ultralytics").mkdir(parents=True)
    (theirs / WORK / "old" / FACE).write_bytes(b"old\n")
    (theirs / WORK / "plan.json").write_text(f'{{"{FACE}": ["1", "2"]}}')
    with pytest.raises(PatchError, match="was edited after a run that was cut off"):
        toy.revert(theirs)


def test_applied_means_alive(toy, theirs, monkeypatch):
    """A tree that does not train with the series in it is rolled back to the byte, and the reason is shown."""
    monkeypatch.setattr(
        target, "try_out", lambda root: (_ for _ in ()).throw(PatchError(f"no, {(root / FACE).read_text()}"))
    )
    before = snapshot(theirs)
    with pytest.raises(PatchError, match=r"(?s)no, .*\+distill.3"):
        target.apply(toy.repo, theirs, log=quiet)
    assert snapshot(theirs) == before
    with pytest.raises(PatchError, match="the tree itself, without the series, does not train"):
        monkeypatch.undo()  # the toy is no Ultralytics
        target.apply(toy.repo, theirs, log=quiet)
    assert snapshot(theirs) == before


@pytest.mark.skipif(os.name == "nt", reason="needs a folder that cannot be written")
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="root may write anywhere")
def test_folder_that_cannot_be_written(toy, theirs):
    """The sentence names the file."""
    os.chmod(theirs, 0o500)
    try:
        with pytest.raises(PatchError, match="cannot be written .*: nothing was changed"):
            toy.apply(theirs)
    finally:
        os.chmod(theirs, 0o700)
