# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Works out in memory what the series makes of some files, and tells it in lines that a person can paste."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import SequenceMatcher, unified_diff

from . import PatchError
from .anchor import ABSENT, CONFLICT, IN, LINE, THERE, Result, make, splice
from .series import Change, Patch, Place

MOST = 6  # lines of a conflict's report


@dataclass
class Outcome:
    """What became of one patch: each of its changes with its result, or that it was left out by wish."""

    patch: Patch
    results: list[tuple[Change, Result]] = field(default_factory=list)
    wished_away: bool = False

    @property
    def conflicts(self) -> list[tuple[Change, Result]]:
        """(list): The changes that do not fit."""
        return [(change, result) for change, result in self.results if result.word == CONFLICT]

    @property
    def word(self) -> str:
        """(str): What became of it, in a word or two."""
        words = {result.word for _, result in self.results}
        if self.wished_away:
            return "left out"
        return next((word for word in (CONFLICT, IN, THERE) if word in words), ABSENT)


@dataclass(frozen=True)
class Plan:
    """The series on some files: what became of each patch, in order, and the files with it."""

    outcomes: list[Outcome]
    files: dict[str, bytes]

    @property
    def refused(self) -> list[Outcome]:
        """(list[Outcome]): Required patches that do not fit."""
        return [x for x in self.outcomes if x.conflicts and not x.patch.lost]

    @property
    def left_out(self) -> list[Outcome]:
        """(list[Outcome]): Optional patches that do not fit, or that are not wished."""
        return [x for x in self.outcomes if x.patch.lost and (x.conflicts or x.wished_away)]

    @property
    def there(self) -> list[tuple[Outcome, Change, Result]]:
        """(list): The changes whose lines stand in the files already."""
        return [(o, change, result) for o in self.outcomes for change, result in o.results if result.word == THERE]


def make_plan(patches: list[Patch], files: dict[str, bytes], without: tuple[str, ...] = ()) -> Plan:
    """Put the series on some files, of which one may be missing; a patch that does not fit has changed nothing.

    Raises:
        PatchError: If a name in `without`, which are not wished, is none of an optional patch.
    """
    optional = [patch.title for patch in patches if patch.lost]
    for name in without:
        if name not in optional:
            raise PatchError(f"--without {name} is no optional patch: those are {', '.join(optional) or 'none'}.")
    plan = Plan([Outcome(patch, wished_away=patch.title in without) for patch in patches], dict(files))
    for outcome in plan.outcomes:
        changed: dict[str, bytes] = {}
        for change in () if outcome.wished_away else outcome.patch.changes:
            data = changed.get(change.path, plan.files.get(change.path))
            if data is None:
                result = Result(ABSENT) if change.if_there else Result(CONFLICT, reason="there is no such file")
            else:
                result = make(change.path, data, change)
                if result.word == IN and result.edit:
                    changed[change.path] = splice(data, result.edit)
            outcome.results.append((change, result))
        if not outcome.conflicts:
            plan.files.update(changed)
    return plan


def require_whole(plan: Plan, where: str) -> None:
    """Refuse a series of which a required patch does not fit."""
    if plan.refused:
        names = ", ".join(x.patch.title for x in plan.refused)
        raise PatchError(f"{names} {'do' if len(plan.refused) > 1 else 'does'} not fit {where}.")


def report(outcome: Outcome) -> list[str]:
    """Tell what of a patch does not fit: why, and which lines to paste where, in at most six lines a change."""
    lines = []
    for change, result in outcome.conflicts:
        place, where = change.places[0], f" in {' or '.join(change.functions)}" if change.functions else ""
        spot = {"First": "first", "Before": "before", "After": "after", "Replace": "in place of"}[place.kind]
        pinned = _pinned_line(outcome.patch, place)
        line = f" `{pinned.string if pinned else place.pattern.pattern}`" if place.pattern else ""
        replaced = pinned if place.kind == "Replace" else None
        code = [f"    {replaced.expand(text) if replaced else text}" for text in place.code]
        code[-1] += replaced.string[replaced.end() :] if replaced else ""
        if len(code) > MOST - 2:
            code = [*code[: MOST - 3], f"    (and {len(place.code) - MOST + 3} more: {outcome.patch.name} has them)"]
        lines += [
            f"{change.path}: {outcome.patch.title} {CONFLICT}: {result.reason}",
            f"  paste{where}, {spot}{line}:",
            *code,
        ]
    return lines


def _pinned_line(patch: Patch, place: Place) -> re.Match[str] | None:
    """Return the match of the line that a place looks for in the pinned file, if its patch shows it."""
    texts = (text[1:].strip() for text in patch.diff.splitlines() if text[:1] in " -")
    return next((match for match in map(place.pattern.match, texts) if match), None) if place.pattern else None


def blocks(before: bytes, after: bytes) -> list[tuple[int, list[str], list[str]]]:
    """Return the differences of two texts: index of the first line, the lines before, and those after."""
    old, new = (LINE.findall(data.decode("utf-8", "surrogateescape")) for data in (before, after))
    matcher = SequenceMatcher(None, old, new, autojunk=False)  # autojunk blurs files with many equal lines
    return [(i, old[i:j], new[k:m]) for tag, i, j, k, m in matcher.get_opcodes() if tag != "equal"]


def printed(path: str, before: bytes, after: bytes) -> list[str]:
    """Tell what changes in a file so that a person can do it by hand, from the file's end to its start."""
    old = LINE.findall(before.decode("utf-8", "surrogateescape"))
    lines = []
    for at, gone, new in reversed(blocks(before, after)):  # so that line numbers stay true while they are pasted
        behind = not gone and at > 0 and bool(old[at - 1].strip())
        spot = f"after line {at}" if behind else f"{'in place of' if gone else 'before'} line {at + 1}"
        known = old[at - 1] if behind else old[at] if at < len(old) else ""
        lines += [f"{path}, {spot}: {known.strip()}", *(f"  |{text.rstrip()}" for text in new)]
    return [line.encode("utf-8", "replace").decode() for line in lines]


def diff_text(path: str, before: bytes, after: bytes) -> str:
    """Return the unified diff of a file with three lines of context, empty where nothing differs."""
    old, new = (data.decode().splitlines(keepends=True) for data in (before, after))
    return "".join(unified_diff(old, new, f"a/{path}", f"b/{path}"))
