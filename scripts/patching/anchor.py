# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Finds a change's place in a file by one line that is there exactly once, and makes the change there.

Regular expressions on lines, and `ast` for what is inside which function and where a statement ends. libcst and
ast-grep would match whole syntax nodes, but the tool runs in `setup.py` and in a user's bare Python, where neither is
installed; and all that a change needs of syntax is a function's range, a docstring's end and a statement's end.
Indentation and line ends are taken from the line that was found.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from typing import Union

from . import PatchError
from .series import Change, Place

LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # as Python's parser counts lines
Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]
IN, THERE, ABSENT, CONFLICT = "in", "there already", "not needed", "does not fit"


@dataclass(frozen=True)
class Edit:
    """Lines `start` to `stop` (from 0, stop excluded) of a file give way to `lines`."""

    start: int
    stop: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What became of a change: one of the four words, the edit that it made, or why it does not fit."""

    word: str
    edit: Edit | None = None
    reason: str = ""


class Source:
    """A file's lines, and where its functions and statements stand."""

    def __init__(self, path: str, data: bytes):
        """Read a file's content; what is not UTF-8 in it survives.

        Raises:
            PatchError: If a Python file is not valid.
        """
        self.lines = split_lines(data)
        self.functions: dict[str, list[Function]] = {}
        self.ends: dict[int, int] = {}  # last line of the statement that starts in a line, both from 0
        self.quoted: set[int] = set()  # lines that start inside a string
        if path.endswith(".py"):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # an odd escape in the user's own string is none of our business
                    tree = ast.parse(data)
            except (SyntaxError, ValueError) as error:
                raise PatchError(f"{path} is no valid Python ({error}): mend it first.") from error
            self._look(tree, "")

    def _look(self, node: ast.AST, inside: str) -> None:
        """Note functions by their qualified names, the ends of statements, and the lines inside strings."""
        for child in ast.iter_child_nodes(node):
            name = inside
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = f"{inside}.{child.name}".lstrip(".")
                if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    self.functions.setdefault(name, []).append(child)
            if isinstance(child, ast.stmt):
                start, end = child.lineno - 1, (child.end_lineno or child.lineno) - 1
                self.ends[start] = max(end, self.ends.get(start, end))
            elif isinstance(child, (ast.Constant, ast.JoinedStr)) and (child.end_lineno or 0) > child.lineno:
                self.quoted.update(range(child.lineno, child.end_lineno or 0))
            self._look(child, name)

    def region(self, functions: tuple[str, ...]) -> list[int]:
        """Return the lines of code of some functions, or those outside all of them."""
        if not functions:
            inner = {i for name in self.functions for i in self.region((name,))}
            return [i for i in range(len(self.lines)) if i not in self.quoted and i not in inner]
        nodes = [node for name in functions for node in self.functions.get(name, [])]
        spans = (range(node.lineno - 1, node.end_lineno or node.lineno) for node in nodes)
        return [i for span in spans for i in span if i not in self.quoted]


def make(path: str, data: bytes, change: Change) -> Result:
    """Work out what a change does to a file with this content: an edit, or why there is none; nothing is written."""
    source = Source(path, data)
    region = source.region(change.functions)
    name = " or ".join(change.functions)
    if change.functions and not region:
        return Result(ABSENT) if change.if_there else Result(CONFLICT, reason=f"there is no {name}")
    for word, pattern in change.asked.items():
        if bool(_matches(source, region, pattern)) == (word == "Unless"):
            return Result(ABSENT)
    edits = [_edit(source, region, change, place) for place in change.places]
    fitting = next((x for x in edits if isinstance(x, Edit)), None)
    if any(_present(source, region, place, edit) for place, edit in zip(change.places, edits)):
        return Result(THERE, fitting)
    if path.endswith((".yaml", ".yml")) and (own := _own_keys(source, change)):  # YAML would take the last of two
        return Result(CONFLICT, reason=f"the file has `{own[0]}` of its own")
    return Result(IN, fitting) if fitting else Result(CONFLICT, reason=str(edits[0]))


def _own_keys(source: Source, change: Change) -> list[str]:
    """Return the keys among a change's lines that a YAML file already has."""
    keys = [text.partition(":")[0] for place in change.places for text in place.code if text.strip()]
    return [key for key in keys if any(line.startswith(f"{key}:") for line in source.lines)]


