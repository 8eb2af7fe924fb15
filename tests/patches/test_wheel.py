# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Fetching and unpacking: only the pinned bytes, and nothing outside the tree."""

from __future__ import annotations

import stat
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

from patching import PatchError, tree, wheel
from patching.pin import read_pin
from toy import ENGINE, OVERLAY, UPSTREAM, WHEEL, quiet


def obtain(toy, source=None):
    """Get the pinned wheel."""
    return wheel.obtain(toy.repo, read_pin(toy.repo.patches / "upstream.toml"), source)


@pytest.fixture
def index(toy, tmp_path, monkeypatch):
    """A stand-in for pip: lays what `index.content` holds into the folder that it is given, or fails."""
    state = types.SimpleNamespace(content=toy.wheel.read_bytes(), calls=[], code=0)

    def run(command, **_):
        state.calls.append(command)
        folder = command[command.index("--dest") + 1]
        if state.content is not None:
            with open(f"{folder}/{WHEEL}", "wb") as file:
                file.write(state.content)
        return types.SimpleNamespace(returncode=state.code, stderr="ERROR: one\nERROR: No matching distribution\n")

    monkeypatch.setattr(wheel.subprocess, "run", run)
    return state


def test_cached_wheel_is_used_without_a_download(toy, index):
    """Once fetched, everything works offline."""
    assert obtain(toy) == toy.wheel
    assert index.calls == []


def test_download_asks_for_the_pinned_release_alone(toy, index):
    """No requirements, no source builds, just this version."""
    toy.wheel.unlink()
    assert obtain(toy).read_bytes() == index.content
    assert index.calls[0][-1] == "ultralytics==1.0.0"
    assert {"--no-deps", "--only-binary=:all:"} <= set(index.calls[0])


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_truncated_cache_is_fetched_again(toy, index, length):
    """A cached wheel that was cut short is noticed by its hash and replaced."""
    toy.wheel.write_bytes(index.content[:length])
    assert obtain(toy).read_bytes() == index.content


@pytest.mark.parametrize("length", [0, 100, -1])
def test_truncated_download_changes_nothing(toy, index, shot, length):
    """A download that was cut short stops everything, and both hashes are named."""
    toy.wheel.unlink()
    digest = wheel.sha256(index.content)
    index.content = index.content[:length]
    before = shot(toy.repo.root)
    with pytest.raises(PatchError, match=rf"has sha256 {wheel.sha256(index.content)}, pinned is {digest}"):
        tree.apply(toy.repo, toy.repo.root, quiet)
    assert shot(toy.repo.root) == before


def test_failed_download_says_pips_reason(toy, index):
    """The last line that pip gives is the reason."""
    toy.wheel.unlink()
    index.content, index.code = None, 1
    with pytest.raises(PatchError, match="No matching distribution.*--wheel FILE"):
        obtain(toy)


def test_without_pip_and_without_uv(toy, monkeypatch):
    """An environment without pip falls back to uv, and without that says what to do."""
    toy.wheel.unlink()
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(wheel.shutil, "which", lambda name: None)
    with pytest.raises(PatchError, match="has no pip and there is no uv: install pip, or"):
        obtain(toy)


def test_without_pip_but_with_uv(toy, index, monkeypatch):
    """An environment that uv made has no pip of its own."""
    toy.wheel.unlink()
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(wheel.shutil, "which", lambda name: f"/bin/{name}")
    assert obtain(toy).is_file()
    assert index.calls[0][:4] == ["uv", "tool", "run", "pip"]


def test_local_wheel_is_hash_checked_the_same(toy, tmp_path, shot):
    """A wheel at hand may be given, whatever its name, but only the pinned one."""
    mine = tmp_path / "mine.whl"
    mine.write_bytes(toy.wheel.read_bytes())
    toy.wheel.unlink()
    assert obtain(toy, mine) == toy.wheel
    before = shot(toy.repo.root)
    mine.write_bytes(b"other")
    with pytest.raises(PatchError, match=r"mine.whl has sha256 .*, pinned is"):
        obtain(toy, mine)
    with pytest.raises(PatchError, match="is not a file"):
        obtain(toy, tmp_path / "none.whl")
    assert shot(toy.repo.root) == before


