"""The pages of docs/ say what the code does: their blocks run, their tables and links are right."""

import csv
import inspect
import json
import re

import pytest
import torch
from doc_texts import DOCS, at, blocks, lay_out, run_command, run_python, shorten

from ultralytics import YOLO
from ultralytics.cfg import TASKS
from ultralytics.distill.arguments import read
from ultralytics.distill.losses import FEATURE, FINAL, RELATION, RESPONSE
from ultralytics.distill.spelling import parse
from ultralytics.distill.upstream import LINE
from ultralytics.utils import DEFAULT_CFG_DICT

LOSSES = {**FEATURE, **RESPONSE, **FINAL, **RELATION}
PAGES = ("losses.md", "own.md", "own_distiller.md", "compatibility.md", "other_libraries.md", "guide.md", "moving.md")
RUNS = [b for page in PAGES for b in blocks(page, "python") if not b.title]
COMMANDS = [b for page in PAGES for b in blocks(page, "bash")]


class Stop(Exception):
    """Raised in place of a kill."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory, data_yaml, student_pt, teacher_pt, make_model):
    """A folder with everything that the pages name."""
    desk = lay_out(tmp_path_factory.mktemp("desk"), PAGES, data_yaml, student_pt, teacher_pt, make_model)
    torch.save(foreign_network().state_dict(), desk / "resnet18.pt")
    return desk


def foreign_network():
    """Return a torchvision network whose BatchNorms have seen a batch."""
    import torchvision

    net = torchvision.models.resnet18(num_classes=3).train()
    with torch.no_grad():
        net(torch.rand(4, 3, 32, 32))
    return net


def distilled(trainer):
    """Return the first epoch's columns that distillation has added, but for the margin and what is weighed by it."""
    with open(trainer.csv) as f:
        row = next(csv.DictReader(f))
    return {
        k: float(v)
        for k, v in row.items()
        if re.match(r"train/d(fea|rel)_loss|distill/(?!margin|weight|grad/dlogit)", k)
    }


@pytest.mark.parametrize("block", [b for b in RUNS if "resume=True" not in b.text], ids=str)
def test_python(block, desk, monkeypatch):
    """A block of Python runs as it stands and distils."""
    at(desk, monkeypatch)
    trainers = shorten(desk, monkeypatch)
    run_python(block.text)
    assert len(trainers) == 1
    values = distilled(trainers[0])
    assert values and all(v > 0 for v in values.values()), values


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_command(block, desk, monkeypatch):
    """A command runs as it stands and distils; a file that it names is the one on the page."""
    at(desk, monkeypatch)
    trainers = shorten(desk, monkeypatch)
    if "kd.yaml" in block.text:  # it goes on from what the block before it has left
        file = desk / "runs/classify/train/weights/teacher.pt"
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(foreign_network(), file)
    run_command(block.text, monkeypatch)
    values = distilled(trainers[0])
    assert values and all(v > 0 for v in values.values()), values


def test_resume_block(desk, monkeypatch):
    """The block on resume takes up an interrupted run with a user's own loss."""
    at(desk, monkeypatch)
    trainers = shorten(desk, monkeypatch)
    (block,) = [b for b in RUNS if "resume=True" in b.text]

    def stop(trainer):
        raise Stop

    model = YOLO("yolov8n.pt")
    model.add_callback("on_model_save", stop)
    with pytest.raises(Stop):
        model.train(data="my.yaml", model_t="yolov8s.pt", distill_feat="myloss:Outline(p=1)", distill_stop=1)
    run_python(block.text)
    assert trainers[1].args.distill_feat == "myloss:Outline(p=1)" and trainers[1].start_epoch == 1


def test_length():
    """A loss is 15 lines and a distiller 30, as the page says."""
    pages = ("own.md", "own_distiller.md")
    sizes = {b.title: len(b.text.splitlines()) for p in pages for b in blocks(p, "python") if b.title}
    assert sizes["myloss.py"] <= 15 and sizes["mydistiller.py"] <= 30


def rows(page):
    """Return the cells of a page's table rows whose first cell is code."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    return [[c.strip() for c in x.strip("|").split("|")] for x in lines if re.match(r"\| `\w+\(", x)]


def test_every_loss_has_its_row():
    """The tables have each loss once, with today's parameters and defaults, its statistics and its paper."""
    seen = []
    for cell, _, value, measured, source in (*rows("losses.md"), *rows("older_losses.md")):
        spelled = parse("distill_feat", cell.strip("`"), LOSSES)
        signature = inspect.signature(spelled.cls.__init__).parameters.values()
        defaults = {p.name: p.default for p in signature if p.name not in {"self", "channels_s", "channels_t"}}
        assert spelled.params == defaults, cell
        assert value.startswith("images") == ("Per-image mean" in spelled.cls.__doc__), cell
        assert re.match("gain|none|less than|not measured|as `distill_model`", measured), cell
        assert all(x in spelled.cls.__doc__ for x in re.findall(r"arxiv.org/abs/([\d.]+)", source)), cell
        seen.append(spelled.name)
    assert sorted(seen) == sorted(LOSSES)


