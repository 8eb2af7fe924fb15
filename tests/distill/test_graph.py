# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Tapping, replaying, probing and pairing layers."""

from __future__ import annotations

import pickle
from copy import deepcopy

import pytest
import torch
from torch import nn

from ultralytics.distill.graph import Pair, capture, head_inputs, pair, probe, run_layers
from ultralytics.distill.upstream import LINE

FAMILIES = (
    "yolov5n.yaml",
    "yolov8n.yaml",
    "yolov8n-p2.yaml",
    "yolov9t.yaml",
    "yolov10n.yaml",
    "yolo11n.yaml",
    "yolo12n.yaml",
    "yolo26n.yaml",
    "yolo26n-seg.yaml",
    "yolov8n-pose.yaml",
    "yolov8n-cls.yaml",
    "yolov8n-rtdetr.yaml",
)


@pytest.fixture(scope="module")
def family(request, make_model):
    """A model of a family in eval mode, with statistics of its own."""
    own_scale = any(x in request.param for x in ("v9", "12"))  # no width of ours fits them
    return make_model(request.param, width=None if own_scale else 0.125, trained=True).eval()


def equal(a, b):
    """Whether two outputs are bit-identical, however they are nested."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b))
    return a == b


def hooks(model):
    """Count the hooks in a model."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("family", FAMILIES, indirect=True)
def test_replay_is_upstreams_forward(family):
    """Every map, the head's inputs and its output are bit for bit those of the model's own forward."""
    x, layers = torch.rand(2, 3, 64, 64), range(len(family.model) - 1)
    with torch.no_grad(), capture(family, layers) as seen:
        out = family(x)
    with torch.no_grad():
        again = run_layers(family, x, layers, head=True)
    assert list(again.maps) == list(layers) and equal(seen.maps, again.maps)
    assert seen.inputs and equal(seen.inputs, again.inputs)
    assert equal(seen.output, again.output) and (LINE == "8.3" or equal(out, again.output))


@pytest.mark.parametrize("family", FAMILIES, indirect=True)
def test_head_inputs_are_what_the_head_sees(family):
    """The layers that `auto` pairs are those whose maps enter the head, in its order."""
    with torch.no_grad(), capture(family, head_inputs(family)) as seen:
        family(torch.rand(1, 3, 64, 64))
    assert equal([seen.maps[i] for i in head_inputs(family)], seen.inputs)


def test_replay_stops_after_the_last_layer(make_model):
    """Nothing after the last layer asked for is computed, and without the head there is no output."""
    model, ran = make_model().eval(), []
    for m in model.model:
        m.register_forward_hook(lambda m, *_: ran.append(m.i))
    seen = run_layers(model, torch.rand(1, 3, 64, 64), [4, 9])
    assert ran == list(range(10)) and list(seen.maps) == [4, 9] and seen.output is None


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov10n.yaml", "yolo26n.yaml"])
def test_tap_sees_the_training_forward_with_its_gradient(name, make_model):
    """Maps and raw predictions of the forward that runs anyway carry the gradient to the first layer."""
    model = make_model(name).train()
    with capture(model, [9]) as seen:
        out = model(torch.rand(2, 3, 64, 64))
    scores = seen.output.get("one2many", seen.output)["scores"]
    assert out is seen.output or LINE == "8.3"
    for value in (seen.maps[9], seen.inputs[0], scores):
        model.zero_grad()
        value.square().sum().backward(retain_graph=True)
        assert model.model[0].conv.weight.grad.abs().sum() > 0


def test_tap_leaves_no_hook(make_model):
    """No hook outlives the block, not even when the forward or a hook of the block fails."""
    model = make_model()
    with capture(model, [4, 9]):
        assert hooks(model) == 4
        model(torch.rand(1, 3, 64, 64))
    assert hooks(model) == 0
    with pytest.raises(RuntimeError), capture(model, [4, 9]):
        model(torch.rand(1, 4, 64, 64))
    assert hooks(model) == 0
    pickle.dumps(model)
    assert hooks(deepcopy(model)) == 0


def test_taps_nest(make_model):
    """An inner tap sees the same forward and takes only its own hooks away."""
    model = make_model().eval()
    with capture(model, [4]) as outer, capture(model, [4]) as inner:
        model(torch.rand(1, 3, 64, 64))
    assert outer.maps[4] is inner.maps[4] and hooks(model) == 0


def test_head_inputs_are_maps_only(make_model):
    """What a head gets beside maps, such as text embeddings, is not among its inputs."""

    class Head(nn.Module):
        """A head that is also given embeddings, as YOLOE's is."""

        def forward(self, x):
            """Return nothing."""

    model = nn.Module()
    model.model = nn.Sequential(Head())
    maps = [torch.rand(1, 4, 8, 8), torch.rand(1, 8, 4, 4)]
    with capture(model) as seen:
        model.model[0]([*maps, torch.rand(1, 80, 512)])
    assert [id(x) for x in seen.inputs] == [id(x) for x in maps]


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov8n-p6.yaml", "yolo26n.yaml", "yolov8n-cls.yaml"])
def test_probe_finds_width_and_stride(name, make_model):
    """Channels and pixels a cell are those of a real forward at another size."""
    model = make_model(name).eval()
    layers = range(len(model.model) - 1)
    with torch.no_grad(), capture(model, layers) as seen:
        model(torch.rand(1, 3, 192, 192))
    assert probe(model, layers) == {i: (m.shape[1], 192 / m.shape[2]) for i, m in seen.maps.items()}


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov10n.yaml", "yolov8n-rtdetr.yaml", "yolov8n-cls.yaml"])
def test_probe_leaves_no_trace(name, make_model):
    """Statistics, weights, modes, gradients, what is frozen, and the random state are as before."""
    model = make_model(name, trained=True).train()
    model.model[1].eval()
    model.model[2].requires_grad_(False)
    model.model[3].register_forward_hook(lambda *_: torch.rand(1) and None)  # a layer that draws, even in eval mode
    state, random = deepcopy(model.state_dict()), torch.get_rng_state()
    modes = [m.training for m in model.modules()]
    frozen = [(p.requires_grad, p.grad) for p in model.parameters()]
    probe(model, head_inputs(model))
    assert equal(dict(state), dict(model.state_dict())) and torch.equal(random, torch.get_rng_state())
    assert modes == [m.training for m in model.modules()] and hooks(model) == 1
    assert frozen == [(p.requires_grad, p.grad) for p in model.parameters()]


