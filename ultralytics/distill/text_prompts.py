# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The texts that open-vocabulary models look for: given to the layers that read them when a model is replayed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ultralytics.distill.upstream import C2fAttn, ImagePoolingAttn, WorldDetect, YOLOEDetect


class TextPrompts:
    """Runs the layers of one forward, with the model's own class embeddings where a layer wants them.

    YOLO-World keeps them as `txt_feats`, YOLOE as `pe`; both are those of the classes that the model was trained for or
    given by `set_classes`. The images are for their number alone.
    """

    def __init__(self, model: nn.Module, images: torch.Tensor):
        """Repeat World's embeddings for every image."""
        self.model, self.count = model, len(images)
        texts = getattr(model, "txt_feats", None)
        self.texts = self.first = None if texts is None else texts.to(images).expand(self.count, -1, -1)

    def run(self, layer: nn.Module, x: Any) -> Any:
        """Return what a layer makes of its input."""
        if isinstance(layer, C2fAttn):
            return layer(x, self.texts)
        if isinstance(layer, WorldDetect):
            return layer([*x], self.first)  # a list of its own: the head writes into it
        if isinstance(layer, ImagePoolingAttn):
            self.texts = layer(x, self.texts)
            return x
        if isinstance(layer, YOLOEDetect):
            embeddings = self.model.get_cls_pe(None, None).to(x[0])
            return layer([*x, embeddings.expand(self.count, -1, -1)])
        return layer(x)
