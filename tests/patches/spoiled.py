# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Ways to spoil a repository of patches, and what has to hold afterwards."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings

from patching import PACKAGE, PatchError, Repo, tree
from patching.check import check
from patching.pin import read_pin
from patching.series import read_names
from patching.status import status
from patching.wheel import upstream
from toy import FACE, OVERLAY, quiet, snapshot

FUZZ = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
EVIL = (
    "../evil.py",
    "/tmp/evil.py",
    f"{PACKAGE}/../../evil.py",
    f"{PACKAGE}/../evil.py",
    f"{PACKAGE}/./{FACE}",
    f"{PACKAGE}//evil.py",
    f"{PACKAGE}\\..\\evil.py",
    "C:/evil.py",
    "C:evil.py",
    "//server/evil.py",
    "~/evil.py",
    "",
    PACKAGE,
    f"{PACKAGE}/",
    f"{PACKAGE}/link/evil.py",
    f"{PACKAGE}/distill/__init__.py",
    f"{PACKAGE}/Distill/__init__.py",
    f"{PACKAGE}/evil\0.py",
    f"{PACKAGE}/" + "long/" * 2000 + "evil.py",
    "ultralytics-1.0.0.dist-info/../evil",
    "setup.py",
)
EDITS = (
    b"\r",
    b"\n",
    b"\0",
    b"\xff\xfe",
    b"@@ -1 +1 @@\n",
    b"--- a/x\n+++ b/x\n",
    b"\\ No newline at end of file\n",
    b"9" * 30,
)


def spoil(data: bytes, way: str, at: float, edit: bytes) -> bytes:
    """Damage some bytes in one of many ways, at a share of their length."""
    place = int(at * len(data))
    lines = data.splitlines(keepends=True)
    line = min(int(at * len(lines)), len(lines) - 1)
    return {
        "cut": data[:place],
        "insert": data[:place] + edit + data[place:],
        "overwrite": data[:place] + edit + data[place + len(edit) :],
        "drop a line": b"".join(lines[:line] + lines[line + 1 :]),
        "repeat a line": b"".join(lines[: line + 1] + lines[line:]),
        "swap two lines": b"".join(
            lines[:line] + lines[line + 1 : line + 2] + lines[line : line + 1] + lines[line + 2 :]
        ),
        "carriage returns": data.replace(b"\n", b"\r\n"),
        "huge": data[:place] + b"+huge\n" * 20_000 + data[place:],
        "twice": data + data,
    }[way]


WAYS = (
    "cut",
    "insert",
    "overwrite",
    "drop a line",
    "repeat a line",
    "swap two lines",
    "carriage returns",
    "huge",
    "twice",
)


def whole_or_untouched(root: Path):
    """Apply in a copied repository; the tree is then as it was, or wholly patched and can be taken back."""
    repo = Repo(root / "repo")
    before, outside = snapshot(repo.root), snapshot(root / "outside")
    try:
        tree.apply(repo, repo.root, quiet)
    except PatchError as error:
        assert str(error) and "\n" not in str(error)
        assert snapshot(repo.root) == before
    else:
        assert status(repo, repo.root)[0] == ("applied" if read_names(repo) else "clean")
        changed = {p for p, v in snapshot(repo.root).items() if before.get(p) != v}
        assert all(p.startswith(f"{PACKAGE}/") for p in changed)
        tree.revert(repo, repo.root, quiet)
        pristine = upstream(repo, read_pin(repo.patches / "upstream.toml"))
        assert all((repo.root / p).read_bytes() == data for p, data in pristine.items())
    assert snapshot(root / "outside") == outside
    assert {p.name for p in root.iterdir()} == {"repo", "outside"}
    assert all((repo.root / p).read_bytes() == data for p, data in OVERLAY.items())
    check(repo)  # says what is wrong, or nothing; never a traceback


def in_a_copy(sound: Path, act) -> None:
    """Copy the repository, spoil it, apply."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "copy"
        shutil.copytree(sound, root, symlinks=True)
        link = root / f"repo/{PACKAGE}/link"
        link.unlink()
        link.symlink_to(root / "outside")
        act(root / "repo")
        whole_or_untouched(root)
