# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The patch set: a pinned upstream wheel, a short series of patches, and the tree that they make.

`pin` reads the pin, `wheel` gets and reads the upstream wheel, `diff` parses unified diffs, `place` puts them on a file
and makes them, `series` reads patch files, `check` holds them against the rules, `swap` writes all or nothing, `tree`
applies and reverts here, `target` in a tree of somebody's own, where `ends` keeps line ends, `store` what stood there
and `record` what was written; `status` reports on both. `merge` is the three-way merge by which `carry` takes the
series to other versions, for `target` and for `port`; `drift` ports to many releases. `owners` and `refresh` turn edits
back into patches, `drop` takes one out, `release` numbers and builds.
Standard library only, but for `drift`'s picture, so that `check` runs anywhere, and one strictness holds for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PACKAGE = "ultralytics"
OVERLAY = f"{PACKAGE}/distill"  # our own package inside upstream's; no patch and no wheel may reach into it


class PatchError(Exception):
    """A failure that a user can act on: one sentence that says what, which value, and what would do."""


@dataclass(frozen=True)
class Repo:
    """Where a patch repository keeps its parts, as one upstream line sees it.

    Attributes:
        root (Path): Folder that holds `patches/` and our own package.
        line (str): Version of a second upstream line, whose series stands in `patches/<version>/`; empty for the pin.
    """

    root: Path
    line: str = ""

    @property
    def patches(self) -> Path:
        """(Path): Folder of the pin, the series and the patch files."""
        return self.root / self.folder

    @property
    def folder(self) -> str:
        """(str): The same, from the root."""
        return f"patches/{self.line}" if self.line else "patches"

    @property
    def cache(self) -> Path:
        """(Path): Git-ignored folder of downloaded wheels."""
        return self.root / ".upstream"

    @property
    def overlay(self) -> Path:
        """(Path): Our own package."""
        return self.root / OVERLAY
