# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Knowledge distillation for YOLO models: `YOLO("yolo26n.pt").train(data="my.yaml", model_t="yolo26s.pt")`."""

from __future__ import annotations

import importlib
from typing import Any

_FACE = {
    "BaseDistiller": "base",
    "CWDLoss": "tutorial",
    "Distiller": "distiller",
    "FeatureLoss": "tutorial",
    "MGDLoss": "tutorial",
    "MimicLoss": "tutorial",
    "get_channels": "tutorial",
    "get_fpn_features": "tutorial",
    "losses": "losses",
}

__all__ = tuple(_FACE)


def __getattr__(name: str) -> Any:
    """Import a public name on first access; the modules need upstream's that import this package."""
    if name not in _FACE:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    module = importlib.import_module(f"{__name__}.{_FACE[name]}")
    return module if name == _FACE[name] else getattr(module, name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(_FACE)
