# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Open-vocabulary models on either side, with their text inputs."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from lines import needs_84
from short_run import columns, options, rows

from ultralytics import YOLO
from ultralytics.distill.graph import capture, head_inputs, run_layers
from ultralytics.nn import tasks

pytestmark = needs_84("has no YOLOE")
WorldModel, YOLOEModel = tasks.WorldModel, getattr(tasks, "YOLOEModel", None)
WORLD, E, E26 = "yolov8n-worldv2.yaml", "yoloe-v8n.yaml", "yoloe-26n.yaml"
NAMES = {0: "circle", 1: "square", 2: "stripe"}


@pytest.fixture(scope="module", params=[WORLD, E, E26])
def prompted(request):
    """An open-vocabulary model that was given three classes."""
    torch.manual_seed(0)
    model = (WorldModel if "world" in request.param else YOLOEModel)(request.param, nc=3, verbose=False)
    model(torch.rand(2, 3, 64, 64))  # statistics that are not fresh
    embeddings = torch.nn.functional.normalize(torch.randn(1, 3, 512), dim=-1)
    if "world" in request.param:
        model.txt_feats, model.names = embeddings, NAMES
        model.model[-1].nc = 3
    else:
        model.set_classes(list(NAMES.values()), embeddings)
    return model.eval()


def texts(batch):
    """Add text embeddings to a batch: other ones for every image, as upstream samples them."""
    g = torch.Generator().manual_seed(1)
    feats = torch.nn.functional.normalize(torch.randn(len(batch["img"]), 3, 512, generator=g), dim=-1)
    return {**batch, "txt_feats": feats}


def test_replay_is_upstreams_forward(prompted):
    """Replayed with the model's own embeddings, maps and raw predictions are those of its own forward."""
    x, head = torch.rand(2, 3, 64, 64), prompted.model[-1]
    head.training = True  # raw predictions
    try:
        with torch.no_grad(), capture(prompted, head_inputs(prompted)) as seen:
            out = prompted(x)
        with torch.no_grad():
            again = run_layers(prompted, x, head_inputs(prompted), head=True)
    finally:
        head.training = False
    assert all(torch.equal(m, again.maps[i]) for i, m in seen.maps.items())
    assert [m.shape for m in again.inputs] == [m.shape for m in seen.inputs]
    plain, found = (o.get("one2many", o) for o in (out, again.output))
    assert torch.equal(plain["scores"], found["scores"]) and torch.equal(plain["boxes"], found["boxes"])


def test_it_teaches(prompted, make_model, make_step, make_batch):
    """Such a teacher serves feature and response terms with the classes that it was given."""
    step = make_step(make_model(), prompted, distill_feat="cwd", distill_logit="bckd(margin=0)")
    loss, items = step(make_batch(size=64))
    loss.sum().backward()
    assert items["dfea_loss"] > 0 and items["dlogit_loss"] > 0


def test_it_learns_with_its_texts(prompted, make_model, make_step, make_batch):
    """The student's task loss with its texts is the one of a step without a teacher; other texts give another."""
    batch = texts(make_batch(n=2, size=64))
    student = deepcopy(prompted).train()
    student.args = make_model().args
    _, plain = deepcopy(student)(batch)
    step = make_step(student, make_model(trained=True), distill_feat="cwd")
    other = {**batch, "txt_feats": batch["txt_feats"].flip(1)}
    _, moved = deepcopy(step)(other)
    loss, items = step(batch)
    loss.sum().backward()
    for name, value in plain.items():
        torch.testing.assert_close(items[name], value)
    assert items["cls_loss"] != moved["cls_loss"] and items["dfea_loss"] > 0
    assert student.model[0].conv.weight.grad.abs().sum() > 0


def test_its_classes_are_each_images_own(prompted, make_model, make_distiller):
    """A response term is refused for such a student: its class outputs follow each image's prompts."""
    with pytest.raises(ValueError, match="distill_logit=bckd': the student's classes are in training those of each"):
        make_distiller(prompted, make_model(), distill_logit="bckd")


@pytest.mark.parametrize("name", [WORLD, pytest.param(E, marks=pytest.mark.slow)])
def test_a_real_run(name, data_yaml, teacher_pt, tmp_path, monkeypatch, log):
    """Upstream's own trainer of such a model trains it with a teacher by feature terms."""

    def embed(self, text, *args, **kwargs):
        """Stand in for the text model, which would be downloaded."""
        g = torch.Generator().manual_seed(len(text))
        return torch.nn.functional.normalize(torch.randn(1, len(text), 512, generator=g), dim=-1)

    for cls in (WorldModel, YOLOEModel):
        monkeypatch.setattr(cls, "get_text_pe", embed)
    YOLO(name).train(**options(data_yaml, tmp_path, model_t=str(teacher_pt)))
    assert rows(tmp_path)[0]["train/dfea_loss"] > 0 and "train/dlogit_loss" not in columns(tmp_path)
    assert any("relative (the student's classes are in training those of each image's" in x for x in log())
