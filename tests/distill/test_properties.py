# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What holds for every graph, every pair of layers, every pair of maps and every value of an argument."""

from __future__ import annotations

import math
from copy import copy

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.cfg import parse_key_value_pair
from ultralytics.distill.align import Align
from ultralytics.distill.arguments import PRECISIONS, read
from ultralytics.distill.graph import capture, head_inputs, pair, run_layers
from ultralytics.distill.heads.classes import class_map
from ultralytics.distill.losses import FEATURE, RELATION, RESPONSE
from ultralytics.distill.losses.base import NORMS
from ultralytics.distill.schedule import SCHEDULES
from ultralytics.distill.spelling import parameters_of
from ultralytics.nn.tasks import DetectionModel

SEEDED = {"deadline": None, "derandomize": True}


# Graphs ---------------------------------------------------------------------------------------------------------------


@st.composite
def graphs(draw) -> dict:
    """A model YAML of random layers: chains, jumps, joins, up and down, and a head on maps of different strides."""
    layers, strides = [[-1, 1, "Conv", [8, 3, 2]]], [2]
    for _ in range(draw(st.integers(3, 9))):
        source = draw(st.integers(0, len(strides) - 1))
        f, stride = (-1, strides[-1]) if draw(st.booleans()) else (source, strides[source])
        same = [i for i, s in enumerate(strides) if s == strides[-1]]
        kind = draw(st.sampled_from(["down", "block", "up", "join"]))
        if kind == "down" and stride < 32:
            layers.append([f, 1, "Conv", [draw(st.sampled_from([8, 16])), 3, 2]])
            strides.append(stride * 2)
        elif kind == "up" and stride > 4:
            layers.append([f, 1, "nn.Upsample", [None, 2, "nearest"]])
            strides.append(stride // 2)
        elif kind == "join" and len(same) > 1:
            layers.append([[-1, draw(st.sampled_from(same[:-1]))], 1, "Concat", [1]])
            strides.append(strides[-1])
        else:
            layers.append([f, 1, draw(st.sampled_from(["C2f", "C3k2", "SPPF"])), [8]])
            strides.append(stride)
    seen = list(dict(zip(strides, range(len(strides)))).values())  # the last layer of each stride
    at = draw(st.permutations(seen))[: draw(st.integers(1, 3))]
    head = [sorted(at, key=lambda i: strides[i]), 1, "Detect", [2]]
    scales = {"scale": "n", "scales": {"n": [1.0, 1.0, 1024]}}  # 8.3 builds no C3k2 without
    return {"nc": 2, **scales, "backbone": layers, "head": [head], "strides": strides}


def build(cfg: dict) -> DetectionModel:
    """Build a graph's model."""
    torch.manual_seed(0)
    return DetectionModel({k: v for k, v in cfg.items() if k != "strides"}, nc=2, verbose=False).eval()


@settings(max_examples=12, **SEEDED)
@given(cfg=graphs(), data=st.data())
def test_replay_of_any_graph(cfg, data):
    """Whatever the graph and the layers asked for, replay gives upstream's maps, bit for bit, and only those."""
    model, last = build(cfg), len(cfg["backbone"])
    layers = data.draw(st.lists(st.integers(0, last - 1), min_size=1, unique=True))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad(), capture(model, layers) as seen:
        decoded = model(images)
    with torch.no_grad():
        again, alone = run_layers(model, images, layers, head=True), run_layers(model, images, layers)
    assert set(again.maps) == set(alone.maps) == set(layers)
    assert all(torch.equal(seen.maps[i], x.maps[i]) for i in layers for x in (again, alone))
    assert all(torch.equal(a, b) for a, b in zip(seen.inputs, again.inputs)) and torch.equal(
        decoded[0], again.output[0]
    )
    assert head_inputs(model) == cfg["head"][0][0] and alone.output is None
    assert [64 // x.shape[-1] for x in seen.inputs] == [cfg["strides"][i] for i in head_inputs(model)]


@settings(max_examples=8, **SEEDED)
@given(student=graphs(), teacher=graphs())
def test_pairs_of_any_two_graphs(student, teacher):
    """`auto` pairs exactly the strides that both heads see, each once; without one it says both sides' strides."""
    (s, t), cfgs = map(build, (student, teacher)), (student, teacher)
    strides = [{float(c["strides"][i]): i for i in c["head"][0][0]} for c in cfgs]
    common = strides[0].keys() & strides[1].keys()
    if not common:
        with pytest.raises(ValueError, match=r"distill_layers=auto.*student's head sees strides \[.*teacher's \["):
            pair(s, t)
        return
    pairs = pair(s, t)
    assert [p.strides for p in pairs] == [(v, v) for v in sorted(common)]
    assert [(p.student, p.teacher) for p in pairs] == [(strides[0][v], strides[1][v]) for v in sorted(common)]
    assert [p.name for p in pairs] == [f"P{int(math.log2(v))}" for v in sorted(common)]


@settings(max_examples=8, **SEEDED)
@given(cfg=graphs(), layers=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1, unique=True))
def test_layers_by_hand_of_any_graph(cfg, layers):
    """Layers that exist are taken as they are, of any strides; one that does not is named."""
    model, last = build(cfg), len(cfg["backbone"])
    if any(i >= last for p in layers for i in p):
        with pytest.raises(ValueError, match=f"has layers 0 to {last - 1} before its head, .* is out of range"):
            pair(model, model, layers)
        return
    found = pair(model, model, layers)
    assert [(p.student, p.teacher) for p in found] == layers
    assert [p.strides for p in found] == [tuple(float(cfg["strides"][i]) for i in p) for p in layers]


# Maps and classes -----------------------------------------------------------------------------------------------------

SIZES = st.tuples(st.integers(1, 6), st.integers(1, 6))


@settings(max_examples=40, **SEEDED)
@given(
    n=st.integers(1, 3),
    widths=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    sizes=st.tuples(SIZES, SIZES),
    project=st.booleans(),
    norm=st.sampled_from(NORMS),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    last=st.booleans(),
)
def test_align_of_any_two_maps(n, widths, sizes, project, norm, dtype, last):
    """Any widths, sizes, precision and memory order: fp32 maps of one grid, a gradient for the student alone."""
    order = torch.channels_last if last else torch.contiguous_format
    student = torch.randn(n, widths[0], *sizes[0]).to(memory_format=order).requires_grad_()
    teacher = torch.randn(n, widths[1], *sizes[1]).to(dtype, memory_format=order).requires_grad_()
    if norm != "none" and n * sizes[0][0] * sizes[0][1] == 1 or norm == "instance" and sizes[0] == (1, 1):
        return  # one value has no variance
    kept = teacher.detach().clone()
    s, t = Align(*widths, project=project, norm=norm)(student, teacher)
    assert s.dtype == t.dtype == torch.float32 and torch.isfinite(s).all() and torch.isfinite(t).all()
    assert s.shape == (n, widths[1] if project else widths[0], *sizes[0]) and t.shape == (n, widths[1], *sizes[0])
    s.square().sum().backward()
    assert torch.isfinite(student.grad).all() and teacher.grad is None and not t.requires_grad
    assert torch.equal(teacher, kept)  # another term may still need it


WORDS = st.lists(st.text("aB 1", max_size=2), max_size=5)


@settings(max_examples=60, **SEEDED)
@given(student=WORDS, teacher=WORDS, trained=st.none() | st.lists(st.integers(0, 5)))
def test_any_class_names(student, teacher, trained):
    """Doubles, empty names, numbers, no classes at all: every student class at most once, indices that exist."""
    found = class_map(dict(enumerate(student)), dict(enumerate(teacher)), trained=trained)
    assert len(found.student) == len(found.teacher) == len(set(found.student))
    assert set(found.student) <= set(range(len(student))) and set(found.teacher) <= set(range(len(teacher)))
    assert trained is None or set(found.student) <= set(trained)


# Arguments ------------------------------------------------------------------------------------------------------------

NUMBERS = st.floats(0, 100, allow_nan=False).map(lambda x: round(x, 4))
INDEX = st.integers(0, 30)


def terms(known: dict) -> st.SearchStrategy:
    """Spellings of known terms, with parameters that are numbers."""

    def spell(name, params):
        named = [k for k in parameters_of(known[name]) or [] if k in params]
        return name + ("(" + ", ".join(f"{k}={params[k]}" for k in named) + ")" if named else "")

    params = st.fixed_dictionaries(
        {}, optional={k: NUMBERS for k in ("tau", "end", "share", "alpha_mgd", "lambda_mgd")}
    )
    return st.builds(spell, st.sampled_from(sorted(known)), params)


def several(known: dict) -> st.SearchStrategy:
    """One term, a list of them, or a word."""
    return st.one_of(st.sampled_from(["auto", "none"]), terms(known), st.lists(terms(known), min_size=1, max_size=3))


VALUES = st.fixed_dictionaries(
    {"distill_feat": several(FEATURE)},
    optional={
        "distill_logit": several(RESPONSE),
        "distill_rel": several(RELATION),
        "distill_layers": st.one_of(
            st.just("auto"),
            INDEX,
            st.lists(INDEX, min_size=1, max_size=4, unique=True),
            st.lists(st.tuples(INDEX, INDEX).map(list), min_size=1, max_size=4, unique_by=tuple),
        ),
        "dfea": NUMBERS,
        "dlogit": NUMBERS,
        "dline": NUMBERS,
        "distill_tau": st.just("auto") | NUMBERS.filter(bool),
        "distill_alpha": st.floats(0, 1).map(lambda x: round(x, 3)),
        "distill_stop": st.integers(0, 9),
        "distill_schedule": terms(SCHEDULES),
        "distill_precision": st.sampled_from(PRECISIONS),
        "distill_online": st.booleans(),
    },
)


def understood(args) -> tuple:
    """Return what a namespace is read as, or the error, in a form that compares."""
    try:
        c = read(args)
    except ValueError as e:
        return (str(e),)
    kinds = [(t.kind, t.spelled.name, t.spelled.cls, t.spelled.params, t.gain, t.auto) for t in c.terms]
    schedule = c.schedule.name, c.schedule.params
    return kinds, schedule, c.layers, c.tau, c.alpha, c.stop, c.precision, c.online, c.dline


@settings(max_examples=60, **SEEDED)
@given(values=VALUES)
def test_command_line_reads_as_python(values, make_args):
    """Any arguments mean the same in Python, as words on the command line, and read back from `args.yaml`."""
    given_, typed = make_args(), make_args()
    for k, v in values.items():
        setattr(given_, k, v)
        text = f"[{','.join(v)}]" if isinstance(v, list) and isinstance(v[0], str) else v
        setattr(typed, *parse_key_value_pair(f"{k}={text}"))
    first = understood(given_)
    if len(first) > 1:
        assert understood(typed) == first
        again = make_args()
        for k, v in yaml.safe_load(yaml.safe_dump(vars(given_))).items():
            setattr(again, k, v)
        assert understood(again) == first


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 99), st.floats(), st.text("ab([{,:=)]}'\"\\ .1é", max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = ["dfea", "dlogit", "drel", "dline"] + [
    f"distill_{x}" for x in "feat layers logit rel online tau alpha schedule stop module precision".split()
]


@settings(max_examples=200, **SEEDED)
@given(argument=st.sampled_from(ARGUMENTS), value=JUNK)
def test_junk_is_an_error_that_names_the_argument(argument, value, make_args):
    """Whatever stands in an argument, it is understood, or refused in one sentence that names the argument."""
    args = copy(make_args())
    setattr(args, argument, value)
    try:
        read(args)
    except ValueError as e:
        assert argument in str(e) and "\n" not in str(e)
