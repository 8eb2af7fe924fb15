# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Fetching and unpacking: only the pinned bytes, and nothing outside the tree."""

from __future__ import annotations

import stat
import types
import zipfile

import pytest

from patching import PatchError, tree, wheel
from patching.series import read_pin
from patching.swap import sha256
from toy import ENGINE, UPSTREAM, quiet, snapshot

WHEEL = wheel.wheel_name("1.0.0")


def obtain(toy, source=None):
    """Get the pinned wheel."""
    return wheel.obtain(toy.repo, read_pin(toy.repo), source=source)


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
def test_truncated_download_changes_nothing(toy, index, length):
    """A download that was cut short stops everything, and both hashes are named."""
    toy.wheel.unlink()
    digest = sha256(index.content)
    index.content = index.content[:length]
    before = snapshot(toy.repo.root)
    with pytest.raises(PatchError, match=rf"has sha256 {sha256(index.content)}, pinned is {digest}"):
        tree.apply(toy.repo, log=quiet)
    assert snapshot(toy.repo.root) == before


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


def test_local_wheel_is_hash_checked_the_same(toy, tmp_path):
    """A wheel at hand may be given, whatever its name, but only the pinned one."""
    mine = tmp_path / "mine.whl"
    mine.write_bytes(toy.wheel.read_bytes())
    toy.wheel.unlink()
    assert obtain(toy, mine) == toy.wheel
    before = snapshot(toy.repo.root)
    mine.write_bytes(b"other")
    with pytest.raises(PatchError, match=r"mine.whl has sha256 .*, pinned is"):
        obtain(toy, mine)
    with pytest.raises(PatchError, match="is not a file"):
        obtain(toy, tmp_path / "none.whl")
    assert snapshot(toy.repo.root) == before


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
def test_wheel_with_a_bad_name(toy, tmp_path, name):
    """Even a wheel whose hash is right is not trusted: one name that leaves the package stops it all."""
    toy.make_wheel("1.0.0", {**UPSTREAM, name: b"evil"})
    toy.pin_wheel()
    before = snapshot(tmp_path)
    with pytest.raises(PatchError, match=WHEEL):
        toy.apply()
    assert snapshot(tmp_path) == before


def test_tests_beside_the_package_are_left(toy):
    """Older wheels hold upstream's own tests, which would lie among ours."""
    toy.make_wheel("1.0.0", {**UPSTREAM, "tests/test_engine.py": b"theirs"})
    toy.pin_wheel()
    toy.apply()
    assert not (toy.repo.root / "tests").exists()


def test_wheel_with_a_link(toy, tmp_path):
    """Links are not unpacked."""
    link = zipfile.ZipInfo("ultralytics/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(toy.wheel, "a") as archive:
        archive.writestr(link, "/etc")
    toy.pin_wheel()
    before = snapshot(tmp_path)
    with pytest.raises(PatchError, match="holds a link"):
        toy.apply()
    assert snapshot(tmp_path) == before


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
