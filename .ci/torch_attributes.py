# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A plugin for mypy: an attribute that a torch module does not declare may be anything.

torch declares that such an attribute is a tensor or a module. Ultralytics keeps lists, dicts and numbers on its modules
(`model.names`, `head.nl`, `model.model[-1]`), so each use of them would be an error.
"""

from __future__ import annotations

from collections.abc import Callable

from mypy.plugin import AttributeContext, Plugin
from mypy.types import AnyType, Type, TypeOfAny, UnionType

UNDECLARED = "torch.nn.modules.module.Module."


def widen(context: AttributeContext) -> Type:
    """Return Any for what torch guesses from `__getattr__`, and any declared type unchanged."""
    found = context.default_attr_type
    return AnyType(TypeOfAny.explicit) if isinstance(found, UnionType) else found


class TorchAttributes(Plugin):
    """Asks `widen` about the attributes of torch's modules."""

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        """Return `widen` for an attribute of `nn.Module`."""
        return widen if fullname.startswith(UNDECLARED) else None


def plugin(version: str) -> type[Plugin]:
    """Return the plugin, as mypy asks for it."""
    return TorchAttributes
