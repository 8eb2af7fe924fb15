# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What an object that is given as a teacher stands for."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ultralytics.distill.answers.foreign import Called
from ultralytics.distill.runtime.errors import reason

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def unpack(value: Any) -> nn.Module | str:
    """Return the module that an object holds, or the file where it holds no more than that.

    Args:
        value (Any): `model_t`, or one of several: a `YOLO`, an `nn.Module`, or one of these that is spread over
            devices, averaged or compiled, which changes nothing about what it yields; or a function of images.

    Returns:
        (nn.Module | str): The bare module; of a `YOLO` that holds an exported model, its path.
    """
    from ultralytics.engine.model import Model
    from ultralytics.nn.autobackend import AutoBackend

    module = value.model if isinstance(value, Model) else value
    if isinstance(module, (str, Path)) and module is not value:
        return str(module)
    while isinstance(module, WRAPPERS) or isinstance(getattr(module, "_orig_mod", None), nn.Module):
        module = module.module if isinstance(module, WRAPPERS) else module._orig_mod
    if isinstance(module, AutoBackend):
        raise ValueError(
            "'model_t' is an AutoBackend, which returns finished boxes and no raw predictions; give the YOLO or the "
            "trained model (.pt) that it was made of."
        )
    if not isinstance(module, nn.Module) and callable(module) and not isinstance(module, type):
        return Called(module)
    if not isinstance(module, nn.Module):
        text = " ".join(repr(value).split())
        raise ValueError(f"'model_t={text:.80}' is not a path, a YOLO, an nn.Module or a function.")
    return module


def deepcopy_teacher(module: nn.Module) -> Any:
    """Return a copy of a teacher that was given as an object, which stays its owner's, or raise a ValueError."""
    try:
        with torch.no_grad():  # a scripted module's copies would be no leaves else
            return deepcopy(module)
    except Exception as e:
        raise ValueError(
            f"'model_t' is a {name_of(getattr(module, 'inner', module))}, which cannot be copied ({reason(e)}); give "
            f"the path of its file, or give it a __deepcopy__."
        ) from e


def name_of(module: nn.Module) -> str:
    """Return the name of a module's class; of a traced or scripted one that which it was made of."""
    return str(getattr(module, "original_name", type(module).__name__))
