"""One training of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

REST = "rest"  # in `unlabeled=rest`: the images whose labels a run does not see
PSEUDO = "pseudo"  # the method: the teacher's confident boxes as labels of the rest


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        method (str): `plain`, `native`, `pseudo`, or `ours` with its arguments.
        seed (int): Its seed.
        terms (dict[str, Any]): What the method adds to the training arguments.
        labels (float): Share of the training images whose labels it sees.
    """

    method: str
    seed: int
    terms: dict[str, Any] = field(hash=False)
    labels: float = 1.0

    @property
    def is_pseudo(self) -> bool:
        """Whether it learns from its teacher's boxes as labels."""
        return self.method.startswith(PSEUDO)

    @property
    def uses_rest(self) -> bool:
        """Whether it sees images whose labels it does not see."""
        return self.is_pseudo or self.terms.get("unlabeled") == REST

    @property
    def is_subset(self) -> bool:
        """Whether it is not simply one on the user's data."""
        return self.labels != 1 or self.uses_rest

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.method}, seed {self.seed}" + f", labels {self.labels:g}" * (self.labels != 1)
