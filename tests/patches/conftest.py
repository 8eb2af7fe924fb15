# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The toy repository as fixtures, so that the patch tool is never tested on the real one alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from patching import PACKAGE, tree
from patching.refresh import Pick
from toy import ENGINE, FACE, OTHER, Toy, quiet, snapshot


@pytest.fixture
def bare(tmp_path) -> Toy:
    """The toy repository with an empty series and an unpacked tree."""
    toy = Toy(tmp_path / "repo")
    tree.unpack(toy.repo, toy.repo.root, quiet)
    return toy


@pytest.fixture
def toy(bare) -> Toy:
    """The toy repository with two patches, applied: the first touches two files, both touch `engine/run.py`."""
    bare.edit(FACE, 'NAME = "toy"', '__version__ += "+distill.3"\nNAME = "toy"')
    return add_patches(bare)


def add_patches(toy: Toy) -> Toy:
    """Make two patches of edits and apply them; the first takes up what was edited before."""
    toy.edit(ENGINE, "line_10 = 10\n", "line_10 = 10\nfirst = 1\n")
    toy.refresh("name-fork.patch")
    toy.edit(ENGINE, "line_14 = 14\n", "second = 2\n")
    toy.edit(ENGINE, "line_40 = 40\n", "line_40 = 40\nthird = 3\n")
    toy.refresh("add-call.patch", Pick(ENGINE))
    toy.apply()
    return toy


@pytest.fixture
def theirs(toy, tmp_path) -> Path:
    """A user's checkout of another version, with a file of the user's own."""
    root = toy.checkout(tmp_path / "theirs", OTHER)
    (root / "ultralytics/mine.py").write_text("MINE = 1\n")
    return root


@pytest.fixture
def shot():
    """The function that takes a picture of a folder."""
    return snapshot


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> Path:
    """A toy repository with two patches, its tree pristine, and a folder outside that a link in the tree points to."""
    root = tmp_path_factory.mktemp("sound")
    toy = Toy(root / "repo")
    tree.unpack(toy.repo, toy.repo.root, quiet)
    toy.edit(FACE, '"1.0.0"', '"1.0.0+distill.3"')
    add_patches(toy).revert()
    (root / "outside").mkdir()
    (root / "outside/evil.py").write_text("not ours\n")
    (root / f"repo/{PACKAGE}/link").symlink_to(root / "outside")
    return root
