# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Turns edits of upstream's files in the tree into the patches that they belong to: the exact inverse of applying.

Every patch is made anew from the stages of its files, so a refresh without an edit must give the same bytes again, and
it does for every patch that this tool wrote. Edits are held against the patched file; each goes to the patch whose
lines it changes or stands next to, and from that patch's stage on through all later ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Callable

from . import PatchError, Repo
from .diff import safe_path
from .owners import Edit, History, cut
from .pin import Pin, pin_text, read_pin
from .place import add_diffs
from .record import RECORD, read_record, record_bytes, require_line
from .series import (
    NAME,
    SERIES,
    Patch,
    header_template,
    parse_patch,
    patch_bytes,
    read_series,
    stages,
    touched,
)
from .swap import read, swap
from .wheel import sha256, upstream

PICK = re.compile(r"(?P<path>[^:]+?)(?::(?P<first>\d+)(?:-(?P<last>\d+))?)?")


@dataclass(frozen=True)
class Pick:
    """A file, or some lines of it as the tree has them now."""

    path: str
    first: int = 1
    last: int = 10**9

    def takes(self, edit: Edit) -> bool:
        """Return whether an edit lies in the range; where lines only went, either neighbour counts."""
        first, last = (edit.start, edit.stop) if edit.stop >= edit.start else (edit.start - 1, edit.start)
        return edit.path == self.path and first <= self.last and last >= self.first


def parse_pick(text: str) -> Pick:
    """Read `PATH`, `PATH:LINE` or `PATH:FIRST-LAST`."""
    match = PICK.fullmatch(text)
    if not match:
        raise PatchError(f"--file {text} cannot be read: give PATH, PATH:LINE or PATH:FIRST-LAST.")
    first, last = match["first"], match["last"] or match["first"]
    return Pick(safe_path(match["path"], "--file"), *((int(first), int(last)) if first else ()))


def refresh(
    repo: Repo,
    name: str | None = None,
    picks: tuple[Pick, ...] = (),
    log: Callable[[str], None] = print,
    write: bool = True,
) -> None:
    """Write the tree's edits into the patches that they belong to.

    Args:
        repo (Repo): The patch repository, whose own tree was edited.
        name (str, optional): Patch that takes the edits that belong to no other; a new name makes one.
        picks (tuple[Pick, ...]): Take only these edits, whoever they stand next to; the others stay unrecorded.
        log (Callable[[str], None]): Takes one line an edit and one a patch.
        write (bool): Whether to write the result, or only tell it.

    Raises:
        PatchError: If an edit belongs to no patch or to several, or a patch would become empty.
    """
    pin, patches = read_pin(repo.patches / "upstream.toml"), read_series(repo)
    names = [patch.name for patch in patches]
    if picks and not name:
        raise PatchError("--file picks edits for one patch: say which with --patch NAME.")
    if name and name not in names:
        if not NAME.fullmatch(name):
            raise PatchError(f"--patch {name} is no name for a patch: verb-object.patch, lower case, without numbers.")
        names.append(name)
    require_line(repo.root, pin)
    pristine = upstream(repo, pin)
    histories, edits = _read_edits(repo, patches, pristine)
    owned = _attribute(edits, names, name, picks)
    for owner, edit in owned:
        log(f"  {edit} -> {names[owner]}")
    diffs = _make_diffs(histories, owned, len(names))
    contents = make_files(repo, patches, names, diffs, pin, pristine)
    _prove(repo, contents, names, pristine, histories, owned)
    record = _updated_record(repo, contents, names, pristine)
    changed: dict[str, bytes | None] = {
        path: data for path, data in {**contents, **record}.items() if read(repo.root, path) != data
    }
    for number, item in enumerate(names, 1):
        if f"{repo.folder}/{item}" in changed:
            log(f"* refreshing {item[: -len('.patch')]} ({number}/{len(names)})")
    if not any(path.startswith(f"{repo.folder}/") for path in changed):
        log(f"nothing to do: all {len(names)} patches are as the tree has them")
    if write:
        swap(repo.root, changed)


def _read_edits(repo: Repo, patches: list[Patch], pristine: dict[str, bytes]) -> tuple[dict[str, History], list[Edit]]:
    """Return the history of each file that is touched or edited, and the tree's edits in order."""
    histories: dict[str, History] = {}
    edits: list[Edit] = []
    known = set(touched(patches))
    for path in sorted({*pristine, *known}):
        data = read(repo.root, path)
        if path not in pristine or data is None:
            raise PatchError(f"{path} is not in {'the tree' if path in pristine else 'the wheel'}: run `apply` first.")
        if path not in known and data == pristine[path]:
            continue
        if b"\0" in data or (b"\r" in data and b"\r" not in pristine[path]):
            raise PatchError(f"{path} holds NUL bytes or carriage returns: a patch needs text with LF line ends.")
        histories[path] = History(path, pristine[path], [patch.diff_of(path) for patch in patches])
        edits += histories[path].edits(data)
    return histories, edits


