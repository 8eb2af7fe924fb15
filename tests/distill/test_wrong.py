"""What a user's own loss or distiller does wrong is said in one sentence, and nothing is left behind."""

import sys
from types import SimpleNamespace

import pytest
import torch
from short_run import options
from torch import nn

from ultralytics import YOLO
from ultralytics.distill import BaseDistiller
from ultralytics.distill.terms.guard import require_form


class Nothing(nn.Module):
    """Forgets to return."""

    def forward(self, student, teacher, batch):
        """Return nothing."""


class Vector(nn.Module):
    """One value for each image."""

    def forward(self, student, teacher, batch):
        """Return a vector."""
        return student.square().mean((1, 2, 3))


class Float(nn.Module):
    """A number that is no tensor."""

    def forward(self, student, teacher, batch):
        """Return a float."""
        return student.square().mean().item()


class Detached(nn.Module):
    """The tutorials' mistake: no gradient reaches anything."""

    def forward(self, student, teacher, batch):
        """Return a constant."""
        return student.detach().square().mean()


class Selfish(nn.Module):
    """The same mistake, hidden: its own layer trains, the student does not."""

    def __init__(self):
        """Build the layer."""
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, student, teacher, batch):
        """Return a value of its own."""
        return self.scale * student.detach().square().mean()


class NaN(nn.Module):
    """Divides by nothing."""

    def forward(self, student, teacher, batch):
        """Return what is no number."""
        return (student - student).sum() / 0


class Zero(nn.Module):
    """Compares the student with itself."""

    def forward(self, student, teacher, batch):
        """Return zero."""
        return (student - student).square().mean()


class NoModule:
    """A callable that is no module."""

    def __call__(self, student, teacher, batch):
        """Return a value."""
        return student.square().mean()


class Fine(nn.Module):
    """A loss with a parameter."""

    def __init__(self, k=1.0):
        """Keep it."""
        super().__init__()
        self.k = k


def local():
    """Return a class that only a function sees."""

    class Local(Fine):
        """A loss."""

    return Local


@pytest.fixture(scope="module")
def models(make_model):
    """A student and a wider teacher."""
    return make_model(), make_model(width=0.25, seed=1, trained=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Nothing, r"'Nothing/P3' \(student layer 15, teacher layer 15\) is not a scalar tensor but None"),
        (Vector, r"'Vector/P3' .*is not a scalar tensor but tensor\("),
        (Float, r"'Float/P3' .*is not a scalar tensor but 0\."),
        (Detached, "'Detached/P3' .*detached from the student"),
        (Selfish, "'Selfish/P3' .*detached from the student"),
        (NaN, "'NaN/P3' .*is nan on the first batch"),
        (Zero, "'Zero/P3' .*exactly zero on the first batch"),
        (NoModule, r"'distill_feat=NoModule' is a class that cannot be used here; derive it from torch\.nn\.Module"),
        (
            "test_wrong:Fine(q=2)",
            r"'distill_feat=test_wrong:Fine\(q=2\)': Fine has no parameter 'q'; valid ones: k",
        ),
        (local(), "'distill_feat=local.<locals>.Local' is defined inside a function; move it"),
        (
            "test_wrong:Hollow",
            r"'distill_feat=test_wrong:Hollow' cannot be built: its __init__ does not call super\(\)",
        ),
        ("no_such_file:Loss", "'distill_feat=no_such_file:Loss' cannot be imported .*PYTHONPATH"),
        (Fine.forward, "'distill_feat=.*' is not a name, a 'package.module:Class', a class or a module"),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_wrong_loss(given, message, models, make_step, make_batch):
    """What a loss does wrong is said in one sentence that names it; what a run leaves then, see test_bad_input.py."""
    with pytest.raises((ValueError, RuntimeError), match=message):
        make_step(*models, distill_feat=given)(make_batch())


LAYERS = {"far": ([4], [99]), "flat": [15], "named": (["model.4"], [4])}


