# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Plain values of arguments: each is read and checked, or refused with a sentence that names it."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from ultralytics.distill.spelling import split_list


def plain(value: Any) -> Any:
    """Return a value as `args.yaml`, a checkpoint and a worker's script can hold it.

    Numbers and texts of numpy or torch, arrays, tensors, ranges and paths become Python's own, also inside lists.
    """
    if isinstance(value, (np.generic, np.ndarray, torch.Tensor)):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, range)):
        return [plain(x) for x in value]
    return str(value) if isinstance(value, PurePath) else value


def shown(value: Any) -> str:
    """Return a value, which may be a model, as it stands in a sentence: in one line, and not at length."""
    return f"{' '.join(str(value).split()):.200}"


def refuse(reasons: Mapping[str, Any]) -> None:
    """Raise a ValueError with the first sentence whose condition holds."""
    if why := next((sentence for sentence, holds in reasons.items() if holds), ""):
        raise ValueError(why)


def is_auto(value: Any) -> bool:
    """Whether a value is the word `auto`."""
    return isinstance(value, str) and value.strip().lower() == "auto"


def number(
    name: str, value: Any, above: float | None = None, least: float | None = None, most: float | None = None
) -> float:
    """Return a finite float in range, or raise a ValueError that names the argument."""
    found = _to_float(value)
    low = (above is None or found > above) and (least is None or found >= least)
    if not (math.isfinite(found) and low and (most is None or found <= most)):
        bounds = {"above": above, "of at least": least, "at most": most}
        words = " and ".join(f"{k} {v}" for k, v in bounds.items() if v is not None)
        raise ValueError(f"'{name}={value}' must be a finite number {words}.")
    return found


def numbers(name: str, value: Any, **bounds: float) -> list[float] | None:
    """Return a list of floats in range, from one number or several; None for None."""
    items = split_list(value) if isinstance(value, str) else value
    if items is None:
        return None
    items = items if isinstance(items, (list, tuple)) else [items]
    if not items:
        raise ValueError(f"'{name}={value}' holds no number; give one, or one for each channel.")
    return [number(name, x, **bounds) for x in items]


def whole(name: str, value: Any, least: int = 0) -> int:
    """Return a whole number that is large enough, or raise a ValueError."""
    if (found := to_whole(value)) is None or found < least:
        raise ValueError(f"'{name}={value}' must be a whole number of at least {least}.")
    return found


def to_whole(value: Any) -> int | None:
    """Return a whole number, which may be written as text or as a float; None for anything else."""
    found = _to_float(value)
    return int(found) if math.isfinite(found) and found == int(found) else None


def _to_float(value: Any) -> float:
    """Return a number, which may be written as text; what is no number for anything else, True and False too."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan


def from_text(value: Any) -> Any:
    """Return what a text spells, a number or a list, as upstream's command line reads it; else the value itself."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return value


def image_size(name: str, value: Any) -> int | tuple[int, int] | None:
    """Return an image size in pixels: the longer side, or height and width; None for None. Else raise a ValueError."""
    if value is None:
        return None
    read = from_text(value)
    items = [to_whole(x) for x in (read if isinstance(read, (list, tuple)) else [read])]
    found = [x for x in items if x is not None and x > 0]
    if len(items) > 2 or not items or len(found) < len(items):
        raise ValueError(f"'{name}={value}' must be a whole number of pixels for the longer side, or [height, width].")
    return found[0] if len(found) == 1 else (found[0], found[1])


def longer_side(imgsz: Any) -> int:
    """Return the longer side of an image size in pixels as upstream rounds it up, to whole cells of 32 pixels."""
    side = max(imgsz) if isinstance(imgsz, (list, tuple)) else imgsz
    return -(-side // 32) * 32


def choice(name: str, value: Any, valid: tuple) -> Any:
    """Return one of the valid words, which may be written in capitals, or numbers; or raise a ValueError."""
    found = value.strip().lower() if isinstance(value, str) else value
    if found not in valid:
        raise ValueError(f"'{name}={value}' is unknown; choose from {', '.join(map(str, valid))}.")
    return found


def switch(name: str, value: Any) -> bool:
    """Return True or False, which may be written as text or as 1 and 0, or raise a ValueError."""
    words = {"true": True, "false": False, "1": True, "0": False}
    if (found := words.get(str(value).strip().lower())) is None:
        raise ValueError(f"'{name}={value}' is unknown; choose from False, True.")
    return found


def gains_of(argument: str, terms: Any, name: str, value: Any) -> list[float]:
    """Return the gain of each term; a ValueError if there are more or fewer, or one is no number of at least 0."""
    count = len(split_list(terms))
    many = split_list(value) if isinstance(value, str) and ("[" in value or "," in value) else value
    if not isinstance(many, (list, tuple)):
        many = [many] * count
    elif is_auto(terms):
        raise ValueError(
            f"'{name}={value}' is a list, but '{argument}=auto' takes one number, which multiplies the recipe's own "
            f"gains; give a number, or name the terms."
        )
    if len(many) != count:
        raise ValueError(
            f"'{name}={value}' has {len(many)} gains for {count} term(s) of '{argument}={terms}'; give one number, or "
            f"one for each named term."
        )
    return [number(name, x, least=0) for x in many]


def layer_pairs(name: str, value: Any) -> str | list[tuple[int, int]]:
    """Return layers to compare: auto, or (student, teacher) pairs, given as such or as an index for both."""
    if is_auto(value):
        return "auto"
    read = from_text(value)
    pairs: list[tuple[int, int]] = []
    for item in read if isinstance(read, (list, tuple)) else [read]:
        pair = [to_whole(i) for i in (item if isinstance(item, (list, tuple)) else (item, item))]
        found = [i for i in pair if i is not None and i >= 0]
        if len(pair) != 2 or len(found) != 2:
            raise ValueError(
                f"'{name}={value}' is not 'auto', a layer index, a list of indices, or a list of "
                f"[student, teacher] index pairs."
            )
        if (found[0], found[1]) in pairs:
            raise ValueError(f"'{name}={value}' names {item} twice; name each layer or pair once.")
        pairs.append((found[0], found[1]))
    if not pairs:
        raise ValueError(f"'{name}=[]' names no layer; use 'auto' or a list of layer indices.")
    return pairs