def test_probe_restores_modes_after_a_failure(make_model):
    """A layer that fails on the probe image leaves the model in train mode."""
    model = make_model().train()
    model.model[5].forward = None
    with pytest.raises(ValueError, match="a DetectionModel cannot be tried with a blank image"):
        probe(model, [4])
    assert model.training and model.model[0].training and hooks(model) == 0


def test_probe_uses_the_models_own_channels_and_precision(make_model):
    """Models for grayscale images and models in bfloat16 are probed as well."""
    model = make_model()
    expected = probe(model, [4])
    assert probe(deepcopy(model).bfloat16(), [4]) == expected
    model.model[0].conv = nn.Conv2d(1, 8, 3, 2, 1, bias=False)
    assert probe(model, [4]) == expected


@pytest.mark.parametrize(
    "student, teacher, names",
    [
        ("yolov8n.yaml", "yolov8n.yaml", "P3 P4 P5"),
        ("yolov8n.yaml", "yolov8n-p2.yaml", "P3 P4 P5"),
        ("yolov8n-p2.yaml", "yolov8n-p6.yaml", "P3 P4 P5"),
        ("yolov8n-p6.yaml", "yolov8n-p6.yaml", "P3 P4 P5 P6"),
        ("yolo26n.yaml", "yolov8n-rtdetr.yaml", "P3 P4 P5"),
        ("yolov8n-cls.yaml", "yolov8n.yaml", "P5"),
    ],
)
def test_pairs_by_stride(student, teacher, names, make_model):
    """`auto` pairs the maps of equal stride that enter both heads, whatever their indices and widths."""
    s, t = make_model(student), make_model(teacher, width=0.1875)
    pairs = pair(s, t)
    assert " ".join(p.name for p in pairs) == names
    for p in pairs:
        assert p.student in head_inputs(s) and p.teacher in head_inputs(t)
        assert p.strides == (2 ** int(p.name[1:]),) * 2
        assert p.channels == (probe(s, [p.student])[p.student][0], probe(t, [p.teacher])[p.teacher][0])


def test_no_common_stride(make_model):
    """Heads that share no stride are refused; the message shows both models' strides and the way out."""
    teacher = make_model("yolov8n-p2.yaml")
    teacher.model[-1].f = [18, 21]  # P2 and P3 only; the probe needs no more than where the head looks
    teacher.model[-1].nl, teacher.model[-1].stride = 2, teacher.model[-1].stride[:2]
    with pytest.raises(ValueError, match=r"distill_layers=auto.*student.*\[32.0\].*teacher.*\[4.0, 8.0\].*\[\[student"):
        pair(make_model("yolov8n-cls.yaml"), teacher)


def test_pairs_by_hand_may_differ_in_stride(make_model):
    """Layers that the user names are taken in the user's order, whatever their strides."""
    s, t = make_model(), make_model(width=0.1875)
    assert pair(s, t, [(15, 15), (4, 9)]) == [
        Pair(15, 15, (32, 48), (8.0, 8.0), "15"),
        Pair(4, 9, (32, 192), (8.0, 32.0), "4-9"),
    ]


@pytest.mark.parametrize(
    "layers, says",
    [
        ([(15, 15), (22, 15)], "the student has layers 0 to 21 before its head, 22 is out of range"),
        ([(15, 30)], "the teacher has layers 0 to 29 before its head, 30 is out of range"),
        ([(15, 99)], "the teacher has layers 0 to 29 before its head, 99 is out of range"),
    ],
)
def test_layers_out_of_range(layers, says, make_model):
    """An index beyond the last layer, or the head itself, is refused; the message names the model and its layers."""
    with pytest.raises(ValueError, match=rf"distill_layers=\[(15, )?\[.*{says}"):
        pair(make_model(), make_model("yolov8n-p6.yaml"), layers)


@pytest.mark.parametrize("output", [lambda x: [x, x], lambda x: x.flatten(2)])
def test_layer_without_a_map(output, make_model):
    """A layer whose output is a list, or tokens, cannot be compared as a map, and the message names it."""

    class Odd(nn.Module):
        """A layer that hands its input on in another form."""

        i, f = 9, -1

        def forward(self, x):
            """Keep the input for the head."""
            self.x = x
            return output(x)

    s, t = make_model("yolov8n-cls.yaml"), make_model()
    s.model.insert(9, Odd())
    s.model[10].forward = lambda x: s.model[9].x
    with pytest.raises(ValueError, match=r"distill_layers=\[9\]': layer 9 of the student yields no .* map"):
        pair(s, t, [(9, 9)])
