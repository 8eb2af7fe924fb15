# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Draws the same validation images as several models see them, beside their labels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from ultralytics.distill.report.similarity import evenly_spaced
from ultralytics.utils import LOGGER, plt_settings
from ultralytics.utils.plotting import Annotator

if TYPE_CHECKING:
    from ultralytics.distill.report.comparison import Contender

RIGHT, WRONG, MISSED, LABEL = (178, 114, 0), (0, 94, 213), (66, 228, 240), (60, 60, 60)  # BGR
TILE = 360  # pixels of an image's longer side in the picture
CONF = 0.25  # least confidence of a prediction that is drawn


@plt_settings()
def plot_samples(
    contenders: Sequence[Contender],
    data: str,
    imgsz: Any,
    file: str | Path,
    device: Any = None,
    count: int = 4,
    heats: Sequence[tuple[str, Sequence[np.ndarray]]] = (),
    files: Sequence[str] = (),
) -> bool:
    """Draw validation images in rows: labels, then each model's predictions.

    The images are evenly spaced in the set, not picked. A prediction is right if it overlaps a label of its class, by
    name, with an IoU of at least 0.5.

    Args:
        contenders (Sequence[Contender]): Models that predict boxes.
        data (str): The data's YAML.
        imgsz (int | list): Image size in pixels for the models.
        file (str | Path): Picture to write.
        device (Any): As `device=` takes it.
        count (int): Number of images.
        heats (Sequence[tuple]): More columns: a title, and for each image a map (H, W), 0 to 1, of the letterboxed
            image; they need `files`.
        files (Sequence[str]): The images to draw, in place of evenly spaced ones.

    Returns:
        (bool): Whether a picture was written; models without upright boxes have none.
    """
    import matplotlib.pyplot as plt  # scope for faster 'import ultralytics'

    from ultralytics import YOLO

    models = [(c.name, YOLO(c.weights)) for c in contenders]
    if any(m.task not in {"detect", "segment", "pose"} for _, m in models):
        LOGGER.info("Comparison: sample pictures are drawn for models with upright boxes only")
        return False
    names: dict[int, str] = {}
    labels = [(f, np.zeros((0, 4)), np.zeros(0)) for f in files]
    if models:
        labels, names = read_labels(data, count, files)
    several = len(names) > 1  # a set of one class needs no names
    width = 1 + len(models) + len(heats)
    images = [np.asarray(cv2.imread(path)) for path, _, _ in labels]
    tall = [3 * x.shape[0] / x.shape[1] + 0.35 for x in images]  # inches of each row, its caption included
    size, shares = (3 * width, sum(tall) + 0.6), {"height_ratios": tall}
    fig, ax = plt.subplots(len(labels), width, figsize=size, gridspec_kw=shares, squeeze=False)
    for i, (image, (path, boxes, classes)) in enumerate(zip(images, labels)):
        truth = [names[int(k)] for k in classes]
        tiles = [(draw(image, [(b, n if several else "", LABEL) for b, n in zip(boxes, truth)]), path)]
        for _, model in models:
            found = model.predict(path, imgsz=imgsz, conf=CONF, device=device, verbose=False)[0].boxes.cpu()
            guess = [model.names[int(k)] for k in found.cls]
            hits = match(found.xyxy.numpy(), guess, boxes, truth)
            shown = [(b, "", MISSED) for j, b in enumerate(boxes) if j not in hits]
            says = guess if several else [""] * len(guess)
            shown += [(b, n, WRONG if h < 0 else RIGHT) for b, n, h in zip(found.xyxy.numpy(), says, hits)]
            right = sum(h >= 0 for h in hits)
            counts = f"{right} right, {len(hits) - right} wrong, {len(boxes) - right} missed"
            tiles.append((draw(image, shown), counts))
        tiles[0] = (tiles[0][0], Path(path).name + (f": {len(boxes)} objects" if models else ""))
        tiles += [(overlay(image, maps[i]), "") for _, maps in heats]
        for a, (tile, text) in zip(ax[i], tiles):
            a.imshow(tile[..., ::-1])
            a.set_xlabel(text, fontsize=11)
            a.set(xticks=[], yticks=[])
    for a, name in zip(ax[0], ["labels" if models else "image", *(n for n, _ in (*models, *heats))]):
        a.set_title(name, fontsize=13, fontweight="bold")
    legend = [f"blue: right, orange: wrong, yellow: missed (IoU 0.5, confidence {CONF})"] * bool(models)
    legend += ["bright: the feature map is active there"] * bool(heats)
    fig.supxlabel("\n".join(textwrap.fill(x, 26 * width) for x in legend), fontsize=11)
    fig.tight_layout()
    fig.savefig(file, dpi=110)
    plt.close(fig)
    return True


def read_labels(
    data: str, count: int, files: Sequence[str] = ()
) -> tuple[list[tuple[str, np.ndarray, np.ndarray]], dict[int, str]]:
    """Return the labels of some validation images, those given or evenly spaced among those with objects, and names.

    A label is the image's path, boxes (n, 4) as x1, y1, x2, y2 in pixels, and classes (n,).
    """
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset
    from ultralytics.utils.ops import xywhn2xyxy

    info = check_det_dataset(data)
    every = YOLODataset(img_path=info["val"], data=info, augment=False).labels
    found = [x for x in every if len(x["cls"])]
    chosen = evenly_spaced(found, count)
    if files:
        by_path = {str(Path(x["im_file"]).resolve()): x for x in every}
        chosen = [by_path[str(Path(f).resolve())] for f in files]
    rows = [(x["im_file"], xywhn2xyxy(x["bboxes"], w=x["shape"][1], h=x["shape"][0]), x["cls"].ravel()) for x in chosen]
    return rows, info["names"]


def match(boxes: np.ndarray, names: Sequence[str], truth: np.ndarray, truth_names: Sequence[str]) -> list[int]:
    """Return the index of the label that each prediction finds, or -1; each label is found once, by the first."""
    from ultralytics.utils.metrics import box_iou

    iou = box_iou(torch.as_tensor(boxes).float(), torch.as_tensor(truth).float()).numpy()
    hits: list[int] = []
    for i, name in enumerate(names):
        free = [
            j for j, n in enumerate(truth_names) if j not in hits and n.lower() == name.lower() and iou[i, j] >= 0.5
        ]
        hits.append(max(free, key=lambda j: iou[i, j], default=-1))
    return hits


def draw(image: np.ndarray, boxes: Sequence[tuple[np.ndarray, str, tuple[int, int, int]]]) -> np.ndarray:
    """Draw boxes, each with its text and colour, on a copy of a BGR image that is large enough to read them."""
    scale = TILE / max(image.shape[:2])
    tool = Annotator(
        cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA),
        line_width=2,
        example="".join(text for _, text, _ in boxes),
    )
    for box, text, color in boxes:
        tool.box_label((np.asarray(box) * scale).tolist(), text, color=color)
    return tool.result()


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay a map (H, W), 0 to 1, of the letterboxed image over a BGR image."""
    scale = TILE / max(image.shape[:2])
    h, w = (max(round(x * scale), 1) for x in image.shape[:2])
    top, left = (TILE - h) // 2, (TILE - w) // 2
    large = cv2.resize(heat.astype(np.float32), (TILE, TILE))[top : top + h, left : left + w]
    colour = cv2.applyColorMap((large * 255).clip(0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return cv2.addWeighted(cv2.resize(image, (w, h)), 0.4, colour, 0.6, 0)
