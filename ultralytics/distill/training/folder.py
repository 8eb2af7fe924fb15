# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The results folder as it was before a run, so that one that never began leaves nothing that looks like a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ultralytics.distill.upstream import clears_folder

if TYPE_CHECKING:
    from ultralytics.distill.teacher.source import Source
    from ultralytics.engine.trainer import BaseTrainer

SIMILARITY = "distill_similarity.csv"  # ours; how alike both models are before the first step and at the end
# What is written or deleted before the first batch is through. Nothing else is ever touched.
DRAWN = ("labels", "labels_correlogram", *(f"train_batch{i}" for i in range(3)), "train_unlabeled_batch0")
EARLY = ("args.yaml", "data.yaml", "results.csv", SIMILARITY, *(f"{name}.jpg" for name in DRAWN))


class Folder:
    """Remembers a results folder, which may hold another run, and where live teachers will be saved, as it was."""

    def __init__(self, path: Path, teachers: Sequence[Path] = ()):
        """Keep the early files, and which folders are missing."""
        weights, early = Path(path) / "weights", (*(Path(path) / name for name in EARLY), *teachers)
        self.missing = [p for p in (weights, *weights.parents) if not p.exists()]  # the deepest first
        self.held = {p: p.read_bytes() if p.is_file() else None for p in early}

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

    def keep(self) -> None:
        """Let go of the earlier files, once there is a run to keep; a teacher's may be large."""
        self.held.clear()


def require_kept(trainer: BaseTrainer, sources: Sequence[Source]) -> None:
    """Raise if a run would write over a teacher's file, or delete it with its folder.

    A teacher that an earlier process of the same run saved, `weights/teacher.pt`, is written by none.
    """
    args, folder, weights = trainer.args, trainer.save_dir.resolve(), trainer.wdir.resolve()
    own = {"best.pt", "last.pt"} | ({"teacher_last.pt"} if args.distill_online else set())
    saved = {s.path.resolve() for s in sources if s.save}
    cleared = clears_folder(trainer)
    for file in (s.path.resolve() for s in sources if s.module is not None and not s.save):
        periodic = args.save_period > 0 and re.fullmatch(r"epoch\d+\.pt", file.name)
        over = file in saved or (file.parent == weights and (file.name in own or periodic))
        if over or (cleared and folder in file.parents):
            does = "writes its own weights" if over else "clears its folder"
            new = "" if trainer.resume else "give the run another 'name', leave 'exist_ok' out, or "
            raise ValueError(
                f"'model_t={file}' lies where this run {does}; {new}give a copy of the teacher in another place."
            )
