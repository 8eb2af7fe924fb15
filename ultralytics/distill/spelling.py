# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""How terms are spelled: names with parameters, lists of them, a user's own classes, and the older argument names."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn.modules.loss import _Loss

from ultralytics.distill.imports import load_class, require_base
from ultralytics.distill.runtime.errors import explain, install_excepthook

OLD_NAMES = {
    "Distillation": "model_t",
    "teacher": "model_t",
    "loss_type": "distill_feat",
    "distill_feat_type": "distill_feat",
    "distillation_loss": "distill_feat",
    "distillonline": "distill_online",
    "logit_loss": "distill_logit",
}
QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")


@dataclass
class Spelled:
    """One term as the user spelled it.

    Attributes:
        name (str): Short name for columns and messages, e.g. `cwd` or `MyLoss`.
        cls (type): The class to build.
        params (dict): Keyword parameters given in brackets.
        instance (nn.Module | None): A live module given instead of a class; copied for each layer pair.
        text (str): The plain spelling that goes into `args.yaml`, checkpoints and spawned workers.
    """

    name: str
    cls: Any
    params: dict[str, Any] = field(default_factory=dict)
    instance: nn.Module | None = None
    text: str = ""

    def needs(self, attribute: str) -> bool:
        """Whether the class declares a need, e.g. `needs_scores`."""
        return bool(getattr(self.cls, attribute, False))


def accept_old_names(custom: dict) -> dict:
    """Replace the tutorials' argument names by today's, in place, with one deprecation line each."""
    from ultralytics.utils import deprecation_warn

    for old, new in OLD_NAMES.items():
        if old in custom:
            value = custom.pop(old)
            if old == "logit_loss":
                value = "mse" if value is True else value or None
            deprecation_warn(old, new)
            custom.setdefault(new, value)
    if custom.get("model_t"):
        install_excepthook()  # upstream refuses misspelt names next
    return custom


def split_list(value: Any) -> list:
    """Split what stands for one or several terms into a list of single ones.

    That is None, a name, a `[a,b(c=1)]` string as the command line gives it, an object, or a list of these. Strings are
    stripped. None, `none`, False and an empty list are an empty list.
    """
    if value is None or value is False:
        return []
    if isinstance(value, (list, tuple)):
        return [x for item in value for x in split_list(item)]
    if not isinstance(value, str):
        return [value]
    text = value.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    items, depth, start = [], 0, 0
    bare = QUOTED.sub(lambda found: "_" * len(found[0]), text)  # commas and brackets inside quotes split nothing
    for i, char in enumerate(bare + ","):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and (depth == 0 or i == len(text)):  # an open bracket at the end is for the reader to refuse
            items.append(text[start:i].strip().strip("'\""))
            start = i + 1
    return [x for x in items if x and x.lower() != "none"]


def parse(argument: str, item: Any, names: Mapping[str, type], base: type = nn.Module) -> Spelled:
    """Read one term.

    Args:
        argument (str): The argument's name, for messages.
        item (Any): `name`, `name(k=v)`, `package.module:Class(k=v)`, a class, or an instance.
        names (Mapping[str, type]): The known names.
        base (type): What a `package.module:Class` must be derived from; nothing else is ever built, since a
            stranger's checkpoint can name any class there is.

    Returns:
        (Spelled): The term.

    Raises:
        ValueError: If the text cannot be read, the name is unknown, or the object has no spelling that can be reloaded.
    """
    if isinstance(item, type):
        require_base(argument, item.__qualname__, item, base)
    if isinstance(item, (type, nn.Module)):
        return _spell_object(argument, item)
    if not isinstance(item, str):
        raise ValueError(f"'{argument}={item!r}' is not a name, a 'package.module:Class', a class or a module.")
    head, bracket, tail = item.partition("(")
    head, params = head.strip(), _parameters(argument, item, bracket + tail)
    if ":" in head:
        spelled = Spelled(head.rsplit(":", 1)[1], load_class(argument, head, base), params, text=item)
    elif head.lower() not in names:
        known = f"choose from {', '.join(names)}, or " if names else ""
        raise ValueError(f"'{argument}={item}' is unknown; {known}give 'package.module:Class'.")
    else:
        head = head.lower()
        text = f"{head}{bracket}{tail}"
        if "lead" in params and "margin" in (parameters_of(names[head]) or []):  # what the first version called it
            from ultralytics.utils import deprecation_warn

            deprecation_warn("lead", "margin")
            params["margin"] = params.pop("lead")
            text = re.sub(r"\blead\b", "margin", text)
        spelled = Spelled(head, names[head], params, text=text)
    check_parameters(argument, spelled)
    return spelled


