# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What differs between releases of Ultralytics; every other module is written as for 8.4.

Each difference is asked for where it is, by what the tree has and not by its number, since forks mix releases. Where an
older one has nothing of the kind, the functions here do what 8.4 does.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_flatten

from ultralytics import utils
from ultralytics.nn import modules
from ultralytics.utils import plotting, torch_utils

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


class Export(NamedTuple):
    """What `export` is given for a format, and what it then imports, which upstream would install by itself."""

    arguments: dict[str, Any]
    packages: tuple[str, ...]


LINE = "8.4" if importlib.util.find_spec("ultralytics.optim") else "8.3"  # whose trainer it is; 8.3's is that of 8.0 on

SAFE_LOAD = getattr(utils, "SAFE_LOAD", False)  # 8.3 does not know the variable
# nothing is an instance of no class
C2fAttn, ImagePoolingAttn, WorldDetect, YOLOEDetect = (
    getattr(modules, name, ()) for name in ("C2fAttn", "ImagePoolingAttn", "WorldDetect", "YOLOEDetect")
)
# how `export` makes INT8 that a CPU runs
INT8 = (
    Export({"format": "onnx", "quantize": 8}, ("onnx", "onnxruntime", "onnxslim"))
    if (Path(utils.__file__).parent / "export" / "onnx.py").is_file()
    else Export({"format": "openvino", "int8": True}, ("openvino", "nncf"))
)
VALIDATES_EVERYWHERE = LINE == "8.4"  # 8.3 validates in one process of several
unwrap_model = getattr(torch_utils, "unwrap_model", None) or torch_utils.de_parallel


def missing_packages(names: Sequence[str]) -> list[str]:
    """Return those of some packages that are not installed."""
    return [x for x in names if importlib.util.find_spec(x) is None]