def _attribute(
    edits: list[Edit], names: list[str], name: str | None, picks: tuple[Pick, ...]
) -> list[tuple[int, Edit]]:
    """Give each edit its patch; with picks, only the picked ones."""
    chosen = names.index(name) if name else None
    if chosen is not None and picks:
        for pick in picks:
            edits = [
                piece for edit in edits for piece in (cut(edit, pick.first, pick.last) if pick.takes(edit) else [edit])
            ]
            if not any(pick.takes(edit) for edit in edits):
                raise PatchError(f"--file {pick.path} picks no edit: it is as its patches have it, at least there.")
        return [(chosen, edit) for edit in edits if any(pick.takes(edit) for pick in picks)]
    owned: list[tuple[int, Edit]] = []
    homeless: list[str] = []
    for edit in edits:
        if len(edit.owners) == 1:
            owned.append((edit.owners[0], edit))
        elif chosen is not None and (not edit.owners or chosen in edit.owners):
            owned.append((chosen, edit))
        else:
            choices = " or ".join(names[owner] for owner in edit.owners)
            homeless.append(f"{edit} ({choices})" if choices else str(edit))
    if homeless:
        remedy = "name one with --patch NAME, and only some of the edits with --file PATH:FIRST-LAST"
        raise PatchError(f"{', '.join(homeless)}: no single patch is near; {remedy}.")
    return owned


def _make_diffs(histories: dict[str, History], owned: list[tuple[int, Edit]], count: int) -> list[dict[str, bytes]]:
    """Return each patch's diffs by path."""
    diffs: list[dict[str, bytes]] = [{} for _ in range(count)]
    for path, history in histories.items():
        steps = history.carry([(owner, edit) for owner, edit in owned if edit.path == path], count)
        add_diffs(diffs, path, steps)
    return diffs


def make_files(
    repo: Repo,
    patches: list[Patch],
    names: list[str],
    diffs: list[dict[str, bytes]],
    pin: Pin,
    pristine: dict[str, bytes],
) -> dict[str, bytes]:
    """Put the files of a series together.

    Args:
        repo (Repo): The patch repository.
        patches (list[Patch]): The patches that there are, whose headers stay.
        names (list[str]): Name of each patch, new ones last.
        diffs (list[dict[str, bytes]]): Each patch's diffs by path.
        pin (Pin): The pin; its table of files is made anew.
        pristine (dict[str, bytes]): Upstream's files.

    Returns:
        (dict[str, bytes]): Content by path.

    Raises:
        PatchError: If a patch would become empty.
    """
    contents: dict[str, bytes] = {}
    for number, name in enumerate(names):
        if not diffs[number]:
            raise PatchError(f"{name} would become empty: keep a change of it in the tree, or drop the patch.")
        header = patches[number].header if number < len(patches) else header_template()
        touches = {path: sha256(pristine[path]) for path in diffs[number]}
        contents[f"{repo.folder}/{name}"] = patch_bytes(header, touches, b"".join(diffs[number].values()))
    files = {path: sha256(pristine[path]) for parts in diffs for path in parts}
    contents[f"{repo.folder}/upstream.toml"] = pin_text(replace(pin, files=files)).encode()
    contents[f"{repo.folder}/{SERIES}"] = "".join(f"{name}\n" for name in names).encode()
    return contents


def _parsed(repo: Repo, contents: dict[str, bytes], names: list[str]) -> list[Patch]:
    """Parse the patches as they will stand."""
    return [parse_patch(contents[f"{repo.folder}/{name}"], name) for name in names]


def _prove(
    repo: Repo,
    contents: dict[str, bytes],
    names: list[str],
    pristine: dict[str, bytes],
    histories: dict[str, History],
    owned: list[tuple[int, Edit]],
) -> None:
    """Apply the new patches in memory, and insist that they give the tree's bytes."""
    patches = _parsed(repo, contents, names)
    for path, history in histories.items():
        wanted = history.carry([(owner, edit) for owner, edit in owned if edit.path == path], len(names))[-1]
        if stages(patches, path, pristine[path])[-1] != b"".join(wanted):
            raise PatchError(
                f"{path} would not come out of its patches again: please report this; nothing was written."
            )


def _updated_record(
    repo: Repo, contents: dict[str, bytes], names: list[str], pristine: dict[str, bytes]
) -> dict[str, bytes]:
    """Return the tree's record with the edits taken as written, so that they count as ours from now on."""
    record = read_record(repo.root)
    if not record:
        return {}
    patches = _parsed(repo, contents, names)
    for path in touched(patches):
        record[path] = sha256(stages(patches, path, pristine[path])[-1])
    return {RECORD: record_bytes(record)}
