# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What keeps a response term from comparing two models, whatever it compares."""

from __future__ import annotations

from torch import nn

from ultralytics.distill.config import Config, Term
from ultralytics.distill.upstream import WorldDetect, YOLOEDetect


def require_comparable(term: Term, config: Config, student: nn.Module, teacher: nn.Module) -> None:
    """Raise a ValueError, half a sentence, where two models' predictions do not mean the same.

    Args:
        term (Term): A response term.
        config (Config): The run's distillation arguments.
        student (nn.Module): The student, unwrapped.
        teacher (nn.Module): The teacher, unwrapped.
    """
    heads = student.model[-1], teacher.model[-1]
    if isinstance(heads[0], (WorldDetect, YOLOEDetect)) and not getattr(heads[0], "is_fused", False):
        raise ValueError("the student's classes are in training those of each image's own prompts.")
    for role, head in zip(("student", "teacher"), heads):
        if hasattr(head, "cv2") and head.cv2 is None:
            raise ValueError(
                f"the {role}'s head was fused for inference and has no one-to-many branch left; give the {role}'s file."
            )
    if config.imgsz is not None and getattr(term.spelled.cls, "same_grid", False):
        raise ValueError(
            f"it compares raw outputs in cells, and the teacher's are of another size: 'distill_imgsz={config.imgsz}'."
        )