def load_checkpoint(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the model of a checkpoint in fp32 and eval mode, and the checkpoint.

    Raises:
        FileNotFoundError: If there is none; 8.3 would ask the network for any name.
    """
    from ultralytics.nn import tasks
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    if hasattr(tasks, "load_checkpoint"):
        return tasks.load_checkpoint(path)
    here = (Path(path), Path(utils.SETTINGS["weights_dir"]) / path)
    if not any(p.exists() for p in here) and "://" not in str(path) and Path(path).name not in GITHUB_ASSETS_NAMES:
        raise FileNotFoundError(path)
    return tasks.attempt_load_one_weight(path)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Return what a YAML file holds."""
    return utils.YAML.load(path) if hasattr(utils, "YAML") else utils.yaml_load(path)


def save_yaml(path: str | Path, data: dict[str, Any]) -> None:
    """Write a YAML file."""
    utils.YAML.save(path, data) if hasattr(utils, "YAML") else utils.yaml_save(path, data)


def torch_load(path: str | Path, **kwargs: Any) -> Any:
    """Read a file as upstream does, which before 8.2.64 has nothing but torch for it."""
    from ultralytics.utils import patches

    return getattr(patches, "torch_load", torch.load)(path, **kwargs)


def model_file(text: str) -> str:
    """Return a model's file name as upstream completes it, as in `yolo26n` for `yolo26n.pt`; 8.0 does not."""
    from ultralytics.utils import checks

    return str(getattr(checks, "check_model_file_from_stem", str)(text))


def autocast(enabled: bool, device: str) -> AbstractContextManager:
    """Return upstream's context for a kind of device, which before 8.2.64 has nothing but torch's."""
    own = getattr(torch_utils, "autocast", None)
    if own:
        return own(enabled, device=device)
    return torch.autocast(device, enabled=enabled)  # noqa: TID251  # full_precision catches what a device refuses


def time_sync(device: torch.device) -> float:
    """Return the time in seconds, once the device has done its work."""
    return torch_utils.time_sync(*[device] * len(inspect.signature(torch_utils.time_sync).parameters))


def keeps_average(device: Any) -> bool:
    """Whether each process of a run on `device=` has the student's running average; in 8.3 the first alone has it."""
    return LINE == "8.4" or not (utils.RANK != -1 or _several(device))


def clears_folder(trainer: BaseTrainer) -> bool:
    """Whether a trainer will delete its results folder, as upstream does before it spawns a process for each device."""
    return utils.LOCAL_RANK == -1 and _several(trainer.args.device) and not trainer.resume


def _several(device: Any) -> bool:
    """Whether `device=` names several devices."""
    return len(device if isinstance(device, (list, tuple)) else str(device).split(",")) > 1


def weight_group(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the group of the student's decayed weights, the slowest if there are several; in 8.3 they have no name."""
    named = [g for g in optimizer.param_groups if g.get("param_group") == "weight"]
    most = max(optimizer.param_groups, key=lambda g: g.get("weight_decay", 0.0))
    return min(named or [most], key=lambda g: g["lr"])


def rotated_nms(boxes: torch.Tensor, scores: torch.Tensor, iou: float) -> torch.Tensor:
    """Return which rotated boxes (n, 5), in pixels, stay by upstream's non-maximum suppression."""
    try:
        from ultralytics.utils.nms import TorchNMS
    except ImportError:
        from ultralytics.utils.ops import nms_rotated

        return nms_rotated(boxes, scores, iou)
    from ultralytics.utils.metrics import batch_probiou

    return TorchNMS.fast_nms(boxes, scores, iou, iou_func=batch_probiou)


def no_items(device: torch.device) -> Any:
    """Return what a model's loss gives to log where there is nothing."""
    return {} if LINE == "8.4" else torch.zeros(1, device=device)


def join_items(items: Any, columns: dict[str, torch.Tensor]) -> Any:
    """Return what is logged of a step, the task's losses (in 8.3 a tensor) and the weighted terms."""
    terms = {k: v.detach() for k, v in columns.items()}
    if isinstance(items, dict):
        return {**items, **terms}
    return torch.cat([items.view(-1), torch.stack(list(terms.values()))])


def plot_images(
    found: dict[str, torch.Tensor],
    images: torch.Tensor,
    paths: Sequence[str] | None,
    file: Path,
    names: dict[int, str] | None,
    on_plot: Any,
) -> None:
    """Draw images (N, C, H, W) and what was found in them into a file, at once and not in a thread; 8.3 draws boxes."""
    more = {"paths": paths, "fname": file, "names": names, "on_plot": on_plot, "threaded": False}
    try:
        plotting.plot_images(found, images, **more)
    except TypeError:
        none = images.new_zeros(0)
        boxes = {k: found[v] for k, v in (("bboxes", "bboxes"), ("confs", "conf")) if v in found}
        plotting.plot_images(images, found.get("batch_idx", none), found.get("cls", none), **boxes, **more)


def for_profile(outputs: Any) -> Any:
    """Return what a forward gave in a form that auto-batch can send backward: 8.3 knows lists of tensors alone."""
    if LINE == "8.4":
        return outputs
    return [x for x in tree_flatten(outputs)[0] if isinstance(x, torch.Tensor) and x.requires_grad]


def score_unfound(validator: Any) -> None:
    """Give each labelled class its AP of zero where no object at all was found, as 8.4 does; 8.3 leaves them out."""
    box, counts = getattr(validator.metrics, "box", None), getattr(validator, "nt_per_class", None)
    if box is not None and counts is not None and not len(box.ap_class_index):
        box.ap_class_index = np.flatnonzero(counts)
        box.all_ap = np.zeros((len(box.ap_class_index), 10))  # over ten overlaps


def adapt(trainer: BaseTrainer) -> None:
    """Let a trainer of 8.3 do what one of 8.4 does, before its loaders, validator and optimizer are built.

    It starts a table of its own. It gets callbacks of its own, which it else shares with the model and its next run.
    And it logs our columns, which it does not learn from the loss items (nor does 8.4 before 8.4.110): its names are
    lengthened once the validation's columns are settled, its items cut before each validation, which sums up the
    student's own.
    """
    if LINE == "8.3":
        if trainer.csv.exists() and not trainer.resume and utils.RANK in {-1, 0}:
            trainer.csv.unlink()  # of an earlier run in this folder, whose columns may be others
        trainer.callbacks = defaultdict(list, {k: list(v) for k, v in trainer.callbacks.items()})
    if trainer.loss_names:  # known before the first batch, so not read from the items
        trainer.add_callback("on_train_epoch_start", _lengthen_names)
        trainer.add_callback("on_train_epoch_end", _shorten_items)


def _lengthen_names(trainer: BaseTrainer) -> None:
    """Name the columns behind the task's losses, anew where another validator was built, which sets the names back."""
    columns = trainer.distill.step.columns
    trainer.loss_names = (*(name for name in trainer.loss_names if name not in columns), *columns)


def _shorten_items(trainer: BaseTrainer) -> None:
    """Leave the columns out of the last batch's items, where these are a tensor."""
    if isinstance(trainer.loss_items, torch.Tensor):
        trainer.loss_items = trainer.loss_items[: -len(trainer.distill.step.columns)]


@contextmanager
def torn_down(trainer: BaseTrainer) -> Iterator[None]:
    """Run the callbacks of the end after an error too, as 8.4 does, in a distilled run."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        if trainer.distill:
            trainer.run_callbacks("teardown")
        raise


def order_columns(metrics: dict[str, float], columns: Sequence[str]) -> dict[str, float]:
    """Return a CSV row whose columns stand where upstream's plot looks for its own: 8.3 counts them from the left."""
    last = [f"train/{c}" for c in columns] if LINE == "8.3" else []
    return {**{k: v for k, v in metrics.items() if k not in last}, **{k: metrics[k] for k in last}}
