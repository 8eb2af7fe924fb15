# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The real series: it keeps the rules, and applying and refreshing it are inverses, byte for byte."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import patch_ng
import pytest

from patching import OVERLAY, PACKAGE, Repo, port, tree
from patching.check import check
from patching.pin import read_pin
from patching.refresh import refresh
from patching.series import read_names, touched
from patching.status import status
from patching.wheel import read_wheel, sha256
from toy import quiet

ROOT = Path(__file__).resolve().parents[2]
PIN = read_pin(ROOT / "patches/upstream.toml")
WHEEL = Repo(ROOT).cache / PIN.wheel


@pytest.fixture
def repo(tmp_path) -> Repo:
    """A copy of the repository with the real patches and the cached wheel, its tree not unpacked."""
    if not (WHEEL.is_file() and sha256(WHEEL.read_bytes()) == PIN.sha256):
        pytest.skip("the pinned wheel is not in the cache: run `python scripts/patchset.py fetch`")
    shutil.copytree(ROOT / "patches", tmp_path / "patches")
    (tmp_path / ".upstream").mkdir()
    shutil.copy(WHEEL, tmp_path / ".upstream")
    return Repo(tmp_path)


def test_series_keeps_the_rules():
    """The static check of the real series."""
    assert check(Repo(ROOT))[0] == []


def test_apply_then_refresh_reproduces_every_patch(repo, shot):
    """A fresh tree, patched and refreshed: not a byte of any patch, of the series or of the pin changes."""
    tree.apply(repo, repo.root, quiet)
    assert status(repo, repo.root)[0] == "applied"
    before = shot(repo.patches)
    refresh(repo, log=quiet)
    assert shot(repo.patches) == before
    tree.revert(repo, repo.root, quiet)
    files = read_wheel(WHEEL)[0]
    assert {path: (repo.root / path).read_bytes() for path in files} == files


def test_another_program_gives_the_same_tree(repo, tmp_path):
    """A patch library that nobody here wrote makes the same files of the same patches."""
    tree.unpack(repo, repo.root, quiet)
    for name in read_names(repo):
        assert patch_ng.fromfile(str(repo.patches / name)).apply(strip=1, root=str(repo.root)), name
    theirs = {path: (repo.root / path).read_bytes() for path in touched(tree.read_series(repo))}
    tree.revert(repo, repo.root, quiet)
    tree.apply(repo, repo.root, quiet)
    assert {path: (repo.root / path).read_bytes() for path in theirs} == theirs


@pytest.mark.slow
def test_pin_ports_to_itself_and_passes_the_smoke_test(repo):
    """The smoke test that decides on other releases passes on the pinned one, and porting to it changes no byte."""
    shutil.copytree(ROOT / OVERLAY, repo.root / OVERLAY)
    made = port.make_port(repo, PIN.version)
    assert set(made.words) == {"clean"} and not made.needs_a_hand
    lines: list[str] = []
    assert port.try_out(made, lines.append), lines
    before = {path.name: path.read_bytes() for path in repo.patches.iterdir() if path.is_file()}
    port.write(made, quiet)
    assert {path.name: path.read_bytes() for path in repo.patches.iterdir() if path.is_file()} == before


def test_only_our_package_is_tracked():
    """No upstream file is ever copied into the repository, as it is or under another name."""
    listed = subprocess.run(["git", "ls-files", PACKAGE], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    paths = listed.stdout.split()
    assert all(path.startswith(OVERLAY + "/") for path in paths)
    if WHEEL.is_file():
        upstream = {data for data in read_wheel(WHEEL)[0].values() if len(data) > 200}
        assert [path for path in paths if (ROOT / path).is_file() and (ROOT / path).read_bytes() in upstream] == []


def test_pin_stands_in_one_place_only():
    """Version, file name and hash of the wheel are read from the pin by every script.

    `suite/sdist.py` alone names versions: those whose source, with upstream's tests, has a known hash.
    """
    files = [ROOT / "setup.py", ROOT / "pyproject.toml", *(ROOT / "scripts").rglob("*.py")]
    texts = {path.name: path.read_text(encoding="utf-8") for path in files}
    assert [name for name, text in texts.items() if PIN.sha256 in text] == []
    assert [name for name, text in texts.items() if PIN.version in text] in ([], ["sdist.py"])
