# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Upstream's tests on two sides: what is taken from the archive, what is drawn, how outcomes are read and compared."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import cv2
import pytest
from upstream_tests import differing, explain, reasons, table

from patching import Repo
from suite import data, sdist, sides
from suite.sides import Outcome

TOY = """
import os, time, pytest

def test_passes():
    assert os.environ["YOLO_OFFLINE"] == "true" and os.environ["https_proxy"].endswith(":9")

@pytest.mark.parametrize("n", [1, 2])
def test_fails(n):
    assert n == 2, "one is not two"

def test_hangs():
    time.sleep(60)

@pytest.mark.skip(reason="no camera")
def test_skips():
    pass

def test_breaks(no_such_fixture):
    pass
"""


def test_every_end_is_read(tmp_path):
    """Passed, failed, skipped and broken tests are told apart, and one that hangs is stopped."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/__init__.py").touch()
    (tmp_path / "tests/test_toy.py").write_text(TOY)
    found = sides.run_tests(tmp_path, "test_toy.py", 2, [])
    assert {k.partition("::")[2]: v.status for k, v in found.items()} == {
        "test_passes": "passed",
        "test_fails[1]": "failed",
        "test_fails[2]": "passed",
        "test_hangs": "failed",
        "test_skips": "skipped",
        "test_breaks": "error",
    }
    assert "one is not two" in found["test_toy.py::test_fails[1]"].reason
    assert "Timeout" in found["test_toy.py::test_hangs"].reason
    assert found["test_toy.py::test_skips"].reason == "no camera"


def test_only_the_patched_side_has_ours(tmp_path):
    """Both sides are the pinned upstream; our package and the patches are in one of them."""
    repo = Repo(Path(__file__).resolve().parent.parent)
    for name in sides.SIDES:
        sides.lay_tree(repo, tmp_path / name, patched=name == "patched")
    found = {name: tmp_path / name / "ultralytics" for name in sides.SIDES}
    assert [(x / "distill/__init__.py").is_file() for x in found.values()] == [False, True]
    assert ["distill" in (x / "__init__.py").read_text(encoding="utf-8") for x in found.values()] == [False, True]


def test_differences_are_named():
    """A test that ends otherwise, or is absent, differs; another reason for the same end does not."""
    stock = {"a.py::x": Outcome("passed"), "a.py::y": Outcome("failed", "no net"), "b.py::z": Outcome("passed")}
    same = {**stock, "a.py::y": Outcome("failed", "other words")}
    assert differing({"stock": stock, "patched": same}) == [] and explain({"stock": stock, "patched": same}) == ""
    other = {"a.py::x": Outcome("failed", "boom"), "a.py::y": Outcome("failed", "no net")}
    assert differing({"stock": stock, "patched": other}) == ["a.py::x", "b.py::z"]
    assert explain({"stock": stock, "patched": other}).splitlines() == [
        "a.py::x: stock passed; patched failed boom",
        "b.py::z: stock passed; patched absent",
    ]
    assert table({"stock": stock, "patched": other}).splitlines()[2:] == [
        "| a.py | 2 / 2 | 1 / 0 | 1 / 2 | 0 / 0 | 0 / 0 | 1 |",
        "| b.py | 1 / 0 | 1 / 0 | 0 / 0 | 0 / 0 | 0 / 0 | 1 |",
        "| all | 3 / 2 | 2 / 0 | 1 / 2 | 0 / 0 | 0 / 0 | 2 |",
    ]
    assert reasons(stock).splitlines()[2:] == ["| 1 | no net |"]


def test_only_tests_are_unpacked(tmp_path):
    """Files of `tests/` itself; neither other folders nor names that lead out of the target."""
    with tarfile.open(tmp_path / "toy.tar.gz", "w:gz") as tar:
        for name in ("toy/tests/a.py", "toy/tests/deep/b.py", "toy/tests/../c.py", "toy/setup.py", "/toy/tests/d.py"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"#"))
    sdist.unpack_tests(tmp_path / "toy.tar.gz", tmp_path / "out" / "tests")
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.py")] == ["out/tests/a.py"]


def test_an_unknown_version_is_refused(tmp_path):
    """Nothing is fetched without a hash to check it by."""
    with pytest.raises(ValueError, match="No sha256 is known for the source of 8.0.0"):
        sdist.obtain("8.0.0", tmp_path)


def test_what_is_drawn_is_named_and_made_as_upstream_wants_it(tmp_path):
    """Ten channels, raw ids of Cityscapes, ten classes of two images, 17 keypoints, and a folder of another name."""
    data.draw_datasets(tmp_path)
    assert len(cv2.imreadmulti(str(tmp_path / "coco8-multispectral/images/train/0.tiff"))[1]) == 10
    mask = cv2.imread(str(tmp_path / "cityscapes8/masks/val/0.png"), cv2.IMREAD_GRAYSCALE)
    assert set(mask.flat) == {7, 26}
    assert [len(list(x.iterdir())) for x in (tmp_path / "imagenet10/val").iterdir()] == [2] * 10
    assert len((tmp_path / "coco8-pose/labels/val/0.txt").read_text().splitlines()[0].split()) == 5 + 17 * 3
    assert len(list((tmp_path / "coco128-seg/labels/train2017").iterdir())) == 4
