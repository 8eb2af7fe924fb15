# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Plain values of arguments: each is read and checked, or refused with a sentence that names it."""

from __future__ import annotations

import math
from typing import Any

from ultralytics.distill.spelling import split_list


def reason(error: Exception) -> str:
    """Return what an error says, or its kind where it says nothing, as part of a sentence."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def is_auto(value: Any) -> bool:
    """Whether a value is the word `auto`."""
    return isinstance(value, str) and value.strip().lower() == "auto"


def number(
    name: str, value: Any, above: float | None = None, least: float | None = None, most: float | None = None
) -> float:
    """Return a float in range.

    Args:
        name (str): The argument, for the message.
        value (Any): Its value.
        above (float, optional): Bound that the number must exceed.
        least (float, optional): Least number allowed.
        most (float, optional): Greatest number allowed.

    Returns:
        (float): A finite number.

    Raises:
        ValueError: If it is none.
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not _within(found, above, least, most):
        raise ValueError(f"'{name}={value}' must be a finite number {_bounds(above, least, most)}.")
    return found


def require_parameter(
    argument: str,
    owner: Any,
    name: str,
    whole: bool = False,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> None:
    """Raise a ValueError unless a parameter that an argument gives in brackets is a number in range.

    Args:
        argument (str): The argument, e.g. `distill_schedule`.
        owner (Any): What it spelled; the parameter is its attribute.
        name (str): The parameter.
        whole (bool): Whether it must be a whole number.
        above (float, optional): Bound that the number must exceed.
        least (float, optional): Least number allowed.
        most (float, optional): Greatest number allowed.
    """
    value = getattr(owner, name)
    number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not (number and _within(value, above, least, most)):
        raise ValueError(
            f"'{argument}={type(owner).__name__.lower()}({name}={value})' must be a {'whole' if whole else 'finite'} "
            f"number {_bounds(above, least, most)}."
        )


def _within(value: float, above: float | None, least: float | None, most: float | None) -> bool:
    """Whether a number is finite and in range."""
    low = (above is None or value > above) and (least is None or value >= least)
    return math.isfinite(value) and low and (most is None or value <= most)


def _bounds(above: float | None, least: float | None, most: float | None) -> str:
    """Return a range in words."""
    words = {"above": above, "of at least": least, "at most": most}
    return " and ".join(f"{k} {v}" for k, v in words.items() if v is not None)


def numbers(name: str, value: Any, **bounds: float) -> list[float] | None:
    """Return a list of floats in range, from one number or several; None for None."""
    items = split_list(value) if isinstance(value, str) else value
    if items is None:
        return None
    items = items if isinstance(items, (list, tuple)) else [items]
    if not items:
        raise ValueError(f"'{name}={value}' holds no number; give one, or one for each channel.")
    return [number(name, x, **bounds) for x in items]


def whole(name: str, value: Any) -> int:
    """Return a whole number of epochs of at least zero, or raise a ValueError."""
    found = number(name, value, least=0)
    if found != int(found):
        raise ValueError(f"'{name}={value}' must be a whole number of epochs.")
    return int(found)


def image_size(name: str, value: Any) -> int | tuple[int, int] | None:
    """Return an image size in pixels: the longer side, or height and width; None for None. Else raise a ValueError."""
    items = value if isinstance(value, (list, tuple)) else [value]
    if value is None:
        return None
    if len(items) > 2 or not items or not all(isinstance(x, int) and not isinstance(x, bool) and x > 0 for x in items):
        raise ValueError(f"'{name}={value}' must be a whole number of pixels for the longer side, or [height, width].")
    return items[0] if len(items) == 1 else (items[0], items[1])


def longer_side(imgsz: Any) -> int:
    """Return the longer side of an image size in pixels as upstream rounds it up, to whole cells of 32 pixels."""
    side = max(imgsz) if isinstance(imgsz, (list, tuple)) else imgsz
    return -(-side // 32) * 32


def choice(name: str, value: Any, valid: tuple) -> Any:
    """Return one of the valid values, or raise a ValueError."""
    if value not in valid:
        raise ValueError(f"'{name}={value}' is unknown; choose from {', '.join(map(str, valid))}.")
    return value