def test_unpack_fills_gaps_and_leaves_edits_and_our_package(toy):
    """Fetch brings missing files back; what is there stays, edited or not, and ours is never touched."""
    (toy.repo.root / "ultralytics/dot.bin").unlink()
    toy.edit(ENGINE, "line_55 = 55", "line_55 = 5")
    log = []
    tree.unpack(toy.repo, toy.repo.root, log.append)
    assert "1 of 4 files were missing" in log[0]
    assert toy.get("ultralytics/dot.bin") == UPSTREAM["ultralytics/dot.bin"]
    assert b"line_55 = 5\n" in toy.get(ENGINE)
    assert {path: toy.get(path) for path in OVERLAY} == OVERLAY


@pytest.mark.parametrize(
    "name",
    [
        "../evil.py",
        "/etc/evil.py",
        "ultralytics/../../evil.py",
        "ultralytics\\..\\evil.py",
        "C:/evil.py",
        "evil.py",
        "ultralytics/distill/__init__.py",
        "ultralytics-1.0.0.data/scripts/evil",
        "ultralytics-1.0.0.dist-info/../../evil",
    ],
)
def test_wheel_with_a_bad_name(toy, tmp_path, shot, name):
    """Even a wheel whose hash is right is not trusted: one name that leaves the package stops it all."""
    toy.make_wheel(toy.wheel, {**UPSTREAM, name: b"evil"})
    toy.pin_wheel()
    before = shot(tmp_path)
    with pytest.raises(PatchError, match=WHEEL):
        toy.apply()
    assert shot(tmp_path) == before


def test_tests_beside_the_package_are_left(toy):
    """Older wheels hold upstream's own tests, which would lie among ours."""
    toy.make_wheel(toy.wheel, {**UPSTREAM, "tests/test_engine.py": b"theirs"})
    toy.pin_wheel()
    toy.apply()
    assert not (toy.repo.root / "tests").exists()


def test_wheel_with_a_link(toy, tmp_path, shot):
    """Links are not unpacked."""
    link = zipfile.ZipInfo("ultralytics/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(toy.wheel, "a") as archive:
        archive.writestr(link, "/etc")
    toy.pin_wheel()
    before = shot(tmp_path)
    with pytest.raises(PatchError, match="holds a link"):
        toy.apply()
    assert shot(tmp_path) == before


def test_wheel_with_a_name_twice(toy):
    """The same name twice would make it a matter of luck which one counts."""
    with zipfile.ZipFile(toy.wheel, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(ENGINE, b"other")
    toy.pin_wheel()
    with pytest.raises(PatchError, match="twice"):
        toy.apply()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + b"\0" * 18])
def test_pinned_file_that_is_no_wheel(toy, content):
    """A pin of the wrong file ends in a sentence too."""
    toy.wheel.write_bytes(content)
    toy.pin_wheel()
    with pytest.raises(PatchError, match="wheel"):
        toy.apply()


def test_wheel_that_unpacks_to_too_much(toy, monkeypatch):
    """The sum of the sizes is looked at before anything is read."""
    monkeypatch.setattr(wheel, "MOST", 100)
    with pytest.raises(PatchError, match="unpacks to more than 100 bytes"):
        toy.apply()


def test_pristine_file_other_than_pinned(toy):
    """The hashes of the touched files are held against the wheel as well."""
    pin = toy.get("patches/upstream.toml").decode()
    digest = read_pin(toy.repo.patches / "upstream.toml").files[ENGINE]
    toy.put("patches/upstream.toml", pin.replace(digest, "0" * 64).encode())
    with pytest.raises(PatchError, match=f"upstream.toml gives another sha256 for {ENGINE}"):
        toy.apply()


def test_every_command_has_help_and_errors_are_one_sentence(tmp_path):
    """The command line: help for each, exit code 1 and one line for a failure."""
    script = str(Path(tree.__file__).parents[1] / "patchset.py")
    run = subprocess.run
    for command in ("fetch", "apply", "revert", "status", "check", "refresh", "drop", "port", "drift", "release"):
        done = run([sys.executable, script, command, "--help"], capture_output=True, text=True)
        assert done.returncode == 0
        assert "usage" in done.stdout
    done = run([sys.executable, script, "apply", "--target", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
