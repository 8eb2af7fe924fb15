"""One training of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        method (str): `plain`, `native`, or `ours` with its arguments.
        seed (int): Its seed.
        terms (dict[str, Any]): What the method adds to the training arguments.
        labels (float): Share of the training images whose labels it sees.
    """

    method: str
    seed: int
    terms: dict[str, Any] = field(hash=False)
    labels: float = 1.0
