# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Finds a user's own class by `package.module:Class`, or says in one sentence what keeps it from being found."""

from __future__ import annotations

import importlib
import re
from typing import Any

from torch import nn

from ultralytics.distill.runtime.errors import explain, place


def load_class(argument: str, path: str, base: type) -> type:
    """Import `package.module:Class` and check what it is."""
    module, _, name = path.rpartition(":")
    given = f"'{argument}={path}'"
    if module.endswith(".py") or "/" in module or "\\" in module:
        stem = re.split(r"[/\\]", module)[-1].partition(".py")[0]
        raise ValueError(f"{given} names a file; give '{stem}:{name}' with the file's folder on PYTHONPATH.")
    if module.startswith("."):
        raise ValueError(f"{given} starts with a dot; give the module's whole name, as in 'package.module:Class'.")
    cls: Any = _import_module(given, module)
    for part in name.split("."):
        if not hasattr(cls, part):
            raise ValueError(f"{given} cannot be imported: '{module}' has no '{name}'.")
        cls = getattr(cls, part)
    if not isinstance(cls, type):
        raise ValueError(f"{given} is a {type(cls).__name__}, not a class.")
    require_base(argument, path, cls, base)
    return cls


def _import_module(given: str, module: str) -> Any:
    """Import a user's module, or say in one sentence that it is not found or what goes wrong in it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as e:
        if not f"{module}.".startswith(f"{e.name}."):
            raise ValueError(
                f"{given} cannot be imported: it needs '{e.name}', which is not installed ({place(e)})."
            ) from e
        raise ValueError(
            f"{given} cannot be imported ({e}); give 'package.module:Class' with its folder on PYTHONPATH."
        ) from e
    except (Exception, SystemExit) as e:
        raise ValueError(f"{given} cannot be imported: {explain(e)}.") from e


def require_base(argument: str, text: str, cls: type, base: type) -> None:
    """Raise unless a class is derived from what can be used here."""
    if not issubclass(cls, base):
        name = "torch.nn.Module" if base is nn.Module else f"{base.__module__}.{base.__qualname__}"
        raise ValueError(f"'{argument}={text}' is a class that cannot be used here; derive it from {name}.")