class Ill(BaseDistiller):
    """A distiller that returns what it is told to return."""

    columns, parts, needs_head = ["dlogit_loss"], ["ill"], True

    def __init__(self, config, student, teacher, returns="value"):
        """Keep what to return."""
        super().__init__(config, student, teacher)
        self.returns, self.layers = returns, LAYERS.get(returns, self.layers)
        if returns == "key":
            raise KeyError("scores")

    def forward(self, student, teacher, batch, targets):
        """Return a form of the same value."""
        value = student.output["scores"].square().mean()
        forms = {
            "value": value,
            "nothing": None,
            "other": ({"dfea_loss": value}, [value]),
            "vector": ({"dlogit_loss": value.view(1)}, [value]),
            "more": ({"dlogit_loss": value}, [value, value]),
        }
        return forms[self.returns]


class Hollow(Fine):
    """A loss that forgets what torch's modules need."""

    def __init__(self, k=1.0):
        """Keep the parameter alone."""
        self.k = k


class Few(Ill):
    """A distiller that does not take the models."""

    def __init__(self):
        """Take nothing."""


class Short(Ill):
    """A distiller that is called like a loss."""

    def forward(self, student, teacher, batch):
        """Return a value."""
        return student.output["scores"].square().mean()


class Idle(BaseDistiller):
    """A distiller that asks for nothing."""

    columns, parts = ["dfea_loss"], ["idle"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("test_wrong:Ill", "Ill.forward must return a dictionary with one number for each of its columns"),
        (Idle, "'distill_module=test_wrong:Idle' asks for nothing; it needs"),
        (Fine, "'distill_module=test_wrong:Fine' is no distiller; derive it from"),
        (Fine(k=2), r"'distill_module=Fine\(...\)' is an instance; give the class or its 'test_wrong:Fine\(k=2\)'"),
        ("Fine", "'distill_module=Fine' is unknown; give 'package.module:Class'"),
        ("test_wrong:Ill(returns=key)",
         r"'distill_module=test_wrong:Ill\(returns=key\)' cannot be built: KeyError: 'scores' \(.*test_wrong.py, line"),
        (Few, r"'distill_module=test_wrong:Few' cannot be built: .*takes 1 positional argument but 4 were given"),
        (Short, r"its forward takes \(student, teacher, batch\), not \(student, teacher, batch, targets\)"),
        ("test_wrong:Ill(returns=far)", "asks for layer 99 of the teacher, which has 0 to 22"),
        ("test_wrong:Ill(returns=flat)", r"has 'layers=\[15\]'; give two lists"),
        ("test_wrong:Ill(returns=named)", "asks for layer 'model.4' of the student, which has 0 to 22"),
        ("test_wrong:Ill(k=1)", r"'distill_module=test_wrong:Ill\(k=1\)': Ill has no parameter 'k'"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_distiller(given, message, data_yaml, teacher_pt, student_pt, tmp_path):
    """The same for a distiller."""
    with pytest.raises((ValueError, RuntimeError), match=message):
        YOLO(student_pt).train(**options(data_yaml, tmp_path, model_t=str(teacher_pt), distill_module=given))
    assert not (tmp_path / "run/weights/last.pt").exists()


@pytest.mark.parametrize("returns", ["nothing", "other", "vector", "more"])
def test_wrong_form(returns):
    """Whatever else a distiller returns, the sentence is that one."""
    ill, seen = Ill(None, None, None, returns), SimpleNamespace(output={"scores": torch.ones(2, 3, 4)})
    with pytest.raises(RuntimeError, match="Ill.forward must return a dictionary with one number for each"):
        require_form(ill, ill(seen, seen, {}, {}))


def test_class_in_the_script(make_args, monkeypatch, log):
    """A class of the script itself works there, with a line that says where it will not."""
    from ultralytics.distill.arguments import read

    monkeypatch.setattr(Fine, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Fine", Fine, raising=False)
    args = make_args(distill_feat=Fine(k=2))
    assert read(args).terms[0].spelled.cls is Fine and args.distill_feat == "__main__:Fine(k=2)"
    assert len([x for x in log() if "'distill_feat=Fine' is defined in the script itself" in x]) == 1
