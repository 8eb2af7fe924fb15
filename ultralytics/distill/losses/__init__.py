# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Distillation losses: pure modules, tensors in, scalar out, found by name in three plain dicts.

Feature and relation losses take maps (N, C, H, W) of one layer pair, response losses take dicts of raw predictions.
"""

from __future__ import annotations

from .at import AT
from .base import Loss
from .bckd import BCE, BCKD
from .cosine import Cosine
from .crd import CRD
from .crosskd import CrossGIoU, CrossKD, CrossLD
from .cwd import CWD, CWDMap
from .depth import Depth
from .dist import DIST
from .fgd import FGD
from .giou import GIoU
from .gram import Gram
from .kl import KL
from .l1 import L1
from .ld import LD
from .mask import Mask
from .mgd import MGD
from .mimic import Mimic
from .mse import MSE
from .pkd import PKD
from .pose import Pose
from .probiou import ProbIoU
from .pseudo import Pseudo
from .relative import Relative
from .rkd import RKD
from .sl2 import SL2
from .sp import SP


def _by_name(*classes: type[Loss]) -> dict[str, type[Loss]]:
    """Return losses by the names that users type, those of their classes."""
    return {cls.__name__.lower(): cls for cls in classes}


FEATURE = _by_name(CWD, MGD, Mimic, Cosine, PKD, FGD, AT, Gram, SL2)
RESPONSE = _by_name(Relative, BCKD, BCE, KL, DIST, MSE, LD, GIoU, L1, CrossKD, CrossLD, CrossGIoU)
RESPONSE |= _by_name(Mask, Pose, ProbIoU, CWDMap, Depth)
FINAL = _by_name(Pseudo)  # response terms on final boxes, whatever the heads
RELATION = _by_name(SP, RKD, CRD)

__all__ = (
    "AT", "BCE", "BCKD", "CRD", "CWD", "DIST", "FEATURE", "FGD", "FINAL", "KL", "L1", "LD", "MGD", "MSE", "PKD",
    "RELATION", "RESPONSE", "RKD", "SL2", "SP", "CWDMap", "Cosine", "CrossGIoU", "CrossKD", "CrossLD", "Depth", "GIoU",
    "Gram", "Loss", "Mask", "Mimic", "Pose", "ProbIoU", "Pseudo", "Relative",
)  # fmt: skip
