# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The upstream wheel: fetched once, checked by its hash at every use, read without trust."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from . import PACKAGE, PatchError, Repo, safe_path
from .series import Pin
from .swap import sha256

BESIDE = "tests"  # what older wheels (8.3) hold beside the package; it is left there
NEWEST = "newest"


def obtain(repo: Repo, pin: Pin, version: str = "", source: Path | None = None) -> Path:
    """Return the wheel of a release whose hash is known in the cache, downloading or copying it there if needed.

    Args:
        repo (Repo): The patch repository.
        pin (Pin): The pin.
        version (str): The release, the pinned one by default.
        source (Path, optional): A local wheel to take instead of a download.

    Raises:
        PatchError: If its hash is not known, or it cannot be had, or is another file; a cached wheel stays as it was.
    """
    version = version or pin.version
    known = {pin.version: pin.sha256, **pin.wheels}
    if version not in known:
        raise PatchError(
            f"{PACKAGE} {version} has no sha256 in patches/upstream.toml: take one of {', '.join(known)}, "
            f"or patch a checkout of it with `apply --target`."
        )
    cached = repo.cache / wheel_name(version)
    if source is None and cached.is_file() and sha256(cached.read_bytes()) == known[version]:
        return cached
    with tempfile.TemporaryDirectory(prefix="patchset-") as folder:
        found = source or _download(f"{PACKAGE}=={version}", Path(folder))
        if not found.is_file():
            raise PatchError(f"{found} is not a file: give the path of {cached.name}.")
        data = found.read_bytes()
    if sha256(data) != known[version]:
        raise PatchError(
            f"{found.name} has sha256 {sha256(data)}, pinned is {known[version]}: cut short or another file, "
            f"fetch it again."
        )
    return _keep(repo, cached.name, data)


def obtain_release(repo: Repo, version: str) -> tuple[str, Path]:
    """Return the version and the wheel of a release whose hash nobody has vouched for (yet), or of the `newest` one."""
    if not re.fullmatch(rf"{NEWEST}|\d[\w.]*", version):
        raise PatchError(f"{version!r} is no release: give a version such as 8.4.1, or {NEWEST}.")
    if (repo.cache / wheel_name(version)).is_file():
        return version, repo.cache / wheel_name(version)
    with tempfile.TemporaryDirectory(prefix="patchset-") as folder:
        found = _download(PACKAGE if version == NEWEST else f"{PACKAGE}=={version}", Path(folder))
        return found.name.split("-")[1], _keep(repo, found.name, found.read_bytes())


def wheel_name(version: str) -> str:
    """Return the file name of a release's wheel."""
    return f"{PACKAGE}-{version}-py3-none-any.whl"


def _keep(repo: Repo, name: str, data: bytes) -> Path:
    """Put a wheel into the cache, whole or not at all."""
    cached = repo.cache / name
    repo.cache.mkdir(parents=True, exist_ok=True)
    beside = cached.with_name(f".{cached.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        os.replace(beside, cached)
    finally:
        beside.unlink() if beside.exists() else None
    return cached


def _download(requirement: str, folder: Path) -> Path:
    """Download a wheel with pip, or where this Python has none, with the pip that uv brings."""
    if importlib.util.find_spec("pip"):
        command = [sys.executable, "-m", "pip"]
    elif shutil.which("uv"):
        command = ["uv", "tool", "run", "pip"]
    else:
        raise PatchError(
            f"{requirement} cannot be downloaded, {sys.executable} has no pip and there is no uv: "
            f"install pip, or give the file with `apply --wheel FILE`."
        )
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--dest", str(folder)]
    done = subprocess.run([*command, "download", *options, requirement], capture_output=True, text=True)
    found = sorted(folder.glob(wheel_name("*")))
    if done.returncode or not found:
        reason = (done.stderr.strip().splitlines() or ["no such file came"])[-1]
        raise PatchError(f"{requirement} cannot be downloaded ({reason}): try again, or use `apply --wheel FILE`.")
    return found[0]


def read_wheel(path: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Read a wheel whose hash was checked. Its code will be run, so only its names are held to what is ours.

    Args:
        path (Path): The wheel.

    Returns:
        files (dict[str, bytes]): Upstream's files by path, all inside the package and none inside our own.
        facts (dict[str, bytes]): Files of its metadata, by path inside `.dist-info`.

    Raises:
        PatchError: If it is no wheel of upstream's, or a name could leave the package.
    """
    files: dict[str, bytes] = {}
    facts: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in (x for x in archive.namelist() if not x.endswith("/")):
                top, _, rest = name.partition("/")
                if top.endswith(".dist-info"):
                    facts[rest] = archive.read(name)
                elif top != BESIDE:
                    files[safe_path(name, path.name)] = archive.read(name)
    except PatchError:
        raise
    except Exception as error:  # each compression has errors of its own for a spoiled stream, from OSError on
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PatchError(f"{path.name} cannot be read as a wheel ({reason}): fetch it again.") from error
    if f"{PACKAGE}/__init__.py" not in files:
        raise PatchError(f"{path.name} holds no {PACKAGE}/__init__.py: that is no {PACKAGE} wheel.")
    return files, facts
