# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The package is built from the bottom up: no module imports one that imports it, no room one above it."""

import ast
from pathlib import Path

import pytest

import ultralytics.distill

FOLDER = Path(ultralytics.distill.__file__).parent
# From the bottom up; a name is a folder or a module of the package. Those of one line do not import each other.
ROOMS = (
    ("upstream", "runtime"),
    ("imports", "head_outputs", "inference"),
    ("spelling",),
    ("values", "boxes", "text_prompts", "image_files"),
    ("labels",),
    ("losses", "schedule", "balance"),
    ("align", "graph"),
    ("joint", "config"),
    ("base", "arguments"),
    ("heads",),
    ("answers",),
    ("terms", "teacher"),
    ("distiller",),
    ("unlabeled",),
    ("training",),
    ("report", "unused_arguments"),
    ("trainer",),
    ("tutorial", "script"),
)
LEVEL = {name: level for level, names in enumerate(ROOMS) for name in names}


def modules():
    """Return each module of the package by its dotted name below it."""
    paths = {p.relative_to(FOLDER).with_suffix("").parts: p for p in FOLDER.rglob("*.py")}
    return {".".join(p for p in parts if p != "__init__"): path for parts, path in paths.items()}


def imports(name, path, known):
    """Return what a module imports of the package, in functions too, but not for a type checker alone."""
    found, package = set(), name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hints = [n for n in ast.walk(tree) if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"]
    unseen = {id(n) for hint in hints for n in ast.walk(hint)}
    for node in ast.walk(tree):
        if id(node) in unseen or not isinstance(node, ast.ImportFrom):
            continue
        start = f"ultralytics.distill.{package}".rstrip(".").split(".")
        base = ".".join([*start[: len(start) - node.level + 1], *([node.module] if node.module else [])])
        whole = f"{base if node.level else node.module}."
        if whole.startswith("ultralytics.distill."):
            inside = whole.removeprefix("ultralytics.distill.")
            found |= {x if (x := f"{inside}{a.name}") in known else inside.rstrip(".") for a in node.names}
    return found - {name}


@pytest.fixture(scope="module")
def graph():
    """What each module imports of the package."""
    known = modules()
    return {name: imports(name, path, known) for name, path in known.items() if name}


def test_no_module_imports_one_that_imports_it(graph):
    """Not at the top and not hidden in a function: such modules can only be understood together."""
    assert len(graph) > 100 and graph["terms.term"] > {"align", "losses.response"}
    left = dict(graph)
    while free := [name for name, others in left.items() if not others & left.keys()]:
        left = {name: others for name, others in left.items() if name not in free}
    assert not left


def test_the_configuration_is_data(graph):
    """Whoever needs to know what a run distils does not load every loss for it."""
    assert not {x for x in graph["config"] if x.startswith(("losses", "terms", "balance"))}


def test_a_room_imports_only_rooms_below(graph):
    """What is useful without a teacher knows of none, and a loss knows of nothing but tensors."""
    wrong = [
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others
        if (a := name.split(".")[0]) != (b := other.split(".")[0]) and LEVEL[a] <= LEVEL[b]
    ]
    assert not wrong