def prose(page):
    """Return a page in one line."""
    return re.sub(r"\s+", " ", (DOCS / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["tau", "alpha"])
def test_terms_with_a_run_wide_parameter(name):
    """The page names exactly the losses that `distill_tau` and `distill_alpha` reach."""
    text = prose("losses.md")
    listed = re.search(rf"`distill_{name}` sets `{name}` of every term that has one \(([^)]*)\)", text)[1]
    having = {k for k, v in LOSSES.items() if name in inspect.signature(v.__init__).parameters}
    assert set(re.findall(r"`(\w+)`", listed)) == having


def test_recipe_is_the_one_in_force(make_args):
    """What `auto` stands for on the page is what it builds, for every task."""
    text = prose("losses.md")
    assert "`distill_logit=auto` depends on the task, and there is no relation" in text
    assert "`distill_feat=auto` is `cwd` where predictions cannot be compared" in text
    said = dict(re.findall(r"\| (\w+) \| (`[^|]*`) \|", text.split("## Name")[0]))
    del said["task"]  # the table's head
    assert set(TASKS) <= set(said) and (len(said) == len(TASKS) or LINE == "8.3")
    for task, names in ((k, v) for k, v in said.items() if k in TASKS):
        terms = {(t.kind, t.spelled.name) for t in read(make_args(task=task)).terms}
        assert terms == {("feat", "cwd"), *(("logit", n) for n in re.findall(r"`(\w+)`", names))}


def test_printed_formula(make_model, make_distiller):
    """The formula on the page is the one of these models and arguments."""
    (text,) = [b.text for b in blocks("losses.md", "text") if "loss = task" in b.text]
    student, teacher = (make_model(f"yolov8{s}.yaml", nc=80, width=None) for s in "ns")
    terms = {"distill_feat": ["cwd(tau=2)", "pkd"], "dfea": [1, 6], "distill_logit": "[bckd,ld]", "dlogit": 0.5}
    d = make_distiller(student, teacher, **terms)
    assert f"loss = task + ({d.describe()})" in text
    p = d.pairs[0]
    shapes = [f"layer {i} ({c}x80x80)" for i, c in zip((p.student, p.teacher), p.channels)]
    assert f"{p.name} student {shapes[0]} <- teacher {shapes[1]}" in text


def anchors(page):
    """Return the anchors of a page's headings, as the site makes them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S), re.M)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", re.sub(r"<[^>]*>", "", h)).strip().lower()) for h in heads}


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda p: str(p.relative_to(DOCS)))
def test_links(page):
    """A link or a picture leads somewhere inside docs/, its anchor to a heading."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", text):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file() and DOCS in file.parents, target
        assert not anchor or anchor in anchors(file), target


def test_every_page_has_its_place():
    """The site's navigation has each page of docs/ once, what was tried (research/) is left out of it."""
    text = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r": ([\w/]+\.md)$", text, re.MULTILINE)
    there = {str(p.relative_to(DOCS).as_posix()) for p in DOCS.rglob("*.md")}
    assert sorted(named) == sorted(x for x in there if not x.startswith("research/"))
    assert all(p.name in {"index.md", "log.md", "recipe.md"} for p in (DOCS / "research").glob("*.md"))


def test_every_example_of_an_argument_is_accepted(desk, monkeypatch, make_args):
    """What stands on the page of the arguments can be given as it stands."""
    at(desk, monkeypatch)
    examples = [b.text for b in blocks("arguments.md", "text")]
    assert len(examples) > 20
    for text in examples:
        given = eval(f"dict({text.strip()})")
        read(make_args(**given))


def test_guide_answers_every_pain():
    """Sixteen numbered troubles, each with its own heading; every argument that is named exists."""
    text = (DOCS / "guide.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\d+)\. ", text, re.MULTILINE) == [str(i) for i in range(1, 17)]
    named = set(re.findall(r"`(distill_\w+|model_t|dfea|dlogit|drel|dline)\b", text))
    assert named and named <= {*DEFAULT_CFG_DICT, "distill_model"}  # which 8.3 lacks


def test_first_page_leads_to_every_other():
    """The site's first page names each page beside it."""
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    assert [p.name for p in DOCS.glob("*.md") if p.name != "index.md" and f"]({p.name})" not in text] == []


@pytest.mark.slow
def test_notebook(tmp_path, monkeypatch):
    """The notebook runs from end to end, here with fewer images and epochs."""
    cells = json.loads((DOCS / "first_run.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    small = code.replace("train=320, val=80", "train=16, val=8").replace('"epochs": 8', '"epochs": 1')
    monkeypatch.chdir(tmp_path)
    run_python(small.replace('"imgsz": 128', '"imgsz": 64'))
    folder = tmp_path / "runs/notebook"
    assert (folder / "comparison.png").is_file() and (folder / "distilled/distill.png").is_file()
