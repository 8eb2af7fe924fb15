# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The patch set: a pinned upstream wheel, a short series of patches, and the trees that it goes into.

`series` reads the pin and the patch files, `anchor` finds the place of each change in a file and makes it, `plan` does
so for a whole tree. `check` holds the series against the rules, `refresh` writes its diffs, numbers it and builds.
`wheel` gets and reads upstream's wheels, `tree` keeps the repository's own tree, `target` a user's, `alive` trains in
it, and `swap` writes many files or none. Standard library only: `setup.py` and a user's bare Python run it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PACKAGE = "ultralytics"
OVERLAY = f"{PACKAGE}/distill"  # our own package inside upstream's; no patch and no wheel may reach into it


class PatchError(Exception):
    """A failure that a user can act on: one sentence that says what, which value, and what would do."""


class NotAlive(PatchError):
    """A tree does not import or train."""


@dataclass(frozen=True)
class Repo:
    """Where a patch repository keeps its parts: below `root`, as `patches/` and our own package."""

    root: Path

    @property
    def patches(self) -> Path:
        """(Path): Folder of the pin, the series and the patch files."""
        return self.root / "patches"

    @property
    def cache(self) -> Path:
        """(Path): Git-ignored folder of downloaded wheels."""
        return self.root / ".upstream"

    def overlay_files(self) -> dict[str, bytes]:
        """Return the files of our own package by path."""
        found = (p for p in sorted((self.root / OVERLAY).rglob("*")) if p.is_file() and "__pycache__" not in p.parts)
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in found}


def safe_path(path: str, where: str) -> str:
    """Return a path, unless it could leave upstream's package or reach into ours; `where` names who gives it."""
    parts = path.split("/")
    bad = "\\" in path or ":" in path or "\0" in path or any(part in ("", ".", "..") for part in parts)
    if bad or parts[0] != PACKAGE or len(parts) < 2:
        raise PatchError(f"{where} names {path!r}: only plain paths inside {PACKAGE}/ are allowed.")
    if f"{path.lower()}/".startswith(f"{OVERLAY}/"):  # the same folder where names have no case
        raise PatchError(f"{where} names {path!r}: {OVERLAY}/ is our own package, change it directly.")
    return path
