# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Our series on people's trees: releases from the wheels that are at hand, and edits such as owners make in them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from patching import Repo
from patching.plan import make_plan
from patching.series import read_pin, read_series, touched
from patching.wheel import read_wheel, wheel_name

REPO = Repo(Path(__file__).resolve().parents[2])
PIN = read_pin(REPO)
HERE = [v for v in (PIN.version, *PIN.wheels) if (REPO.cache / wheel_name(v)).is_file()]
TRAINER, CFG = "ultralytics/engine/trainer.py", "ultralytics/cfg/default.yaml"
CALLS = ("attach", "take_teacher", "build", "step", "finish", "checkpoint", "begin", "csv_columns")


def tree(version: str) -> dict[str, bytes]:
    """Return the files of a release that the series touches."""
    files = read_wheel(REPO.cache / wheel_name(version))[0]
    return {path: files[path] for path in touched(read_series(REPO)) if path in files}


def text(data: bytes, change) -> bytes:
    """Return a file with its text changed."""
    return change(data.decode()).encode()


def another_class(source: str) -> str:
    """A class above, with methods of the same names, and a second trainer below."""
    mine = "class Mine:\n    def save_metrics(self, metrics): ...\n\n"
    mine += "    def _do_train(self):\n        self.final_eval()\n\n\n"
    return source.replace("class BaseTrainer", f"{mine}class BaseTrainer", 1) + f"\n\n{mine.replace('Mine', 'Yours')}"


def reordered_imports(source: str) -> str:
    """Imports from the package in the opposite order, each group in brackets."""
    pattern = r"(?m)^from ultralytics[\w.]* import (?:\((?:[^)]*)\)|[^\n(]*)\n"
    found = re.findall(pattern, source)
    start = source.index(found[0])
    rest = re.sub(pattern, "", source[start:])
    in_brackets = [re.sub(r"import ([^(\n]+)\n", r"import (\n    \1,\n)\n", x) for x in reversed(found)]
    return source[:start] + "".join(in_brackets) + rest


def translated(source: str) -> str:
    """Comments at line ends gone or in another language."""
    return re.sub(r"(?m)  # (?!type|noqa).*$", "  # 注释", source)


def own_argument_and_step(source: str) -> str:
    """An own line beside each of our places, as forks have them."""
    source = re.sub(r"(?m)^( +)(self\.final_eval\(\)\n)", r"\1\2\1self.mine = 1\n", source)
    source = re.sub(r'(?m)^( +)((["\']?)train_args)', r"\1\3mine\3: 1,\n\1\2", source, count=1)
    source = re.sub(r"(?m)^( +)(batch = self\.preprocess_batch\(batch\)\n)", r"\1\2\1self.seen = len(batch)\n", source)
    source = re.sub(r"(?m)^( +)(self\.wdir = .*\n)", r"\1\2\1self.extra = self.wdir.parent\n", source)
    return source.replace("    def optimizer_step(self):\n", "    def optimizer_step(self):\n        self.before = 1\n")


EDITS = {
    "another class above and below": {TRAINER: another_class},
    "imports reordered": {TRAINER: reordered_imports},
    "comments translated": {TRAINER: translated},
    "own lines beside ours": {
        TRAINER: own_argument_and_step,
        CFG: lambda s: s.replace("box: 7.5", "mine: 1.0 # (float) my own\nbox: 7.5"),
    },
    "tabs": {TRAINER: lambda s: re.sub(r"(?m)^(?: {4})+", lambda m: "\t" * (len(m[0]) // 4), s)},
    "CRLF": {TRAINER: lambda s: s.replace("\n", "\r\n"), CFG: lambda s: s.replace("\n", "\r\n")},
}


def require_sound(plan, changed: dict[str, bytes]) -> None:
    """Insist on valid Python, every call of ours in the trainer itself, once, and no line of the owner's lost."""
    source = plan.files[TRAINER].decode()
    trainer = next(x for x in ast.parse(source).body if getattr(x, "name", "") == "BaseTrainer")
    calls = [
        n.func.attr for n in ast.walk(trainer) if isinstance(n, ast.Call) and ast.unparse(n.func).startswith("distill.")
    ]
    assert all(calls.count(name) == 1 for name in CALLS), calls
    assert b"model_t:" in plan.files[CFG]
    for path, data in changed.items():
        here = {line.strip() for line in plan.files[path].splitlines()}
        gone = [line for line in data.splitlines() if line.strip() not in here]
        assert len(gone) <= 7, gone  # what our replacements replace
        assert plan.files[path].count(b"\r\n") in (0, plan.files[path].count(b"\n"))


@pytest.mark.parametrize("version", HERE)
def test_releases_fit(version):
    """Every release at hand: each required patch fits, and the optional ones that the table says."""
    plan = make_plan(read_series(REPO), tree(version))
    assert not plan.refused and not plan.there
    require_sound(plan, {})
    left_out = {outcome.patch.title for outcome in plan.left_out}
    assert left_out <= {"join-launcher", "write-checkpoints-whole"} and (not left_out or version != PIN.version)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("version", [v for v in (PIN.version, "8.3.78", "8.2.64") if v in HERE])
def test_edited_trees_fit(version, edit):
    """What neighbours look like does not matter, and the owner's lines stay."""
    files = tree(version)
    changed = {path: text(files[path], change) for path, change in EDITS[edit].items()}
    assert all(changed[path] != files[path] for path in changed)
    plan = make_plan(read_series(REPO), {**files, **changed})
    assert not plan.refused, [(c.path, r.reason) for o in plan.refused for c, r in o.conflicts]
    require_sound(plan, changed)


@pytest.mark.parametrize("version", [v for v in (PIN.version, "8.3.78", "8.2.64") if v in HERE])
def test_formatted_by_black(version):
    """Lines broken at 88 columns are found by what they start with."""
    black = pytest.importorskip("black")
    files = tree(version)
    mode = black.Mode(line_length=88)
    changed = {p: text(d, lambda s: black.format_str(s, mode=mode)) for p, d in files.items() if p.endswith(".py")}
    plan = make_plan(read_series(REPO), {**files, **changed})
    assert not plan.refused, [(c.path, r.reason) for o in plan.refused for c, r in o.conflicts]
    require_sound(plan, {})


def test_gone_place_is_refused():
    """A fork that wrote its own loop is not patched halfway."""
    files = tree(PIN.version)
    files[TRAINER] = files[TRAINER].replace(b"batch = self.preprocess_batch(batch)", b"batch = self.prepare(batch)")
    plan = make_plan(read_series(REPO), files)
    assert [outcome.patch.title for outcome in plan.refused] == ["build-distiller"]


def test_fork_with_arguments_of_our_names():
    """A distillation fork's own `model_t` is not doubled: YAML would take the last without a word."""
    files = tree(PIN.version)
    files[CFG] += b"model_t: # theirs\n"
    plan = make_plan(read_series(REPO), files)
    assert "has `model_t` of its own" in plan.refused[0].conflicts[0][1].reason
