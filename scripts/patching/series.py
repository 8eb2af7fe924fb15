# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The pin and the series: which release they are for, which patches there are, and what each says about itself.

A patch file is a header of `Field: value` lines (a value goes on in indented lines), its changes, and the diff that
these make of the pinned files. `refresh` writes the `Touches:` lines, which end the header, and the diff. A change is

    In PATH[, FUNCTION[ or FUNCTION]][, if there]
    [If: PATTERN | Unless: PATTERN]
    First | Before: PATTERN | After: PATTERN | Replace: PATTERN
        the lines
    [Or: First | ...]
        the lines there

A pattern is a regular expression for the start of one line, its indentation aside. A function is named as in
`BaseTrainer.save_model`; with several, the line may be in any of them.
"""

from __future__ import annotations

import configparser
import json
import re
from dataclasses import dataclass, field

from . import PACKAGE, PatchError, Repo, safe_path

FIELDS = {
    "Subject": "what the patch does, in a few words",
    "Why": "why upstream's file has to change",
    "No-other-way": "why no subclass, callback or hook can do it",
    "Forwarded": "a link to where it was offered upstream, or not-needed and the reason",
    "Drop-when": "what upstream has to change before this patch can go",
    "Needed": "required, or optional: and what is lost without it",
}
KINDS = ("First", "Before", "After", "Replace")
START = re.compile(r"In ([^,\s]+)(?:, (?!if there)([\w. ]+))?(, if there)?")
QUESTION = re.compile(r"(If|Unless): (.+)")
PLACE = re.compile(r"(Or: )?(First|(Before|After|Replace): (.+))")
SERIES = "series"
# The file is flat TOML: `tomllib` exists from Python 3.11 only, and upstream supports 3.8. In this subset every value
# is also JSON, so the standard library's INI reader is enough; a test holds it against `tomllib`.
PIN = """# The only place where the upstream version stands; every script reads it.
[upstream]
version = {version}
sha256 = {sha256}
# The number in our own version, VERSION+distill.N; raise it with each release.
distill = {distill}

# sha256 of the wheels of other releases that `DISTILL_UPSTREAM` may name: those in the table of docs/versions.md.
[wheels]
"""


@dataclass(frozen=True)
class Pin:
    """One upstream release, our number on top of it, and the hashes of other releases' wheels."""

    version: str
    sha256: str
    distill: int
    wheels: dict[str, str]

    def text(self) -> str:
        """Return the text of `upstream.toml`."""
        fields = {name: json.dumps(getattr(self, name)) for name in ("version", "sha256", "distill")}
        return PIN.format(**fields) + "".join(f"{json.dumps(k)} = {json.dumps(v)}\n" for k, v in self.wheels.items())


@dataclass(frozen=True)
class Place:
    """Where a change may go, and its lines there; one without a pattern is a function's start."""

    kind: str
    pattern: re.Pattern[str] | None
    code: tuple[str, ...]


@dataclass
class Change:
    """One change: a file, the functions that may hold it (none: outside them), its places; the first that fits counts.

    Attributes:
        path (str): The file.
        functions (tuple[str, ...]): Qualified names.
        if_there (bool): Whether nothing is to be done where the file or the function is not there.
        asked (dict[str, re.Pattern]): `If`: nothing is to be done where no line of the functions starts like this;
            `Unless`: where one does.
        places (list[Place]): The alternatives.
    """

    path: str
    functions: tuple[str, ...]
    if_there: bool
    asked: dict[str, re.Pattern[str]] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)


@dataclass(frozen=True)
class Patch:
    """One patch file: its header without the `Touches:` lines, its changes as they stand, and the diff against the pin.

    A field is a name, a value and a line's number, `Touches` included.
    """

    name: str
    head: str
    body: str
    diff: str
    fields: tuple[tuple[str, str, int], ...]
    changes: tuple[Change, ...]

    @property
    def title(self) -> str:
        """(str): Name without its ending."""
        return self.name[: -len(".patch")]

    @property
    def lost(self) -> str:
        """(str): What is lost without an optional patch; empty for a required one."""
        value = next((value for name, value, _ in self.fields if name == "Needed"), "")
        return value.partition("optional:")[2].strip()

    @property
    def touches(self) -> list[tuple[str, str]]:
        """(list): File and hash of each `Touches:` line."""
        parts = (value.partition(" sha256=") for name, value, _ in self.fields if name == "Touches")
        return [(path, digest) for path, _, digest in parts]

    @property
    def changed(self) -> int:
        """(int): Lines that the diff adds and removes."""
        return sum(x[:1] in "+-" and x[:4] not in ("--- ", "+++ ") for x in self.diff.splitlines())

    def text(self, touches: dict[str, str], diff: str) -> str:
        """Return the file's text with other `Touches:` lines, hash by path, and another diff."""
        lines = "".join(f"Touches: {path} sha256={digest}\n" for path, digest in touches.items())
        return f"{self.head}{lines}\n{self.body}" + (f"\n{diff}" if diff else "")


