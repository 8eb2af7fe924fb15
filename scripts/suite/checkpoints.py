# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Stand-ins for the checkpoints that upstream's tests look for: the real architectures with drawn weights.

Run by stock Ultralytics, so that neither side made its own: `python -m suite.checkpoints FOLDER`.
"""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from ultralytics.models.sam.build import build_mobile_sam
from ultralytics.nn import tasks
from ultralytics.utils import ASSETS, YAML
from ultralytics.utils.checks import check_yaml

# file -> (class of upstream's, its YAML, channels, data set whose class names it has)
MODELS = {
    "yolo26n.pt": ("DetectionModel", "yolo26n.yaml", 3, "coco8.yaml"),
    "yolo26s.pt": ("DetectionModel", "yolo26s.yaml", 3, "coco8.yaml"),
    "yolo11n.pt": ("DetectionModel", "yolo11n.yaml", 3, "coco8.yaml"),
    "yolo11n-grayscale.pt": ("DetectionModel", "yolo11n.yaml", 1, "coco8.yaml"),
    "yolo26n-seg.pt": ("SegmentationModel", "yolo26n-seg.yaml", 3, "coco8.yaml"),
    "yolo26s-seg.pt": ("SegmentationModel", "yolo26s-seg.yaml", 3, "coco8.yaml"),
    "FastSAM-s.pt": ("SegmentationModel", "yolov8s-seg.yaml", 3, ""),
    "yolo26n-pose.pt": ("PoseModel", "yolo26n-pose.yaml", 3, "coco8-pose.yaml"),
    "yolo26s-pose.pt": ("PoseModel", "yolo26s-pose.yaml", 3, "coco8-pose.yaml"),
    "yolo26n-obb.pt": ("OBBModel", "yolo26n-obb.yaml", 3, "dota8.yaml"),
    "yolo26s-obb.pt": ("OBBModel", "yolo26s-obb.yaml", 3, "dota8.yaml"),
    "yolo26n-cls.pt": ("ClassificationModel", "yolo26n-cls.yaml", 3, "ImageNet.yaml"),
    "yolo26n-sem.pt": ("SemanticSegmentationModel", "yolo26n-sem.yaml", 3, "cityscapes8.yaml"),
    "yolo26n-depth.pt": ("DepthModel", "yolo26n-depth.yaml", 3, "depth8.yaml"),
    "yoloe-26n-seg.pt": ("YOLOESegModel", "yoloe-26n-seg.yaml", 3, "coco8.yaml"),
    "rtdetr-l.pt": ("RTDETRDetectionModel", "rtdetr-l.yaml", 3, "coco8.yaml"),
}
DETECTORS = {"DetectionModel", "SegmentationModel", "PoseModel", "OBBModel"}
SPACED = "path with spaces"  # upstream's tests look there too


def build(kind: str, cfg: str, channels: int, data: str) -> nn.Module:
    """Build a model of upstream'"'"'s that sees its first class in some places, so that it predicts something.

    Its weights are drawn, its classes named as the data set's; without one it has a class `object`.
    """
    torch.manual_seed(0)
    facts = YAML.load(check_yaml(data)) if data else {"names": {0: "object"}}
    names = {int(k): str(v) for k, v in facts["names"].items()}
    model = getattr(tasks, kind)(cfg, ch=channels, nc=len(names), verbose=False)
    model.names, model.task = names, tasks.guess_model_task(model) or "detect"  # RT-DETR's head tells nothing
    if kind in DETECTORS:
        see_something(model.eval(), channels)
    return model.eval()


@torch.no_grad()
def see_something(model: nn.Module, channels: int) -> None:
    """Shift the first class's bias until some twenty places of an image pass the predictor's threshold of 0.25.

    Many more would be costly: Segment Anything is asked about each.
    """
    head, flag = model.model[-1], cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    image = np.asarray(cv2.imread(str(ASSETS / "bus.jpg"), flag))
    image = np.atleast_3d(cv2.resize(image, (480, 640)))  # as a predictor sees it
    images = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    update_bn([images], model)  # drawn weights with fresh statistics let nothing through
    head.training = True  # raw predictions
    found = model(images)
    head.training = False
    for branch, name in (("one2many", "cv3"), ("one2one", "one2one_cv3")):
        if getattr(head, name, None) is not None:
            scores = (found[branch] if branch in found else found)["scores"][0, 0]
            for level in getattr(head, name):
                level[-1].bias[0] -= scores.sort().values[-20] + math.log(3)  # a probability of 0.25


def save(model: nn.Module, file: Path, data: str) -> None:
    """Write a model as upstream writes a finished one."""
    arguments = {"task": model.task, "imgsz": 640, "data": data or "coco8.yaml", "epochs": 1}
    torch.save({"epoch": -1, "model": model.half(), "ema": None, "train_args": arguments, "version": "drawn"}, file)


def main() -> None:
    """Make all of them."""
    folder = Path(sys.argv[1])
    (folder / SPACED).mkdir(parents=True, exist_ok=True)
    for name, (kind, cfg, channels, data) in MODELS.items():
        save(build(kind, cfg, channels, data), folder / name, data)
        if name.startswith("yolo26n"):
            shutil.copy(folder / name, folder / SPACED / name)
    torch.manual_seed(0)
    torch.save(build_mobile_sam().state_dict(), folder / "mobile_sam.pt")


if __name__ == "__main__":
    main()
