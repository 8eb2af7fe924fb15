# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Several frozen teachers as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ultralytics.distill.graph import Tapped
from ultralytics.distill.teacher.frozen import Teacher


class SeveralTeachers:
    """Frozen teachers that look at a batch one after the other.

    Args:
        teachers (Sequence[Teacher]): The teachers, in the order of the distillers.
    """

    def __init__(self, teachers: Sequence[Teacher]):
        """Keep them."""
        self.teachers = list(teachers)

    def __call__(self, images: Sequence[torch.Tensor]) -> list[Tapped]:
        """Return what each teacher sees of its own images."""
        return [t(x) for t, x in zip(self.teachers, images)]

    def describe(self) -> str:
        """Return each teacher's size and precision."""
        return "; ".join(t.describe() for t in self.teachers)

    def __deepcopy__(self, memo: dict) -> SeveralTeachers:
        """Return itself: frozen teachers need no second copy."""
        return self