def split_lines(data: bytes) -> list[str]:
    """Return a file's lines, each with its end; a last line without one is given that of the first."""
    lines = LINE.findall(data.decode("utf-8", "surrogateescape"))
    if lines and not _end(lines[-1]):
        lines[-1] += _end(lines[0]) or "\n"
    return lines


def splice(data: bytes, edit: Edit) -> bytes:
    """Return a file's content with an edit made; what had no end has none then."""
    lines = split_lines(data)
    lines[edit.start : edit.stop] = edit.lines
    if data and not data.endswith((b"\r", b"\n")):
        lines[-1] = lines[-1].rstrip("\r\n")
    return "".join(lines).encode("utf-8", "surrogateescape")


def _end(line: str) -> str:
    """Return a line's end."""
    return line[len(line.rstrip("\r\n")) :]


def _matches(source: Source, region: list[int], pattern: re.Pattern[str]) -> list[int]:
    """Return the lines of a region that start with a pattern."""
    return [i for i in region if pattern.match(source.lines[i].strip())]


def _edit(source: Source, region: list[int], change: Change, place: Place) -> Edit | str:
    """Return the edit at one place, or why it cannot be made there."""
    if place.pattern is None:
        return _at_start(source, change, place)
    found = _matches(source, region, place.pattern)
    where = f" in {' or '.join(change.functions)}" if change.functions else ""
    if len(found) != 1:
        lines = ", ".join(str(i + 1) for i in found[:4])
        return f"the line is there {len(found)} times{where} (lines {lines})" if found else f"the line is not{where}"
    at, line = found[0], source.lines[found[0]]
    if place.kind == "Replace":
        match = place.pattern.match(line.strip())
        assert match is not None  # as _matches found
        code = [match.expand(text) for text in place.code]
        code[-1] += line.strip()[match.end() :]
        return Edit(at, at + 1, _indented(source, at, code, change))
    if place.kind == "Before":
        return Edit(at, at, _indented(source, at, place.code, change))
    if at not in source.ends:
        return f"line {at + 1} starts no statement"
    behind = source.ends[at] + 1
    return Edit(behind, behind, _indented(source, at, place.code, change))


def _at_start(source: Source, change: Change, place: Place) -> Edit | str:
    """Return the edit that puts lines first into a function, behind its docstring."""
    nodes = [node for name in change.functions for node in source.functions.get(name, [])]
    if len(nodes) != 1:
        return f"there are {len(nodes)} functions {' or '.join(change.functions)}"
    body = nodes[0].body
    first = min([body[0].lineno, *(x.lineno for x in getattr(body[0], "decorator_list", []))]) - 1
    if first == nodes[0].lineno - 1:
        return "the function is written in one line"
    documented = isinstance(body[0], ast.Expr) and isinstance(getattr(body[0].value, "value", None), str)
    at = (body[0].end_lineno or body[0].lineno) if documented else first
    return Edit(at, at, _indented(source, first, place.code, change))


def _indented(source: Source, at: int, code: tuple[str, ...] | list[str], change: Change) -> tuple[str, ...]:
    """Return lines indented as a line of the file is, each further step as wide as the file's own."""
    line = source.lines[at]
    indent, step = line[: len(line) - len(line.lstrip())], "    "
    for node in (node for name in change.functions for node in source.functions.get(name, [])):
        outer, inner = source.lines[node.lineno - 1], source.lines[node.body[0].lineno - 1]
        widths = [len(x) - len(x.lstrip()) for x in (outer, inner)]
        step = inner[widths[0] : widths[1]] or step
    end = _end(line)
    texts = ((len(text) - len(text.lstrip(" ")), text.lstrip(" ")) for text in code)
    return tuple((f"{indent}{step * (width // 4)}{text}" if text else "") + end for width, text in texts)


def _present(source: Source, region: list[int], place: Place, edit: Edit | str) -> bool:
    """Return whether a place's lines stand in a region already; a line that can be replaced is not replaced yet."""
    if place.kind == "Replace" and isinstance(edit, Edit):
        return False
    wanted = [re.sub(r"\\\\[1-9]", ".*", re.escape(text.strip())) for text in place.code if text.strip()]
    lines = [text for text in (source.lines[i].strip() for i in region) if text]
    spans = (lines[i : i + len(wanted)] for i in range(len(lines) - len(wanted) + 1))
    return any(all(re.match(w + r"(?!\w)", text) for w, text in zip(wanted, span)) for span in spans)
