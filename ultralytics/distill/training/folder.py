# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The results folder as it was before a run, so that one that never began leaves nothing that looks like a run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

SIMILARITY = "distill_similarity.csv"  # ours; how alike both models are before the first step and at the end
# What is written or deleted before the first batch is through. Nothing else is ever touched.
DRAWN = ("labels.jpg", "labels_correlogram.jpg", *(f"train_batch{i}.jpg" for i in range(3)))
EARLY = ("args.yaml", "results.csv", SIMILARITY, *DRAWN)


class Folder:
    """Remembers a results folder before a run writes to it.

    Args:
        path (Path): The results folder, which may not exist yet, or may hold another run.
    """

    def __init__(self, path: Path):
        """Keep the early files, and which folders are missing."""
        weights = Path(path) / "weights"
        self.missing = [p for p in (weights, *weights.parents) if not p.exists()]  # the deepest first
        self.held = {p: p.read_bytes() if p.is_file() else None for p in (Path(path) / name for name in EARLY)}

    def put_back(self) -> None:
        """Make the early files as they were, and remove the folders that were missing where they are empty."""
        for path, data in self.held.items():
            if data is not None:
                path.write_bytes(data)
            elif path.is_file():
                path.unlink()
        for folder in self.missing:
            with suppress(OSError):  # somebody else's file is in it
                folder.rmdir()
