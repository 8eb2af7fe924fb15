# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A toy upstream, made on the spot: a wheel of a few files, a repository that pins it, and three patches."""

from __future__ import annotations

import zipfile
from pathlib import Path

from patching import Repo, target, tree
from patching.refresh import refresh
from patching.series import Pin
from patching.swap import sha256
from patching.wheel import wheel_name

FACE, ENGINE, TEXT, BINARY = (f"ultralytics/{name}" for name in ("__init__.py", "engine/run.py", "odd.txt", "dot.bin"))
RUN = '''"""A toy engine."""

import os


class Runner:
    """Runs."""

    def train(self, batch):
        """Train on a batch."""
        if batch:
            self.loss = sum(batch)
        self.step(
            self.loss,
        )
        return self.loss

    def save(self, path):
        path.write_bytes(b"")  # all of it
'''
UPSTREAM = {
    FACE: b'"""A toy."""\n\n__version__ = "1.0.0"\n\nNAME = "toy"\n',
    ENGINE: RUN.encode(),
    TEXT: "sonde 🚀\n\n\nlast line without an end".encode(),
    BINARY: b"\0\1\2\n",
}
OTHER = {  # another release: single quotes, another order, a class above, a helper with a line like ours
    **UPSTREAM,
    FACE: b"__version__ = '0.9.7'\n",
    ENGINE: RUN.replace("import os\n", "import sys\n\nfrom os import path\n\n\nclass Mine:\n    def train(self): ...\n")
    .replace("        if batch:\n", "        self.mine()\n        if batch:\n")
    .encode(),
}
OVERLAY = {"ultralytics/distill/__init__.py": b"OURS = 1\n", "ultralytics/distill/losses/cwd.py": b"WIDTH = 2\n"}
HEAD = """Subject: do something
Why: because
No-other-way: because
Forwarded: not-needed, a toy
Drop-when: never
Needed: {needed}

"""
PATCHES = {
    "name-fork": (
        "required",
        f"""In {FACE}
After: __version__ = ["']
    __version__ += "+distill.3"
""",
    ),
    "add-call": (
        "required",
        f"""In {ENGINE}, Runner.train
First
    distill.begin(self)

In {ENGINE}, Runner.train
Before: self\\.step\\(
    if self.loss:
        distill.add(self)

In {ENGINE}, Runner.train
After: self\\.step\\(
    distill.end(self)
""",
    ),
    "write-whole": (
        "optional: a kill leaves a torn file",
        f"""In {ENGINE}, Runner.save
Replace: (\\w+)\\.write_bytes\\((.*)\\)
    write_whole(\\1, \\2)
""",
    ),
}


def quiet(line: str) -> None:
    """Swallow a log line."""


class Toy:
    """The toy repository, with short ways to edit and look."""

    def __init__(self, root: Path, files: dict[str, bytes] = UPSTREAM, patches: dict = PATCHES):
        """Lay out the repository with its series; its wheel is in the cache, its tree not yet unpacked."""
        self.repo = Repo(root)
        self.wheel = self.repo.cache / wheel_name("1.0.0")
        self.make_wheel("1.0.0", files)
        for path, data in OVERLAY.items():
            self.put(path, data)
        self.pin_wheel()
        for name, (needed, body) in patches.items():
            self.put(f"patches/{name}.patch", (HEAD.format(needed=needed) + body).encode())
        self.put("patches/series", "".join(f"{name}.patch\n" for name in patches).encode())
        refresh(self.repo, log=quiet)

    def make_wheel(self, version: str, files: dict[str, bytes]) -> Path:
        """Put a release's wheel into the cache."""
        path = self.repo.cache / wheel_name(version)
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in {**files, "ultralytics-1.0.0.dist-info/METADATA": b"Name: ultralytics\n"}.items():
                archive.writestr(name, data)
        return path

    def pin_wheel(self, **wheels: Path):
        """Pin the wheel in the cache as it is now, and other releases' wheels."""
        others = {version[1:].replace("_", "."): sha256(path.read_bytes()) for version, path in wheels.items()}
        self.put("patches/upstream.toml", Pin("1.0.0", sha256(self.wheel.read_bytes()), 3, others).text().encode())

    def put(self, path: str, data: bytes):
        """Write one of the repository's files."""
        place = self.repo.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def get(self, path: str) -> bytes:
        """Read one of the repository's files."""
        return (self.repo.root / path).read_bytes()

    def edit(self, path: str, old: str, new: str):
        """Replace a text that stands once in one of the repository's files."""
        replace_once(self.repo.root / path, old.encode(), new.encode())

    def apply(self, root: Path | None = None, *without: str) -> list[str]:
        """Apply without a training; return the log."""
        log: list[str] = []
        target.apply(self.repo, root, without, False, log.append) if root else tree.apply(self.repo, log=log.append)
        return log

    def revert(self, root: Path | None = None) -> list[str]:
        """Revert; return the log."""
        log: list[str] = []
        target.revert(self.repo, root, log.append) if root else tree.revert(self.repo, log.append)
        return log

    @staticmethod
    def checkout(root: Path, files: dict[str, bytes] = UPSTREAM) -> Path:
        """Lay out a user's own checkout, of the pinned version or another; return the folder above its tree."""
        for path, data in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        return root


def replace_once(file: Path, old: bytes, new: bytes):
    """Replace a text that stands once in a file."""
    data = file.read_bytes()
    assert data.count(old) == 1, (file, old)
    file.write_bytes(data.replace(old, new))


def snapshot(root: Path, times: bool = True) -> dict[str, tuple]:
    """Return content, mode and perhaps time of all that lies below a folder, links as links."""
    return {
        path.relative_to(root).as_posix(): (
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None,
            path.lstat().st_mtime_ns if times and not path.is_dir() else None,
            path.lstat().st_mode,
        )
        for path in sorted(root.rglob("*"))
    }
