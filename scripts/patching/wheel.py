# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The upstream wheel: fetched once, checked by its hash at every use, read without trust."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
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
MOST = 512 * 2**20  # bytes unpacked; upstream needs about 10 MB, a bomb would need far more


def obtain(repo: Repo, pin: Pin, version: str = "", source: Path | None = None) -> Path:
    """Return the wheel of a release, by default the pinned one, in the cache; if needed it is brought there.

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
    """Read a wheel whose hash was checked, trusting none of its names.

    Args:
        path (Path): The wheel.

    Returns:
        files (dict[str, bytes]): Upstream's files by path, all inside the package and none inside our own.
        facts (dict[str, bytes]): Files of its metadata, by path inside `.dist-info`.

    Raises:
        PatchError: If a name could leave the target, is a link, comes twice, or all is too large.
    """
    files: dict[str, bytes] = {}
    facts: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > MOST:
                raise PatchError(f"{path.name} unpacks to more than {MOST} bytes: that is no {PACKAGE} wheel.")
            for entry in entries:
                name = entry.filename
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise PatchError(f"{path.name} holds a link, {name!r}: only plain files are taken.")
                if name.endswith("/"):
                    continue
                top, _, rest = name.partition("/")
                if top == BESIDE:
                    continue
                kind = facts if top.endswith(".dist-info") else files
                key = rest if kind is facts else safe_path(name, path.name)
                if key in kind or ".." in key.split("/"):
                    raise PatchError(f"{path.name} names {name!r} twice or upwards: that is no sound wheel.")
                kind[key] = archive.read(entry)
    except PatchError:
        raise
    except Exception as error:  # each compression has errors of its own for a spoiled stream, from OSError on
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PatchError(f"{path.name} cannot be read as a wheel ({reason}): fetch it again.") from error
    if f"{PACKAGE}/__init__.py" not in files:
        raise PatchError(f"{path.name} holds no {PACKAGE}/__init__.py: that is no {PACKAGE} wheel.")
    return files, facts