def parse_patch(data: bytes, name: str) -> Patch:
    """Parse a patch file.

    Raises:
        PatchError: If the file is not a header followed by changes and perhaps a diff; what it says is not judged here.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise PatchError(f"{name} is not UTF-8.") from error
    if "\r" in text or not text.endswith("\n"):
        raise PatchError(f"{name} has a carriage return or breaks off: patches have LF line ends (see .gitattributes).")
    lines = text.split("\n")[:-1]
    end = lines.index("") if "" in lines else len(lines)
    body = next((i for i in range(end, len(lines)) if lines[i].startswith("--- ")), len(lines))
    fields = _parse_header(lines[:end], name)
    first = next((line for field, _, line in fields if field == "Touches"), end + 1)
    if any(field != "Touches" and line > first for field, _, line in fields):
        raise PatchError(f"{name}:{first} has Touches before other fields: the Touches lines are the header's last.")
    changes = _parse_changes(lines[end + 1 : body], name, end + 2)
    kept = "\n".join(lines[end + 1 : body]).strip("\n") + "\n"
    diff = "".join(f"{line}\n" for line in lines[body:])
    return Patch(name, "".join(f"{x}\n" for x in lines[: first - 1]), kept, diff, tuple(fields), tuple(changes))


def _parse_header(lines: list[str], name: str) -> list[tuple[str, str, int]]:
    """Read the fields; continuation lines are indented."""
    fields: list[tuple[str, str, int]] = []
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"([A-Z][A-Za-z-]*): *(.*)", line)
        if match:
            fields.append((match[1], match[2].strip(), number))
        elif line.startswith(" ") and fields:
            field, value, at = fields.pop()
            fields.append((field, f"{value} {line.strip()}".strip(), at))
        else:
            raise PatchError(f"{name}:{number} has {line[:80]!r}: a header line is `Field: value`, or indented.")
    return fields


def _parse_changes(lines: list[str], name: str, first: int) -> list[Change]:
    """Read the changes: lines at the margin, each with the code that is indented under it."""
    items: list[tuple[str, str, list[str]]] = []  # where it stands, the line, the code
    for number, line in enumerate(lines, first):
        if items and (not line or line.startswith("    ")):
            items[-1][2].append(line[4:])
        elif line:
            items.append((f"{name}:{number}", line, []))
    changes: dict[str, Change] = {}  # by where they start
    change: Change | None = None
    for where, line, code in items:
        while code and not code[-1]:
            code.pop()
        start, question, place = (form.fullmatch(line) for form in (START, QUESTION, PLACE))
        if code and (start or question):
            raise PatchError(f"{where} has lines under {line[:80]!r}: they stand under one of {', '.join(KINDS)}.")
        if start:
            path, functions = safe_path(start[1], where), tuple(start[2].split(" or ")) if start[2] else ()
            change = changes[where] = Change(path, functions, bool(start[3]))
        elif change is None:
            raise PatchError(f"{where} has {line[:80]!r}: a change starts with `In PATH, FUNCTION`.")
        elif question and not change.places:
            change.asked[question[1]] = _pattern(question[2], where)
        elif place and bool(place[1]) == bool(change.places):
            if not code:
                raise PatchError(f"{where} has no lines: they follow, indented by four blanks.")
            pattern = _pattern(place[4], where) if place[4] else None
            change.places.append(Place(place[3] or "First", pattern, tuple(code)))
        else:
            expected = f"{', '.join(KINDS)}, from the second place on after `Or: `"
            raise PatchError(f"{where} has {line[:80]!r}: expected {expected}.")
    for where, change in changes.items():
        if not change.places or (not change.functions and any(p.kind == "First" for p in change.places)):
            raise PatchError(f"{where} has no place, or First without a function: it needs one of {', '.join(KINDS)}.")
    if not changes:
        raise PatchError(f"{name} changes nothing: remove the file and its line in the series.")
    return list(changes.values())


def _pattern(text: str, where: str) -> re.Pattern[str]:
    """Compile a pattern."""
    try:
        return re.compile(text)
    except re.error as error:
        raise PatchError(f"{where} has {text!r}: that is no regular expression ({error}).") from error


def read_names(repo: Repo) -> list[str]:
    """Return the patch names that the series lists, in order."""
    path = repo.patches / SERIES
    if not path.is_file():
        raise PatchError(f"{path} is missing: it lists the patch files in order, one a line.")
    return [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]


def read_series(repo: Repo) -> list[Patch]:
    """Read every patch of the series, in order."""
    present = {path.name for path in repo.patches.iterdir() if path.is_file() and not path.is_symlink()}
    names = read_names(repo)
    for name in names:  # the system is never asked for a name as given
        if name not in present:
            raise PatchError(f"{SERIES} lists {name!r}: there is no such file in {repo.patches}.")
    return [parse_patch((repo.patches / name).read_bytes(), name) for name in names]


def touched(patches: list[Patch]) -> list[str]:
    """Return every path that the series may change, sorted."""
    return sorted({change.path for patch in patches for change in patch.changes})


def read_pin(repo: Repo) -> Pin:
    """Read `upstream.toml`.

    Raises:
        PatchError: If the file is missing, or a value is missing or malformed.
    """
    path = repo.patches / "upstream.toml"
    parser = configparser.ConfigParser(delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]  # as configparser's documentation has it
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
        upstream = {key: json.loads(value) for key, value in parser["upstream"].items()}
        pin = Pin(**upstream, wheels={json.loads(k): json.loads(v) for k, v in parser["wheels"].items()})
    except FileNotFoundError as error:
        raise PatchError(f"{path} is missing: this folder is not a patch repository.") from error
    except (configparser.Error, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PatchError(f"{path} cannot be read ({reason}): it needs [upstream] and [wheels] as flat TOML.") from error
    for version, digest in {pin.version: pin.sha256, **pin.wheels}.items():
        if not re.fullmatch(r"\d[\w.]*", str(version)) or not re.fullmatch("[0-9a-f]{64}", str(digest)):
            raise PatchError(f"{path}: {version!r} = {digest!r} is no release of {PACKAGE} with its sha256.")
    if not (isinstance(pin.distill, int) and pin.distill > 0):
        raise PatchError(f"{path}: distill has {pin.distill!r}: it must be an integer from 1 up.")
    return pin
