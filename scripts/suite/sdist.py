# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Upstream's source distribution: its tests, which the wheel does not hold."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SHA256 = {"8.4.190": "c7a0ebb21d10f1de98682b6a4dc22bc0d1d0634b9398c086bd03b1e5bf40cbc3"}


def obtain(version: str, cache: Path) -> Path:
    """Return the source distribution in the cache, its hash checked; pip downloads it if needed.

    Raises:
        ValueError: If no hash is known for that version.
        OSError: If it cannot be downloaded.
    """
    if version not in SHA256:
        raise ValueError(f"No sha256 is known for the source of {version}: put it into {__file__}.")
    file = cache / f"ultralytics-{version}.tar.gz"
    if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == SHA256[version]:
        return file
    with tempfile.TemporaryDirectory(prefix="sdist-") as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(f"ultralytics=={version} --hash=sha256:{SHA256[version]}\n", encoding="utf-8")
        options = ["--quiet", "--no-deps", "--no-binary=:all:", "--no-build-isolation", "--require-hashes"]
        line = [sys.executable, "-m", "pip", "download", *options, "--dest", str(cache), "--requirement", str(wanted)]
        done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode or not file.is_file():
        reason = (done.stderr.strip().splitlines() or ["no such file came"])[-1]
        raise OSError(f"{file.name} cannot be downloaded ({reason}): try again, or put it into {cache}.")
    return file


def unpack_tests(archive: Path, folder: Path) -> None:
    """Write the files of the archive's `tests/` into a folder, names with a path inside it are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = Path(member.name).parts
            data = tar.extractfile(member) if member.isfile() and parts[1:2] == ("tests",) and len(parts) == 3 else None
            if data is not None:
                (folder / parts[2]).write_bytes(data.read())
