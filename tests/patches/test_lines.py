# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Two upstream lines in one repository: each has its own pin and series, and the tree is of one at a time."""

from __future__ import annotations

import pytest

from patching import PatchError, tree
from patching.check import check
from patching.pin import choose_line, find_lines
from patching.refresh import refresh
from patching.status import status
from toy import ENGINE, FACE, OVERLAY, UPSTREAM, quiet

OLDER = {
    FACE: UPSTREAM[FACE].replace(b"1.0.0", b"0.9.0"),
    ENGINE: UPSTREAM[ENGINE].replace(b"line_20 = 20\n", b""),
    "ultralytics/old.py": b"OLD = 1\n",
}


@pytest.fixture
def older(toy):
    """The repository as its second line sees it, with a patch of its own; the tree is swapped to it."""
    repo = toy.add_line("0.9.0", OLDER)
    tree.apply(repo, repo.root, quiet)
    toy.edit(FACE, 'NAME = "toy"', '__version__ += "+distill.3"\nNAME = "toy"')
    refresh(repo, "name-fork.patch", log=quiet)
    path = "patches/0.9.0/name-fork.patch"
    toy.put(path, toy.get(path).replace(b"TODO ", b"because "))
    return repo


def test_line_is_chosen_by_version(toy, older):
    """Nothing chosen means the pin; its version may be said as well; an unknown one is refused with the choices."""
    root = toy.repo.root
    assert list(find_lines(root)) == ["1.0.0", "0.9.0"]
    assert choose_line(root) == choose_line(root, "") == choose_line(root, "1.0.0") == toy.repo
    assert choose_line(root, "0.9.0") == older
    with pytest.raises(PatchError, match=r"no series for Ultralytics 2.0.0: there is one for 1.0.0, 0.9.0"):
        choose_line(root, "2.0.0")


def test_each_line_keeps_the_rules_alone(toy, older):
    """Neither series is taken for loose files of the other; each is counted by itself."""
    assert check(toy.repo)[0] == check(older)[0] == []
    assert check(older)[1].startswith("1 patches, 1 files, 1 changed lines")


def test_apply_swaps_the_tree(toy, older):
    """The other line's files come, those that it lacks go, our package stays; and back again, byte for byte."""
    assert b'"0.9.0"' in toy.get(FACE) and b"+distill.3" in toy.get(FACE)
    assert toy.get(ENGINE) == OLDER[ENGINE]
    assert not (toy.repo.root / "ultralytics/dot.bin").exists()
    toy.apply()
    assert toy.get("ultralytics/dot.bin") == UPSTREAM["ultralytics/dot.bin"]
    assert b"third = 3" in toy.get(ENGINE) and b'"1.0.0"' in toy.get(FACE)
    assert not (toy.repo.root / "ultralytics/old.py").exists()
    assert {path: toy.get(path) for path in OVERLAY} == OVERLAY


def test_refresh_writes_to_its_own_line(toy, older, shot):
    """An edit in the older tree goes to the older series alone."""
    before = {name: data for name, data in shot(toy.repo.patches).items() if not name.startswith("0.9.0")}
    toy.edit(FACE, '+= "+distill.3"\n', '+= "+distill.3"\nMORE = 1\n')
    refresh(older, log=quiet)
    assert b"+MORE = 1" in toy.get("patches/0.9.0/name-fork.patch")
    assert {name: data for name, data in shot(toy.repo.patches).items() if not name.startswith("0.9.0")} == before


@pytest.mark.parametrize(
    "act",
    [
        lambda repo: refresh(repo, log=quiet),
        lambda repo: tree.revert(repo, repo.root, quiet),
        lambda repo: tree.unpack(repo, repo.root, quiet),
    ],
)
def test_tree_of_the_other_line_is_left_alone(toy, older, shot, act):
    """What would take the other line's tree for one big edit names the line instead, and writes nothing."""
    before = shot(toy.repo.root)
    with pytest.raises(PatchError, match=r"holds Ultralytics 0.9.0, this series is for 1.0.0: say --upstream 0.9.0"):
        act(toy.repo)
    assert shot(toy.repo.root) == before
    assert status(toy.repo, toy.repo.root)[0] == "foreign"
    assert status(older, toy.repo.root)[0] == "applied"


def test_edits_are_not_swapped_away(toy, older, shot):
    """An unrecorded edit in one line's tree stops the swap to the other."""
    toy.edit(ENGINE, "line_50 = 50", "line_50 = 51")
    before = shot(toy.repo.root)
    with pytest.raises(PatchError, match="run.py was edited"):
        toy.apply()
    assert shot(toy.repo.root) == before


def test_folder_is_named_by_its_version(toy, older):
    """A line's folder and its pin agree."""
    (toy.repo.patches / "0.9.0").rename(toy.repo.patches / "0.8.0")
    with pytest.raises(PatchError, match=r"0.8.0 is for 0.9.0"):
        find_lines(toy.repo.root)
