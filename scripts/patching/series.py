# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The series: which patches there are, in which order, and what each says about itself.

A patch file is a header of `Field: value` lines (a value goes on in indented lines), an empty line, and unified diffs.
The `Touches:` lines are the header's last, since `patchset.py refresh` writes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import PatchError, Repo
from .diff import FileDiff, parse_diffs, split_lines
from .place import changes, splice

TODO = "TODO"
FIELDS = {
    "Subject": "what the patch does, in a few words",
    "Why": "why upstream's file has to change",
    "No-other-way": "why no subclass, callback or hook can do it",
    "Forwarded": "a link to where it was offered upstream, or not-needed and the reason",
    "Drop-when": "what upstream has to change before this patch can go",
}
NAME = re.compile(r"[a-z]+(-[a-z]+)+\.patch")
TOUCHES = re.compile(r"(\S+) sha256=([0-9a-f]{64})")
SERIES = "series"


@dataclass(frozen=True)
class Field:
    """One header field: its name, its value, and the line where it starts."""

    name: str
    value: str
    line: int


@dataclass(frozen=True)
class Patch:
    """One patch file.

    Attributes:
        name (str): File name.
        header (bytes): Header as it stands, without the `Touches:` lines.
        fields (tuple[Field, ...]): The header's fields, `Touches` included.
        diffs (tuple[FileDiff, ...]): One entry a file.
    """

    name: str
    header: bytes
    fields: tuple[Field, ...]
    diffs: tuple[FileDiff, ...]

    @property
    def title(self) -> str:
        """(str): Name without its ending."""
        return self.name[: -len(".patch")]

    @property
    def changed(self) -> int:
        """(int): Added plus removed lines."""
        return sum(diff.changed for diff in self.diffs)

    def diff_of(self, path: str) -> FileDiff | None:
        """Return what the patch does to a file, None where it leaves it alone."""
        return next((diff for diff in self.diffs if diff.path == path), None)


def parse_patch(data: bytes, name: str) -> Patch:
    """Parse a patch file.

    Args:
        data (bytes): Content of the file.
        name (str): Its name.

    Returns:
        (Patch): The patch; its header's content is not judged here.

    Raises:
        PatchError: If the file is not a header followed by well-formed diffs.
    """
    if not data:
        raise PatchError(f"{name} is empty: remove the file and its line in the series.")
    if b"\r" in data:
        line = data[: data.index(b"\r")].count(b"\n") + 1
        raise PatchError(f"{name}:{line} has a carriage return: patches have LF line ends (see .gitattributes).")
    if not data.endswith(b"\n"):
        raise PatchError(f"{name}:{len(split_lines(data))} breaks off: the last line has no line end.")
    lines = split_lines(data)
    body = next((i for i, line in enumerate(lines) if line.startswith(b"--- ")), len(lines))
    fields = _parse_header(lines[:body], name)
    first = next((field.line for field in fields if field.name == "Touches"), body + 1)
    if any(field.name != "Touches" and field.line > first for field in fields):
        raise PatchError(f"{name}:{first} has Touches before other fields: the Touches lines are the header's last.")
    header = b"".join(lines[: first - 1])
    diffs = parse_diffs(lines[body:], name, body + 1)
    if not diffs:
        raise PatchError(f"{name} changes nothing: remove the file and its line in the series.")
    return Patch(name, header, tuple(fields), tuple(diffs))


def _parse_header(lines: list[bytes], name: str) -> list[Field]:
    """Read the fields; continuation lines are indented, an empty line ends the header."""
    fields: list[Field] = []
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.decode().rstrip("\n")
        except UnicodeDecodeError as error:
            raise PatchError(f"{name}:{number} is not UTF-8.") from error
        match = re.fullmatch(r"([A-Z][A-Za-z-]*): *(.*)", line)
        if match:
            fields.append(Field(match[1], match[2].strip(), number))
        elif line.startswith(" ") and line.strip() and fields:
            last = fields.pop()
            fields.append(Field(last.name, f"{last.value} {line.strip()}".strip(), last.line))
        elif line or number != len(lines):
            raise PatchError(f"{name}:{number} has {line[:80]!r}: a header line is `Field: value`, or indented.")
    if not fields:
        raise PatchError(f"{name}:1 has no header: it needs {', '.join(FIELDS)} and Touches.")
    return fields


def patch_bytes(header: bytes, touches: dict[str, str], diffs: bytes) -> bytes:
    """Put a patch file together.

    Args:
        header (bytes): Header without its `Touches:` lines.
        touches (dict[str, str]): Pristine hash of each file.
        diffs (bytes): The diffs.

    Returns:
        (bytes): Content of the patch file.
    """
    lines = "".join(f"Touches: {path} sha256={digest}\n" for path, digest in touches.items())
    return header + lines.encode() + b"\n" + diffs


def header_template() -> bytes:
    """Return the header of a new patch, to be filled in; `check` refuses it before that."""
    return "".join(f"{field}: {TODO} {meaning}\n" for field, meaning in FIELDS.items()).encode()


def read_names(repo: Repo) -> list[str]:
    """Return the patch names that the series lists, in order."""
    path = repo.patches / SERIES
    if not path.is_file():
        raise PatchError(f"{path} is missing: it lists the patch files in order, one a line.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise PatchError(f"{path} is not UTF-8: it lists the patch files in order, one a line.") from error
    return [line.strip() for line in lines if line.strip()]


def read_patch(repo: Repo, name: str) -> Patch:
    """Read one patch of the series."""
    path = repo.patches / name
    present = {found.name for found in repo.patches.iterdir()}  # the system is never asked for a name as given
    if name not in present or path.is_symlink() or not path.is_file():
        raise PatchError(f"{SERIES} lists {name!r}: there is no such file in {repo.patches}.")
    return parse_patch(path.read_bytes(), name)


def read_series(repo: Repo) -> list[Patch]:
    """Read every patch of the series, in order."""
    return [read_patch(repo, name) for name in read_names(repo)]


def stages(patches: list[Patch], path: str, pristine: bytes) -> list[bytes]:
    """Return a file's content before the first patch and after each one.

    Args:
        patches (list[Patch]): The series.
        path (str): Path of the file.
        pristine (bytes): Upstream's content.

    Returns:
        (list[bytes]): One more than there are patches; one that leaves the file alone repeats the content.
    """
    contents = [pristine]
    for patch in patches:
        diff = patch.diff_of(path)
        if diff:
            lines = split_lines(contents[-1])
            contents.append(b"".join(splice(lines, changes(diff, lines))))
        else:
            contents.append(contents[-1])
    return contents


def touched(patches: list[Patch]) -> list[str]:
    """Return every path that the series touches, sorted."""
    return sorted({diff.path for patch in patches for diff in patch.diffs})
