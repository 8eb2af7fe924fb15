# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The tutorials' names, as their readers call them."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from ultralytics import distill
from ultralytics.distill import CWDLoss, FeatureLoss, MGDLoss, MimicLoss, get_channels, get_fpn_features
from ultralytics.distill.graph import capture

S, T = (8, 16, 32), (12, 24, 48)


def maps(widths, seed, grad=False):
    """Make a pyramid of maps."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(2, c, 8 // 2**i, 8 // 2**i, generator=g).requires_grad_(grad) for i, c in enumerate(widths)]


def test_signatures():
    """Each name takes the tutorials' arguments in their order."""
    names = {k: list(inspect.signature(k).parameters) for k in (CWDLoss, MGDLoss, MimicLoss, FeatureLoss)}
    assert names[CWDLoss] == ["channels_s", "channels_t", "tau"]
    assert names[MGDLoss] == ["channels_s", "channels_t", "alpha_mgd", "lambda_mgd"]
    assert names[MimicLoss] == ["channels_s", "channels_t"]
    assert names[FeatureLoss][:3] == ["channels_s", "channels_t", "distiller"]
    assert inspect.signature(MGDLoss).parameters["alpha_mgd"].default == 0.00002
    assert inspect.signature(MGDLoss).parameters["lambda_mgd"].default == 0.65
    for f in (get_fpn_features, get_channels):
        assert tuple(inspect.signature(f).parameters["fpn_layers"].default) == (15, 18, 21)


def test_public_face():
    """What the package offers can be listed and imported; anything else is an AttributeError."""
    assert {"FeatureLoss", "CWDLoss", "MGDLoss", "MimicLoss", "get_fpn_features", "get_channels"} <= set(dir(distill))
    assert all(getattr(distill, name) is not None for name in distill.__all__)
    with pytest.raises(AttributeError, match="no_such"):
        _ = distill.no_such


@pytest.mark.parametrize("name", ["cwd", "mgd", "mimic"])
def test_feature_loss(name):
    """Maps of unlike widths and sizes give one number, whose gradient reaches student and aligns, not the teacher."""
    loss = FeatureLoss(S, T, name)
    s, t = maps(S, 0, grad=True), maps(T, 1, grad=True)
    t[0] = nn.functional.interpolate(t[0], scale_factor=2)
    value = loss(s, t)
    value.backward()
    assert value.ndim == 0 and value > 0
    assert all(x.grad.abs().sum() > 0 for x in (*s, *loss.parameters()))
    assert t[1].grad is None and t[2].grad is None


def test_feature_loss_weight_and_names():
    """The weight multiplies the value, and an unknown distiller is answered with the valid ones."""
    s, t = maps(S, 0), maps(S, 1)
    assert torch.isclose(FeatureLoss(S, S, "cwd", loss_weight=2.5)(s, t), 2.5 * FeatureLoss(S, S)(s, t))
    with pytest.raises(ValueError, match="distiller=cvd' is unknown; choose from cwd, mgd, mimic"):
        FeatureLoss(S, T, distiller="cvd")


def test_feature_loss_normalises_by_the_batch():
    """Scale and shift of a channel make no difference, as in the tutorials."""
    s, t = maps(S, 0), maps(S, 1)
    loss = FeatureLoss(S, S, "mimic")
    assert torch.allclose(loss(s, t), loss([3 * x + 1 for x in s], [x / 2 for x in t]), rtol=1e-3)
    assert loss(s, s) < 1e-6 and not torch.isclose(MimicLoss(S, S)(s, t), loss(s, t))


def test_losses_by_hand():
    """Mimic is the mean square, CWD the divergence over positions, each summed over levels."""
    s, t = maps(T, 0, grad=True), maps(T, 1)
    mimic = sum((a - b).square().mean() for a, b in zip(s, t))
    assert torch.isclose(MimicLoss(T, T)(s, t), mimic)
    p, q = ([(x / 4).flatten(2).softmax(2) for x in y] for y in (s, t))
    cwd = sum(16 * (b * (b.log() - a.log())).sum(2).mean() for a, b in zip(p, q))
    assert torch.isclose(CWDLoss(T, T, tau=4.0)(s, t), cwd, rtol=1e-4)
    CWDLoss(T, T)(s, t).backward()
    assert all(x.grad.abs().sum() > 0 for x in s)


def test_mgd_generators_learn():
    """One generator a level, registered and trained; the weight in front is the one that was given."""
    torch.manual_seed(0)
    loss = MGDLoss(T, T, alpha_mgd=2.0, lambda_mgd=0.25)
    s, t = maps(T, 0, grad=True), maps(T, 1)
    torch.manual_seed(1)
    value = loss(s, t, layer="outs")
    value.backward()
    assert [(m.generator[0].in_channels, m.lambda_mgd) for m in loss.losses] == [(c, 0.25) for c in T]
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters()) and all(x.grad.abs().sum() > 0 for x in s)
    for m in loss.losses:
        m.alpha_mgd = 1.0
    torch.manual_seed(1)
    assert torch.isclose(loss(s, t), value / 2)


@pytest.mark.parametrize("count", [2, 4])
def test_wrong_number_of_levels(count):
    """More or fewer maps than the loss was built for are refused, not cut short in silence."""
    with pytest.raises(ValueError, match=f"CWDLoss was built for 3 levels, got {count} student and 3 teacher maps"):
        CWDLoss(T, T)((maps(T, 0) * 2)[:count], maps(T, 1))


def test_fpn_features(make_model):
    """Maps come in the order of the model's layers, are those of its forward, and carry the gradient."""
    model, x = make_model(trained=True).eval(), torch.rand(1, 3, 64, 64)
    with capture(model, [4, 15, 21]) as seen:
        model(x)
    found = get_fpn_features(x, nn.DataParallel(model), fpn_layers=[15, 4, 21])
    assert all(torch.equal(a, seen.maps[i]) for a, i in zip(found, (4, 15, 21), strict=True))
    found[0].sum().backward()
    assert model.model[0].conv.weight.grad.abs().sum() > 0
    with torch.no_grad():
        assert not get_fpn_features(x, model)[0].requires_grad


def test_channels(make_model):
    """Widths of the default or other layers, in their order, without a trace in the model."""
    model = make_model(trained=True).train()
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    assert get_channels(model) == [32, 64, 128] and get_channels(nn.DataParallel(model), [9, 4]) == [32, 128]
    assert model.training and torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_tutorials_loop(make_model):
    """Their own loop lowers the loss: features of both, FeatureLoss, and one optimizer for student and aligns."""
    s, t = make_model().train(), make_model(width=0.1875, seed=1, trained=True).eval().requires_grad_(False)
    loss = FeatureLoss(get_channels(s), get_channels(t), "cwd")
    optimizer = torch.optim.SGD([*s.parameters(), *loss.parameters()], lr=0.02)
    x, values = torch.rand(2, 3, 64, 64), []
    for _ in range(10):
        value = loss(get_fpn_features(x, s), get_fpn_features(x, t))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.9 * values[0]
