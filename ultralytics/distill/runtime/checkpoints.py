# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Checkpoints that are whole or not there: written beside, then swapped in, in plain runs too."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch


def write_whole(path: str | Path, data: bytes) -> None:
    """Write a file beside its place and swap it in, so that a kill or a full disk leaves the previous one intact.

    Raises:
        OSError: If it cannot be written, of the same kind, with the file and what would do; the file is as it was and
            nothing is left beside it.
    """
    path = Path(path)
    beside = path.with_name(f"{path.name}.part")
    try:
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as e:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise OSError(
            e.errno,
            f"'{path}' cannot be written ({e.strerror}) and stays as it was; make room or give access, then go on with "
            f"'resume=True'",
        ) from e


def save_whole(value: Any, path: str | Path) -> None:
    """Serialise a value as `torch.save` does, and write it whole."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    write_whole(path, buffer.getvalue())
