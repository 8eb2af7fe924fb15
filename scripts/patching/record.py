# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a tree says about itself: its Ultralytics version, and the record of what this tool wrote there last."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

from . import PACKAGE, PatchError
from .pin import Pin
from .swap import inside

RECORD = f"{PACKAGE}/.patchset.json"
VERSION = re.compile(rb'^__version__ = "([^"\n]+)"', re.MULTILINE)


def tree_version(target: Path) -> str | None:
    """Return the Ultralytics version of a tree, without a local part; None if there is no tree."""
    face = target / PACKAGE / "__init__.py"
    match = VERSION.search(face.read_bytes()) if face.is_file() else None
    return match[1].decode("utf-8", "replace").split("+")[0] if match else None


def require_line(target: Path, pin: Pin) -> None:
    """Refuse our own tree while it is of another upstream line: all of it would count as edited."""
    found = tree_version(target)
    if found not in (None, pin.version):
        raise PatchError(
            f"{target} holds Ultralytics {found}, this series is for {pin.version}: "
            f"say --upstream {found}, or swap the tree with `apply --upstream {pin.version}`."
        )


def read_record(target: Path) -> dict[str, str]:
    """Read what this tool wrote last.

    Args:
        target (Path): Folder that holds the tree.

    Returns:
        (dict[str, str]): Hash of each file; empty for a broken record, then bytes alone decide.
    """
    with suppress(OSError, ValueError):
        record = json.loads(inside(target, RECORD).read_text(encoding="utf-8"))
        if isinstance(record, dict) and all(isinstance(x, str) for pair in record.items() for x in pair):
            return {path: digest for path, digest in record.items() if path.startswith(f"{PACKAGE}/")}
    return {}


def record_bytes(record: dict[str, str]) -> bytes:
    """Write a record as its file's content."""
    return (json.dumps(record, indent=0, sort_keys=True) + "\n").encode()
