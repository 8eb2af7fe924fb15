# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The optimizer of what is not the student's follows the trainer's own, step by step."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ultralytics.distill.training.optimizer import OwnOptimizer, copy_rates


def make(optimizer=torch.optim.SGD, scale=1.0, **options):
    """Return a trainer with a student of one layer, a distiller of one, and our optimizer for it."""
    torch.manual_seed(0)
    student, distiller = nn.Linear(3, 2), nn.Linear(2, 2)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale != 1)
    trainer = SimpleNamespace(scaler=scaler, optimizer=optimizer(student.parameters(), **{"lr": 0.1, **options}))
    return trainer, OwnOptimizer(trainer, SimpleNamespace(student=student, distiller=distiller, online=False))


def step(trainer, own, spoil=None):
    """Take a step as upstream's trainer does; the student's gradient may be spoiled."""
    student, distiller = own.step.student, own.step.distiller
    own.begin_batch()
    loss = distiller(student(torch.ones(4, 3))).square().mean()
    trainer.scaler.scale(loss).backward()
    if spoil:
        student.weight.grad.fill_(spoil)
    trainer.scaler.unscale_(trainer.optimizer)
    trainer.scaler.step(trainer.optimizer)
    trainer.scaler.update()
    trainer.optimizer.zero_grad()
    return [p.detach().clone() for p in distiller.parameters()]


def test_scaled_as_unscaled():
    """A loss scale changes neither the steps nor what is left of the gradients."""
    plain, scaled = ([step(*run) for _ in range(3)][-1] for run in (make(), make(scale=1024.0)))
    for a, b in zip(plain, scaled):
        torch.testing.assert_close(a, b)


def test_an_overflow_skips_ours_too():
    """Where the loss scale overflows in the student nothing of ours moves, and its gradient is not kept for later."""
    trainer, own = make(scale=1024.0)
    before = [p.detach().clone() for p in own.step.distiller.parameters()]
    after = step(trainer, own, spoil=float("inf"))
    assert all(torch.equal(a, b) for a, b in zip(before, after)) and trainer.scaler.get_scale() == 512
    own.begin_batch()
    assert all(p.grad is None for p in own.step.distiller.parameters())


def test_a_fused_optimizer_that_leaves_its_weights_alone():
    """One that is called with an overflow, and looks itself, moves nothing; neither do we."""
    trainer, own = make(torch.optim.Rprop)  # does not look at `found_inf` itself
    before = [p.detach().clone() for p in own.step.distiller.parameters()]
    trainer.optimizer.found_inf = torch.ones(())
    assert all(torch.equal(a, b) for a, b in zip(before, step(trainer, own)))


def test_our_own_overflow_stays_ours():
    """A gradient of ours that is no number skips our step, not the student's."""
    trainer, own = make()
    before = [p.detach().clone() for p in own.step.student.parameters()]
    own.step.distiller.weight.register_hook(lambda g: g * float("nan"))
    ours = [p.detach().clone() for p in own.step.distiller.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(ours, step(trainer, own)))
    assert not any(torch.equal(a, b) for a, b in zip(before, own.step.student.parameters()))


def test_a_batch_that_ran_out_of_memory_is_no_missing_step(log):
    """Upstream drops its gradients and begins anew: so do we, and only a trainer that goes on so is told of it."""
    trainer, own = make()
    for count in range(4):
        own.begin_batch()
        assert all(p.grad is None for p in own.step.distiller.parameters())
        assert sum("are not trained" in x for x in log()) == (count == 3)
        own.step.distiller(own.step.student(torch.ones(4, 3))).sum().backward()
        trainer.optimizer.zero_grad()


class Learning(nn.Module):
    """What our optimizer needs to know of a teacher that learns."""

    def __init__(self):
        """One layer; its average counts."""
        super().__init__()
        self.net, self.updates = nn.Linear(3, 2), []
        self.ema = SimpleNamespace(update=self.updates.append)


@pytest.mark.parametrize("asked", ["given", "trainer's own"])
def test_a_teacher_trains_by_any_rules_of_the_users(asked):
    """Rules may name all arguments, or look at the trainer's model; a second step in a batch counts no average."""
    trainer, own = make()
    step, teacher = own.step, Learning()

    def build(model, name, lr, momentum, decay, iterations):
        return torch.optim.SGD((model if asked == "given" else step.student).parameters(), lr=lr)

    trainer.build_optimizer, trainer.args = build, SimpleNamespace(momentum=0.9)
    step.teacher, step.online = teacher, True
    own = OwnOptimizer(trainer, step)
    before = [x.weight.detach().clone() for x in (teacher.net, step.student)]
    teacher.net(step.student(torch.ones(4, 3)).new_ones(4, 3)).sum().backward()
    trainer.optimizer.step()
    trainer.optimizer.step()
    assert not torch.equal(before[0], teacher.net.weight) and torch.equal(before[1], step.student.weight)
    assert own.pairs[-1][0] is teacher and len(teacher.updates) == 1


def test_gradients_are_added_up_over_batches():
    """Between two steps of the trainer's optimizer gradients are kept."""
    trainer, own = make()
    student, distiller = own.step.student, own.step.distiller
    for count in (1, 2):
        own.begin_batch()
        distiller(student(torch.ones(4, 3))).sum().backward()
        assert torch.equal(distiller.bias.grad, torch.full((2,), 4.0 * count))


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW, torch.optim.Rprop])
def test_rates_follow(optimizer):
    """Rate, momentum and decay are the trainer's at each step, warmup included; a bias does not decay."""
    trainer, own = make(optimizer, **({"momentum": 0.5, "weight_decay": 0.2} if optimizer is torch.optim.SGD else {}))
    group = trainer.optimizer.param_groups[0]
    group["lr"] = 0.025
    if "momentum" in group:
        group.update(momentum=0.75, weight_decay=0.3)
    step(trainer, own)
    mine = own.pairs[0][1]
    assert type(mine) is optimizer and [g["lr"] for g in mine.param_groups] == [0.025, 0.025]
    assert all(g.get("momentum") == group.get("momentum") for g in mine.param_groups)
    assert [g.get("weight_decay", 0) for g in mine.param_groups] == [group.get("weight_decay", 0), 0]


def test_groups_by_upstreams_rules_follow_one_by_one():
    """A teacher's groups have the rates of the student's groups of the same name and place."""

    def groups(rate):
        return torch.optim.SGD([{"params": [nn.Parameter(torch.ones(1))], "lr": rate * i, "param_group": n}
                                for i, n in enumerate(("weight", "bias"), 1)])  # fmt: skip

    theirs, mine = groups(0.1), groups(0.7)
    copy_rates(mine, theirs)
    assert [g["lr"] for g in mine.param_groups] == [0.1, 0.2]


class Odd(torch.optim.SGD):
    """A user's optimizer that cannot be built from groups and a rate."""

    def __init__(self, params, lr, secret):
        """Ask for more."""
        super().__init__(params, lr=lr)


def test_an_optimizer_that_cannot_be_built_again(log):
    """AdamW takes its place, which is said."""
    trainer, own = make(Odd, secret=1)
    step(trainer, own)
    assert type(own.pairs[0][1]) is torch.optim.AdamW and [x for x in log() if "AdamW for 6 weights" in x]


def test_an_optimizer_without_hooks_is_said(log):
    """What is no PyTorch optimizer cannot be followed: one line before the first batch."""
    bare = SimpleNamespace(param_groups=[{"params": [], "lr": 0.1, "weight_decay": 0.0}])
    make(lambda params, lr: bare)
    assert sum("6 weights beside the student's are not trained" in x for x in log()) == 1
