"""Images are found where the argument says, those that are none are left out, and sets are compared by content."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from ultralytics.distill import image_files as files
from ultralytics.distill.image_files import find, is_whole, look_through, named, shared


@pytest.fixture
def folder(tmp_path):
    """Four images of several kinds in a folder and one below it, with a text and a label file among them."""
    rng = np.random.default_rng(0)
    (tmp_path / "images/night").mkdir(parents=True)
    for name in ("b.png", "a.jpg", "night/c.bmp", "night/[d].PNG"):
        path = tmp_path / "images" / name
        path.write_bytes(cv2.imencode(path.suffix.lower(), rng.integers(0, 255, (32, 40, 3), dtype=np.uint8))[1])
    (tmp_path / "images/a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    return tmp_path / "images"


def names(found, folder):
    """Return paths as they lie in a folder."""
    return [Path(f).relative_to(folder).as_posix() for f in found]


def test_what_a_value_stands_for(folder, tmp_path, monkeypatch):
    """A folder with all below it, several, a list, a glob, an image; as text or not, by any way but once each."""
    every = ["a.jpg", "b.png", "night/[d].PNG", "night/c.bmp"]
    assert names(find(str(folder)), folder) == every
    assert names(find([folder / "night", str(folder)]), folder) == every
    assert names(find(f"[{folder}/night,{folder}/a.jpg]"), folder) == ["a.jpg", *every[2:]]
    assert names(find(f"{folder}/**/*.bmp"), folder) == ["night/c.bmp"] == names(find(f"{folder}/n*/c.*"), folder)
    assert names(find("images/night", tmp_path), folder) == every[2:]  # the key of a YAML: from the data set's path
    lines = ["./a.jpg", "", str(folder / "night/c.bmp"), "b.png"]
    (folder / "list.txt").write_text("\n".join(lines), encoding="utf-8-sig")
    assert names(find(folder / "list.txt"), folder) == ["a.jpg", "b.png", "night/c.bmp"]
    assert names(find(f"{folder.parent}/im*"), folder) == every  # a glob of folders
    (folder / "list.txt").write_text("night\nreadme.md\n./a.jpg\n")  # what is no image is for `look_through` to name
    assert names(find(folder / "list.txt"), folder) == ["a.jpg", *every[2:], "readme.md"]
    monkeypatch.chdir(folder)
    assert find("night") == ["night/[d].PNG", "night/c.bmp"]


@pytest.mark.parametrize("value", ["nowhere", "images/*.tif", "images/a.txt", ["images", "nowhere"]])
def test_nothing_found_is_one_sentence(value, folder, tmp_path, monkeypatch):
    """A part of the value that leads to no image is named."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="'unlabeled=.*' leads to no image; give a folder"):
        find(value)


@pytest.mark.parametrize("value", [1, True, {"a": 1}, ["images", 2]])
def test_what_is_no_path_is_one_sentence(value):
    """A number or a switch is named."""
    with pytest.raises(ValueError, match="'unlabeled=.*' is no path; give a folder"):
        find(value)


def test_a_relative_path_may_lie_among_upstreams_data_sets(tmp_path, monkeypatch):
    """`path:` of a YAML is looked for in the working directory, then in the folder of the settings."""
    monkeypatch.setattr(files, "DATASETS_DIR", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert files.root_of({"path": "mine"}, "a/data.yaml") == tmp_path / "mine"
    (tmp_path / "mine").mkdir()
    assert files.root_of({"path": "mine"}, "a/data.yaml") == Path("mine")
    assert files.root_of({}, f"{tmp_path}/data.yaml") == tmp_path


def test_broken_images_and_copies_are_left_out(folder):
    """Cut off, empty, a text, tiny: broken. The same bytes under another name: a copy. A tail: no fault."""
    whole = (folder / "a.jpg").read_bytes()
    broken = {"cut.jpg": whole[: len(whole) // 2], "empty.png": b"", "text.bmp": b"not an image"}
    broken["cut.png"] = (folder / "b.png").read_bytes()[:-40]
    broken["tiny.png"] = cv2.imencode(".png", np.zeros((9, 40, 3), np.uint8))[1].tobytes()
    for name, data in {**broken, "copy.jpg": whole, "tail.jpg": whole + b"camera"}.items():
        (folder / name).write_bytes(data)
    good, bad, copies = look_through([*find(folder), str(folder / "gone.jpg")])
    assert names(bad, folder) == sorted([*broken]) + ["gone.jpg"] and names(copies, folder) == ["copy.jpg"]
    assert names(good, folder) == ["a.jpg", "b.png", "night/[d].PNG", "night/c.bmp", "tail.jpg"]


def test_images_of_another_format_are_asked_of_upstream(folder, monkeypatch):
    """What PIL has never heard of is an image if upstream can read it."""
    monkeypatch.setattr(files, "imread", lambda f: np.zeros((20, 20, 3)))
    (folder / "x.new").write_bytes(b"anything")
    (folder / "x.png").write_bytes(b"anything")
    assert is_whole(str(folder / "x.new")) and not is_whole(str(folder / "x.png"))


def test_shared_images_are_found_by_content(folder, tmp_path):
    """Another name and place hide nothing; the same name and size with other bytes is another image."""
    held = tmp_path / "val"
    held.mkdir()
    (held / "z.bmp").write_bytes((folder / "night/c.bmp").read_bytes())
    other = bytearray((folder / "b.png").read_bytes())
    other[-20] ^= 1
    (held / "b.png").write_bytes(other)
    assert names(shared(find(folder), [*find(held), "gone.png"]), folder) == ["night/c.bmp"]


def test_messages_name_the_first_few():
    """Five by name, then their number."""
    assert named("abcdefg") == "a, b, c, d, e and 2 more" and named("ab") == "a, b"
