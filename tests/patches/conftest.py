# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The toy repository as fixtures, so that the patch tool is never tested on the real one alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from toy import OTHER, Toy


@pytest.fixture
def toy(tmp_path) -> Toy:
    """The toy repository with three patches, applied."""
    toy = Toy(tmp_path / "repo")
    toy.apply()
    return toy


@pytest.fixture
def theirs(toy, tmp_path) -> Path:
    """A user's checkout of another version, with a file of the user's own."""
    root = toy.checkout(tmp_path / "theirs", OTHER)
    (root / "ultralytics/mine.py").write_text("MINE = 1\n")
    return root
