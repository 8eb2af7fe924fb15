# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a user's trainer and callbacks see of a distilled run: what they see of a plain one, and our weights train."""

import copy
import io
import pickle

import pytest
import torch
from lines import needs_84
from short_run import options, rows
from torch.optim.lr_scheduler import LambdaLR

from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

KINDS = {"plain": {}, "offline": {"distill_feat": "cwd"}, "online": {"distill_feat": "mgd", "distill_online": True}}
STAGES = ("on_pretrain_routine_end", "on_train_start", "on_train_batch_start", "on_train_batch_end", "on_model_save")


class Watched(DetectionTrainer):
    """Keeps what `build_optimizer` is given."""

    def build_optimizer(self, model, *args, **kwargs):
        """Note the model of the first call, which is the student's."""
        if not hasattr(self, "given"):
            self.given = face(model)
        return super().build_optimizer(model, *args, **kwargs)


def face(model):
    """Return what can be seen of a model: its class, attributes, parameters, buffers, modules and hooks."""
    hooks = [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    return {
        "class": type(model),
        "attributes": sorted(k for k in vars(model) if k != "criterion"),  # made at the first loss
        "parameters": {k: (p.shape, p.requires_grad) for k, p in model.named_parameters()},
        "state": list(model.state_dict()),
        "modules": [(k, type(m)) for k, m in model.named_modules()],
        "hooks": hooks,
    }


@pytest.fixture(scope="module")
def faces(data_yaml, teacher_pt, student_yaml, tmp_path_factory):
    """What a plain, a distilled and an online run show at each stage."""
    found = {}
    for kind, more in KINDS.items():
        model, seen = YOLO(student_yaml), {}

        def look(trainer, stage, seen=seen):
            groups = [len(g["params"]) for g in trainer.optimizer.param_groups]
            seen[stage] = (face(trainer.model), face(trainer.ema.ema), groups, type(trainer.scaler))

        def use(trainer, seen=seen):
            buffer = io.BytesIO()
            torch.save(copy.deepcopy(trainer.model), buffer)
            copy.deepcopy(trainer.scaler)
            trainer.model.load_state_dict(copy.deepcopy(trainer.model.state_dict()))
            frozen = [k for k, p in trainer.model.named_parameters() if k.startswith("model.3.")]
            trainer.model.eval()
            answers = trainer.model(torch.zeros(1, 3, 64, 64))
            trainer.model.train()
            loss, items = trainer.model({**trainer.batch_seen})
            seen["use"] = (len(frozen), pickle.PROTO in buffer.getvalue(), len(answers), loss.numel(), list(items))

        def keep(trainer):
            trainer.batch_seen = next(iter(trainer.train_loader))
            trainer.batch_seen = trainer.preprocess_batch(trainer.batch_seen)

        for stage in STAGES:
            model.add_callback(stage, lambda trainer, stage=stage, look=look: look(trainer, stage))
        model.add_callback("on_train_epoch_end", keep)
        model.add_callback("on_train_epoch_end", use)
        given = {} if kind == "plain" else {"model_t": str(teacher_pt), **more}
        folder = tmp_path_factory.mktemp(kind)
        model.train(trainer=Watched, **options(data_yaml, folder, **given))
        found[kind] = {**seen, "given": model.trainer.given}
    return found


@needs_84("logs its losses in another way")
@pytest.mark.parametrize("kind", ["offline", "online"])
def test_all_that_is_seen_is_the_plain_student(kind, faces):
    """Model, EMA, optimizer, scaler, a saved copy and a call of the model are a plain run's, name by name."""
    plain, ours = faces["plain"], faces[kind]
    assert plain.keys() == ours.keys() >= {*STAGES, "use", "given"}
    for stage in plain:
        assert ours[stage] == plain[stage], stage
    assert plain["use"][0] > 0 and plain["use"][3] == 3


class Flat(DetectionTrainer):
    """Its own schedule."""

    def _setup_scheduler(self):
        self.lf = lambda epoch: 1.0
        self.scheduler = LambdaLR(self.optimizer, self.lf)


class OwnOptimizer(DetectionTrainer):
    """One group of all parameters, with nothing but a learning rate."""

    def build_optimizer(self, model, name="auto", lr=0.001, momentum=0.9, decay=1e-5, iterations=1e5):
        """Return an optimizer that knows no decay and no momentum."""
        return torch.optim.Rprop(model.parameters(), lr=lr)


class OwnStep(DetectionTrainer):
    """No GradScaler.step, and a callback of its own in place of all others."""

    def optimizer_step(self):
        """Step without the scaler."""
        self.set_callback("on_train_batch_start", lambda trainer: None)
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.model)


class NoStep(DetectionTrainer):
    """Moves the weights without its optimizer."""

    def optimizer_step(self):
        """Step by hand."""
        with torch.no_grad():
            for p in self.model.parameters():
                if p.grad is not None:
                    p.sub_(1e-4 * p.grad)
        self.optimizer.zero_grad()
        self.ema.update(self.model)


@pytest.fixture
def train(data_yaml, teacher_pt, student_yaml, tmp_path):
    """`train(Trainer, **more)`: a run of two epochs; returns the trainer and how many of our tensors moved, of all."""

    def run(trainer_class, **more):
        model, start = YOLO(student_yaml), {}

        def own(trainer):
            step = trainer.distill.step
            parts = [step.distiller, *[step.teacher] * step.online]
            return {f"{i}/{k}": p for i, m in enumerate(parts) for k, p in m.named_parameters() if p.requires_grad}

        def begin(trainer):
            start.update({k: p.detach().clone() for k, p in own(trainer).items()})

        model.add_callback("on_train_start", begin)
        given = options(data_yaml, tmp_path, epochs=2, nbs=4, model_t=str(teacher_pt), **more)
        model.train(trainer=trainer_class, **given)
        moved = [not torch.equal(p.detach(), start[k]) for k, p in own(model.trainer).items()]
        return model.trainer, sum(moved), len(moved)

    return run


@pytest.mark.parametrize(
    "trainer, more", [(Flat, {"distill_feat": "mgd"}), (OwnOptimizer, {"distill_online": True, "distill_feat": "cwd"})]
)
def test_our_weights_train_whatever_is_overridden(trainer, more, train):
    """A trainer's own optimizer holds the student alone; all of ours move, an online teacher's average too."""
    done, moved, count = train(trainer, **more)
    assert moved == count > 0
    assert {id(p) for g in done.optimizer.param_groups for p in g["params"]} == {id(p) for p in done.model.parameters()}
    if done.distill.step.online:
        assert done.distill.step.teacher.ema.updates == 4


def test_own_step_and_callbacks(train, tmp_path):
    """Our weights train without GradScaler.step; the stop holds where a user's callback replaces all others."""
    _, moved, count = train(OwnStep, distill_feat="mgd", distill_stop=1)
    assert moved == count > 0
    first, last = rows(tmp_path)
    assert first["train/dfea_loss"] > 0 and last["train/dfea_loss"] == last["distill/mgd/P3"] == 0


def test_weights_that_cannot_train_are_said(train, log):
    """A trainer that never steps its optimizer is told so, once."""
    _, moved, count = train(NoStep, distill_feat="cwd")
    said = [x for x in log() if "are not trained" in x]
    assert moved == 0 < count and len(said) == 1 and "its optimizer is not stepped" in said[0]
