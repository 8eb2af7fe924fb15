# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What differs between upstream's lines stays in one room."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from patching import Repo
from patching.series import read_pin
from patching.wheel import read_wheel, wheel_name
from ultralytics.distill.training.memory_probe import probing_memory
from ultralytics.distill.upstream import LINE

ROOT = Path(__file__).resolve().parents[2]
COMPILED = "ultralytics/distill/training/compiled.py"  # reached with compile= alone
NEWER = {(COMPILED, "YOLOEModel"), (COMPILED, "WorldModel")}


def imports(path: Path) -> list[tuple[str, str]]:
    """List what a file imports from upstream: module and name."""
    nodes = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.ImportFrom)]
    nodes = [n for n in nodes if (n.module or "").split(".")[0] == "ultralytics" and "distill" not in n.module]
    return [(n.module, a.name) for n in nodes for a in n.names if a.name != "distill"]


def names_in(files: dict[str, bytes], module: str) -> set[str]:
    """Return the names that a module of the wheel defines or imports, its submodules included."""
    stem = module.replace(".", "/")
    text = files.get(f"{stem}.py", files.get(f"{stem}/__init__.py", b"")).decode()
    found = {p[len(stem) + 1 :].split("/")[0].partition(".")[0] for p in files if p.startswith(f"{stem}/")}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(a.asname or a.name).split(".")[0] for a in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Constant) and module == "ultralytics":  # 8.3.200 makes names of strings when asked
            found.add(node.value)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


@pytest.mark.skipif(LINE == "8.4", reason="8.4 flattens what it is given")
def test_auto_batch_of_83_gets_tensors(make_model, make_step):
    """What it sends backward holds the terms too, and reaches the student and its align layers."""
    step = make_step(make_model(), make_model(seed=1, trained=True), distill_feat="cwd", distill_logit="bckd")
    with probing_memory(step):
        found = step.student(torch.rand(2, 3, 64, 64))
    assert isinstance(found, list) and len(found) == 5  # three levels, two columns
    sum(x.sum() for x in found).backward()
    assert all(p.grad is not None for m in (step.distiller, step.student.model[0]) for p in m.parameters())


def test_rooms_import_what_every_release_has():
    """A name that some release lacks is asked for in `upstream.py` alone."""
    repo = Repo(ROOT)
    wheels = [w for w in (repo.cache / wheel_name(v) for v in read_pin(repo).wheels) if w.is_file()]
    if not wheels:
        pytest.skip("no other release is here: `pip download --no-deps --dest .upstream ultralytics==8.2.64` gets one")
    rooms = [ROOT / "distill.py", *(ROOT / path for path in repo.overlay_files() if path.endswith(".py"))]
    asked = [(r.relative_to(ROOT).as_posix(), *x) for r in rooms if r.name != "upstream.py" for x in imports(r)]
    assert len(asked) > 30
    for wheel in wheels:
        files = read_wheel(wheel)[0]
        names = {module: names_in(files, module) for module in {x[1] for x in asked}}
        missing = [x for x in asked if x[2] not in names[x[1]] and (x[0], x[2]) not in NEWER]
        assert missing == [], wheel.name
