# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""A toy upstream, made on the spot: a wheel of a few files, a repository that pins it, and two patches."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from patching import Repo, tree
from patching import target as users
from patching.pin import Pin, pin_text, read_pin
from patching.refresh import refresh

WHEEL = "ultralytics-1.0.0-py3-none-any.whl"
FACE, ENGINE, TEXT, BINARY = (f"ultralytics/{name}" for name in ("__init__.py", "engine/run.py", "odd.txt", "dot.bin"))
UPSTREAM = {
    FACE: b'"""A toy."""\n\n__version__ = "1.0.0"\n\nNAME = "toy"\n',
    ENGINE: b"".join(b"line_%02d = %d\n" % (i, i) for i in range(1, 61)),
    TEXT: "sonde 🚀\n\n\nlast line without an end".encode(),
    BINARY: b"\0\1\2\n",
}
OTHER = {  # another version: three lines more above the series' hunks, one less between them, another face
    **UPSTREAM,
    FACE: UPSTREAM[FACE].replace(b'"1.0.0"', b'"0.9.7"').replace(b"A toy.", b"A toy of mine."),
    ENGINE: UPSTREAM[ENGINE]
    .replace(b"line_03 = 3\n", b"line_03 = 3\nmine_1 = 1\nmine_2 = 2\nmine_3 = 3\n")
    .replace(b"line_30 = 30\n", b""),
}
OVERLAY = {"ultralytics/distill/__init__.py": b"OURS = 1\n", "ultralytics/distill/losses/cwd.py": b"WIDTH = 2\n"}


def quiet(line):
    """Swallow a log line."""


def replace_once(file: Path, old: bytes, new: bytes):
    """Replace a text that stands once in a file."""
    data = file.read_bytes()
    assert data.count(old) == 1, (file, old)
    file.write_bytes(data.replace(old, new))


class Toy:
    """The toy repository, with short ways to edit and look."""

    def __init__(self, root: Path, files: dict[str, bytes] = UPSTREAM):
        """Lay out the repository; its wheel is in the cache, its tree not yet unpacked, its series empty."""
        self.repo = Repo(root)
        for path, data in OVERLAY.items():
            self.put(path, data)
        self.wheel = self.repo.cache / WHEEL
        self.make_wheel(self.wheel, files)
        digest = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        self.put("patches/upstream.toml", pin_text(Pin("1.0.0", WHEEL, digest, 3, {})).encode())
        self.put("patches/series", b"")

    def add_line(self, version: str, files: dict[str, bytes]) -> Repo:
        """Pin another release beside the first, with an empty series; return the repository as it sees it."""
        wheel = self.add_release(version, files)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        self.put(f"patches/{version}/upstream.toml", pin_text(Pin(version, wheel.name, digest, 3, {})).encode())
        self.put(f"patches/{version}/series", b"")
        return Repo(self.repo.root, version)

    def add_release(self, version: str, files: dict[str, bytes]) -> Path:
        """Put another release's wheel into the cache, unpinned."""
        wheel = self.repo.cache / WHEEL.replace("1.0.0", version)
        self.make_wheel(wheel, files)
        return wheel

    @staticmethod
    def make_wheel(path: Path, files: dict[str, bytes]):
        """Write a wheel."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in {**files, "ultralytics-1.0.0.dist-info/METADATA": b"Name: ultralytics\n"}.items():
                archive.writestr(name, data)

    def pin_wheel(self):
        """Pin the wheel in the cache as it is now."""
        pin = read_pin(self.repo.patches / "upstream.toml")
        digest = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        self.put("patches/upstream.toml", pin_text(Pin(pin.version, WHEEL, digest, pin.distill, pin.files)).encode())

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

    def refresh(self, name: str | None = None, *picks, fill: bool = True):
        """Refresh, and fill in the header of a new patch."""
        refresh(self.repo, name, tuple(picks), quiet)
        if name and fill:
            self.put(f"patches/{name}", self.get(f"patches/{name}").replace(b"TODO ", b"because "))

    def apply(self, target: Path | None = None) -> list[str]:
        """Apply; return the log."""
        log: list[str] = []
        (users.apply if target else tree.apply)(self.repo, target or self.repo.root, log.append)
        return log

    def revert(self, target: Path | None = None) -> list[str]:
        """Revert; return the log."""
        log: list[str] = []
        (users.revert if target else tree.revert)(self.repo, target or self.repo.root, log.append)
        return log

    def patches(self) -> dict[str, bytes]:
        """Return everything under `patches/`."""
        return {path.name: path.read_bytes() for path in sorted(self.repo.patches.iterdir()) if path.is_file()}

    @staticmethod
    def checkout(root: Path, files: dict[str, bytes] = UPSTREAM) -> Path:
        """Lay out a user's own checkout, of the pinned version or another; return the folder above its tree."""
        for path, data in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        return root


def snapshot(root: Path) -> dict[str, tuple]:
    """Return content, time and mode of all that lies below a folder, links as links."""
    return {
        path.relative_to(root).as_posix(): (
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None,
            path.lstat().st_mtime_ns if not path.is_dir() else None,
            path.lstat().st_mode,
        )
        for path in sorted(root.rglob("*"))
    }
