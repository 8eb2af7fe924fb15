# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Which images answers are written for, and by which names they stand in the file."""

import shutil
from pathlib import Path

import pytest

from ultralytics.distill.answers.images import list_images
from ultralytics.distill.answers.table import find_images
from ultralytics.distill.upstream import load_yaml, save_yaml


@pytest.fixture
def places(data_yaml, tmp_path):
    """Two folders of images of the same names, outside of any data set, and a YAML beside a third."""
    for name in ("a/x", "b/x", "set/field"):
        shutil.copytree(Path(data_yaml).parent / "images/val", tmp_path / name)
    return tmp_path


def listed(data, split="train"):
    """Return the names of the images that are found."""
    return list(list_images(data, split)[0].values())


def test_a_yaml_and_what_is_beside_it(data_yaml, places):
    """Images of a split below the data set's folder; those under `unlabeled` belong to `train`, or are asked for."""
    labelled, beside = [f"images/train/{i}.png" for i in range(8)], [f"{places}/a/x/{i}.png"[1:] for i in range(4)]
    assert listed(data_yaml) == labelled and listed(data_yaml, "val") == [f"images/val/{i}.png" for i in range(4)]
    save_yaml(places / "both.yaml", {**load_yaml(data_yaml), "unlabeled": [str(places / x) for x in ("a/x", "b/x")]})
    found = listed(places / "both.yaml")
    assert found[:8] == labelled and found[8:12] == beside and len(set(found)) == 16
    assert listed(places / "both.yaml", "unlabeled") == found[8:]
    save_yaml(places / "set/names.yaml", {"names": {0: "circle"}, "unlabeled": "field/*.png"})
    assert listed(places / "set/names.yaml") == [f"field/{i}.png" for i in range(4)]
    with pytest.raises(ValueError, match="'split=test' is not in 'data=.*both.yaml'; give train, val, test"):
        listed(places / "both.yaml", "test")


def test_several_and_links(data_yaml, places, monkeypatch):
    """Several places at once, as text too; an image that is linked keeps the name of its link."""
    folders = [str(places / "a"), str(places / "set/field/*.png")]
    assert listed(folders) == [f"a/x/{i}.png" for i in range(4)] + [f"{i}.png" for i in range(4)]
    assert listed(f"[{folders[0]},{folders[1]}]") == listed(folders)
    (places / "links").mkdir()
    (places / "links/7.png").symlink_to(places / "a/x/0.png")
    assert listed(places / "links") == ["links/7.png"]
    monkeypatch.chdir(places)
    assert listed("links") == ["links/7.png"]


def test_every_image_is_found_again(places):
    """What two folders name alike is told apart by its whole path."""
    files, _ = list_images([f"{places}/{x}/x/*.png" for x in "ab"], "train")
    assert find_images(list(files), list(files.values())).tolist() == list(range(8))
