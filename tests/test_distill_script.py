# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""`distill.py` from the outside: what it trains, what it leaves behind, and what it says where it cannot run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest

import demo
from ultralytics.distill.report import comparison

SCRIPT = Path(__file__).resolve().parent.parent / "distill.py"
TINY = ["imgsz=32", "epochs=1", "batch=4", "device=cpu", "plots=False", "verbose=False"]


def run(*line: str, script: Path = SCRIPT, cwd: Path, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Run the script and return what it said."""
    command = [sys.executable, *flags, str(script), *line]
    env = {**os.environ, "PYTHONPATH": str(cwd / "path"), "COLUMNS": "200"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


TOGETHER = pytest.mark.xdist_group("trained script")  # one process trains for all of them


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A drawn set of a few images with the two models' YAMLs beside it."""
    folder = tmp_path_factory.mktemp("demo")
    demo.prepare(folder, 64, train=8, val=4)
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> tuple[Path, str]:
    """A run that trains everything; its folder, and what it said."""
    cwd = tmp_path_factory.mktemp("cwd")
    (cwd / "mine.yaml").write_text(f"data: {data}/data.yaml\nmodel: {data}/student.yaml\nepochs: 7\ncompare: True\n")
    done = run("cfg=mine.yaml", f"teacher_model={data}/teacher.yaml", "distill_feat=mgd", *TINY, cwd=cwd)
    assert done.returncode == 0, done.stderr[-2000:]
    return cwd / "runs" / "distill" / "train", done.stdout + done.stderr


@TOGETHER
def test_trains_teacher_and_both_students(trained):
    """Without a teacher one is trained first; only the distilled student has its terms; the line wins over the file."""
    rows = {n: (trained[0] / n / "results.csv").read_text().splitlines() for n in ("teacher", "plain", "distilled")}
    assert all(len(x) == 2 for x in rows.values())
    assert [n for n, x in rows.items() if "dfea_loss" in x[0]] == ["distilled"]


@TOGETHER
def test_compares_what_it_trained(trained):
    """The table has the three models, on the screen and as CSV; the pictures show something."""
    folder, said = trained
    rows = [x.split(",") for x in (folder / "comparison.csv").read_text().splitlines()]
    assert rows[0] == ["model", "weights", "parameters", "GFLOPs", "ms", "mAP50-95", "mAP50"]
    assert [r[0] for r in rows[1:]] == ["teacher", "plain", "distilled"]
    assert int(rows[1][2]) > int(rows[2][2]) == int(rows[3][2])
    assert "distilled - plain" in said
    for name in ("comparison.png", "samples.png"):
        assert cv2.imread(str(folder / name)).std() > 10, f"{name} is empty"


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script as a module, in a folder of its own."""
    spec = importlib.util.spec_from_file_location("script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    return module


@pytest.fixture
def played(script, monkeypatch, tmp_path):
    """`played(line)`: the arguments of each training that the script asks for, and last what it compares."""
    runs = []

    class Model:
        def train(self, **run):
            runs.append(run)
            args = SimpleNamespace(
                model_t=run.get("model_t"), data=run["data"], imgsz=run["imgsz"], device=None, distill_int8=False
            )
            best = tmp_path / f"{run['name']}.pt"
            self.trainer = SimpleNamespace(args=args, best=best, last=best, save_dir=tmp_path / run["name"])

        def add_callback(self, *_):
            pass

    monkeypatch.setattr(demo, "prepare", lambda folder, imgsz: f"{folder}/data.yaml")
    monkeypatch.setattr("ultralytics.distill.runtime.open_model.open_model", lambda file: Model())
    monkeypatch.setattr(comparison, "compare", lambda models, data, *_: runs.append((list(models), data)))

    def play(*line):
        script.main(list(line))
        return runs

    return play


def test_the_demo_trains_all_three_on_what_it_drew(played, tmp_path):
    """Nothing edited and nothing given: teacher, student and the student alone get the drawn set, and compare it."""
    runs = played()
    assert [r["name"] for r in runs[:3]] == ["teacher", "distilled", "plain"]
    assert {r["data"] for r in runs[:3]} == {"runs/demo/data.yaml"} and runs[0]["epochs"] == 10
    assert runs[1]["model_t"] == str(tmp_path / "teacher.pt") and "model_t" not in runs[2]
    assert {"plain", "distilled"} <= set(runs[3][0]) and runs[3][1] == "runs/demo/data.yaml"


def test_takes_a_teacher_and_trains_only_the_student(played):
    """With a teacher and one's own data nothing but the distilled run is trained."""
    run, (models, data) = played("data=my.yaml", "model=s.yaml", "model_t=t.pt", *TINY)
    assert (run["name"], run["model"], run["model_t"], run["data"]) == ("distilled", "s.yaml", "t.pt", "my.yaml")
    assert models == ["distilled"] and data == "my.yaml"


def test_refuses_a_wrong_argument_before_anything_is_trained(script, tmp_path, capsys):
    """It is one sentence at once, not a traceback after the teacher's training."""
    with pytest.raises(SystemExit, match="2"):
        script.main(["distill_feat=cdw"])
    said = capsys.readouterr().err
    assert "'distill_feat=cdw' is unknown" in said and "Traceback" not in said and not list(tmp_path.iterdir())


def test_the_demo_needs_a_clone(script, tmp_path, monkeypatch):
    """A copy of the script beside an installed fork says what it lacks, before anything is trained."""
    monkeypatch.setattr(script, "__file__", str(tmp_path / "distill.py"))
    with pytest.raises(SystemExit, match="scripts/demo of a clone"):
        script.main([])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stock", [True, False], ids=["stock installed", "nothing installed"])
def test_names_the_command_that_installs_the_fork(stock, tmp_path):
    """In a tree that is not unpacked the one command is said; a stock Ultralytics is not even imported."""
    clone = tmp_path / "clone"
    (clone / "ultralytics" / "distill").mkdir(parents=True)
    (clone / "ultralytics" / "distill" / "__init__.py").touch()
    shutil.copy(SCRIPT, clone)
    if stock:
        (tmp_path / "path" / "ultralytics").mkdir(parents=True)
        (tmp_path / "path" / "ultralytics" / "__init__.py").write_text("raise SystemExit('stock was imported')\n")
    done = run(script=clone / "distill.py", cwd=tmp_path, flags=("-S",))  # -S: without this environment's packages
    assert done.returncode == 1
    assert f"pip install -e {clone}" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_runs_under_torchrun(data, tmp_path):
    """Two processes train all three together, into one folder; the comparison counts each image once."""
    line = [f"data={data}/data.yaml", f"model={data}/student.yaml", f"teacher_model={data}/teacher.yaml"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", str(SCRIPT)]
    done = subprocess.run(
        [*command, *line, "compare=True", *TINY],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [x.name for x in (tmp_path / "runs" / "distill").iterdir()] == ["train"]
    assert "distilled - plain" in done.stdout + done.stderr
    objects = sum(len(f.read_text().splitlines()) for f in (data / "labels" / "val").glob("*.txt"))
    counts = {int(x.split()[2]) for x in done.stdout.splitlines() if x.split()[:2] == ["all", "4"]}
    assert counts == {objects}
