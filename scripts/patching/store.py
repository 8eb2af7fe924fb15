# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What is kept in a user's tree: each changed file as it was and as we left it, so that any of our lines can go again.

It stands in hidden folders inside the tree, as plain files, so that a person can copy them back as well. Of our own
package only hashes are kept, in the record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from . import OVERLAY, PACKAGE
from .record import RECORD, read_record, record_bytes
from .swap import inside
from .wheel import sha256

STORE = f"{PACKAGE}/.patchset"
RAW = f"{STORE}/.gitattributes"  # should the user commit the store, git must not change its line ends


@dataclass(frozen=True)
class Store:
    """What this tool last did to a user's tree.

    Attributes:
        before (dict[str, bytes]): The changed files as they were, by path.
        after (dict[str, bytes]): The same as we left them.
        hashes (dict[str, str]): Hash of every file that we wrote, our package included.
    """

    before: dict[str, bytes] = field(default_factory=dict)
    after: dict[str, bytes] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def contents(self) -> dict[str, bytes]:
        """Return the store as files by path, the record last."""
        kept = {_place(side, path): data for side in ("before", "after") for path, data in getattr(self, side).items()}
        return {**kept, RAW: b"* -text\n", RECORD: record_bytes(self.hashes)} if self.hashes else {}


def make_store(before: dict[str, bytes], wanted: dict[str, bytes]) -> Store:
    """Return the store that belongs to a tree with the series.

    Args:
        before (dict[str, bytes]): The changed files as they are without it.
        wanted (dict[str, bytes]): Every file that we write.

    Returns:
        (Store): The store.
    """
    hashes = {path: sha256(data) for path, data in wanted.items()}
    return Store(before, {path: wanted[path] for path in before}, hashes)


def read_store(target: Path) -> Store:
    """Read what this tool last did to a tree; what is broken or missing counts as not kept.

    Args:
        target (Path): Folder that holds the tree.

    Returns:
        (Store): The store, empty for a tree without one.
    """
    hashes = read_record(target)
    before: dict[str, bytes] = {}
    after: dict[str, bytes] = {}
    for path, digest in hashes.items():
        was, left = (inside(target, _place(side, path)) for side in ("before", "after"))
        if not path.startswith(OVERLAY + "/") and was.is_file() and left.is_file():
            if sha256(left.read_bytes()) == digest:
                before[path], after[path] = was.read_bytes(), left.read_bytes()
    return Store(before, after, hashes)


def _place(side: str, path: str) -> str:
    """Return where one side of a file is kept."""
    return f"{STORE}/{side}/{path[len(PACKAGE) + 1 :]}"