def check_parameters(argument: str, spelled: Spelled) -> None:
    """Raise a ValueError that lists the valid ones if a class does not take a parameter given in brackets."""
    valid = parameters_of(spelled.cls)
    if valid is not None and (bad := [k for k in spelled.params if k not in valid]):
        raise ValueError(
            f"'{argument}={spelled.text}': {spelled.name} has no parameter '{bad[0]}'; "
            f"valid ones: {', '.join(x for x in valid if not x.startswith('channels_')) or 'none'}."
        )


def parameters_of(cls: type) -> list[str] | None:
    """Return the names of a constructor's parameters, or None if it takes any keyword."""
    init: Any = cls.__init__  # type: ignore[misc]  # only its parameters are read
    signature = inspect.signature(init).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in signature) and init is not nn.Module.__init__:
        return None
    return [p.name for p in signature if p.name != "self" and p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}]


def _parameters(argument: str, item: str, tail: str) -> dict[str, Any]:
    """Read the `(k=v, ...)` after a name; bare words as values are strings."""
    if not tail:
        return {}
    try:
        call = ast.parse(f"f{tail}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise SyntaxError
        return {
            str(k.arg): k.value.id if isinstance(k.value, ast.Name) else ast.literal_eval(k.value)
            for k in call.keywords
        }
    except (SyntaxError, ValueError, TypeError):
        raise ValueError(
            f"'{argument}={item}' cannot be read; write parameters as 'name(key=value, key=value)'."
        ) from None


def build_spelled(argument: str, spelled: Spelled, *given: Any, **defaults: Any) -> Any:
    """Build what was spelled; a ValueError says where in a user's file the constructor fails, whatever it raises."""
    try:
        built = spelled.cls(*given, **{**defaults, **spelled.params})
    except Exception as e:
        if isinstance(e, ValueError) and str(e).startswith(f"'{argument}="):
            raise  # a sentence already
        raise ValueError(f"'{argument}={spelled.text}' cannot be built: {explain(e)}.") from e
    if isinstance(built, nn.Module) and "_modules" not in vars(built):
        raise ValueError(f"'{argument}={spelled.text}' cannot be built: its __init__ does not call super().__init__().")
    return built


def require_forward(argument: str, spelled: Spelled, *more: str) -> None:
    """Raise a ValueError unless forward can be called with what both models show, the batch, and what is named more."""
    signature, given = inspect.signature(spelled.cls.forward), ("student", "teacher", "batch", *more)
    try:
        signature.bind(None, *given)
    except TypeError:
        takes = ", ".join(list(signature.parameters)[1:])
        raise ValueError(
            f"'{argument}={spelled.text}': its forward takes ({takes}), not ({', '.join(given)}); call it in a "
            f"module of your own that does."
        ) from None


def _spell_object(argument: str, item: Any) -> Spelled:
    """Give a live class or module the `package.module:Class(k=v)` text from which it can be built again."""
    cls: Any = item if isinstance(item, type) else type(item)
    if "<locals>" in cls.__qualname__:
        raise ValueError(
            f"'{argument}={cls.__qualname__}' is defined inside a function; move it to a module's top level, "
            f"so that resume and spawned workers can import it."
        )
    text, params = f"{cls.__module__}:{cls.__qualname__}", {}
    if cls.__module__ == "__main__":
        from ultralytics.utils import LOGGER

        LOGGER.warning(
            f"'{argument}={cls.__qualname__}' is defined in the script itself, where spawned workers and other scripts "
            f"that resume this run do not find it; a module of its own would do."
        )
    if not isinstance(item, type):
        names = parameters_of(cls)
        if names is None:
            raise ValueError(
                f"'{argument}={cls.__qualname__}(...)' takes any keyword, so it cannot be told how to build it again; "
                f"give '{text}(...)' instead."
            )
        for name in names:
            if isinstance(item, _Loss) and name in {"size_average", "reduce"}:
                continue  # torch's older words for `reduction`, which is kept
            value = getattr(item, name, inspect.Parameter.empty)
            if not isinstance(value, (bool, int, float, str, list, tuple, type(None))):
                if name in {"channels_s", "channels_t"}:
                    continue
                raise ValueError(
                    f"'{argument}={cls.__qualname__}(...)': keep the constructor's '{name}' as a plain attribute of "
                    f"that name, so that resume and spawned workers can build it again, or give "
                    f"'{text}({name}=...)' instead."
                )
            params[name] = value
        if params:
            text += "(" + ", ".join(f"{k}={v!r}" for k, v in params.items()) + ")"
    return Spelled(cls.__name__, cls, params, None if isinstance(item, type) else item, text)
