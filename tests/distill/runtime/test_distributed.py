"""Two real processes on CPU."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from answer_files import write_labels_as_answers
from lines import needs_84
from short_run import BASE, options, rows
from small_models import NAMES

from ultralytics import YOLO
from ultralytics.utils.dist import find_free_network_port

HERE = Path(__file__).parents[1]
pytestmark = needs_84("does not train under torchrun on a CPU")


def torchrun(script, *args, nodes=(), timeout=240):
    """Run a script of this folder in two processes; return the finished process."""
    where = nodes or ["--nproc_per_node", "2", "--master_port", str(find_free_network_port())]
    line = [sys.executable, "-m", "torch.distributed.run", *where, str(HERE / script), json.dumps(args)]
    return subprocess.run(line, capture_output=True, text=True, timeout=timeout)


CASES = {
    "offline": ({"distill_feat": "[cwd,sl2]"}, False, 1),
    "online": ({"distill_online": True, "distill_rel": "sp"}, False, 1),
    "accumulated": ({"distill_feat": "mimic", "distill_logit": "[bckd,ld,giou]"}, False, 2),
    "joined": ({"distill_feat": "[mimic(norm=none),cosine]", "distill_logit": None}, False, 1, True),
    "balanced": ({"distill_balance": "ratio(share=0.3)"}, True, 1),
    "without objects": ({"distill_online": True, "distill_alpha": 0.5}, True, 1),
}


@pytest.fixture(scope="module")
def probed():
    """What one launch of two processes found for each case."""
    done = torchrun("distributed_probe.py", CASES)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"case"')]
    return {x["case"]: x for x in found}


@pytest.mark.xdist_group("probed")  # one process launches for all of them
@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_one_process(name, probed):
    """Student, our layers and an online teacher get the gradients of one process that adds both shards' losses."""
    said = probed[name]
    assert said["worst"] < 1e-5 and said["count"] > 100
    assert "student" in said["parts"] and ("teacher" in said["parts"]) == ("online" in str(CASES[name][0]))


@pytest.mark.xdist_group("probed")
def test_the_margin_is_that_of_all_processes(probed):
    """Unlike batches, one without labels: each process holds the margin of both batches, and the same after resume.

    The oracle is one process: fits of (0.25, 1) in one process and of (1, 1) in the other are 0.375 ahead on average,
    and where the second has no labels the first speaks alone.
    """
    said = probed["margin"]
    assert said["both"] == pytest.approx([0.375, 0.375]) and said["one empty"] == pytest.approx([0.75, 0.75])
    assert said["weights"][0] == said["weights"][1] == pytest.approx(0.75)
    assert said["resumed"][0] == said["resumed"][1] and said["resumed"][0] != said["weights"][0]


@pytest.mark.xdist_group("probed")
def test_the_balance_is_that_of_all_processes(probed):
    """Unlike losses: each process has the factor of both losses' means, and the same after resume as without.

    Task losses of 2 and 6 and terms of 3 and 1 are 4 and 2 on average, so half of the task loss is 1 x the terms; then
    come means of 5 and 2, weighed 0.02 against 0.98 x 0.02 of the first.
    """
    said, (task, terms) = probed["balance"], (0.98 * 4 + 5, 0.98 * 2 + 2)
    assert said["factors"] == pytest.approx([1.0, 1.0])
    assert said["goes on"] == said["resumed"] == pytest.approx([0.5 * task / terms] * 2)


@pytest.mark.xdist_group("probed")
def test_a_step_fails_in_all_processes_or_in_none(probed):
    """A failure before or after a collective inside, in one process or in both; then the next step is as any other."""
    said = probed["together"]
    assert said["none"] == [3, 3]
    for when in ("before", "after"):
        assert said[when] == [f"{when} (in process 1 of 2)"] * 2
    assert said["both"] == ["ready (in process 0 of 2)"] * 2 and said["again"] == [3, 3]


def test_training_and_resume(data_yaml, teacher_pt, student_yaml, tmp_path):
    """Multi-scale, accumulation, an online teacher: both ranks end with the same weights in one folder, resumed too.

    In the first run one rank fails alone in the first look, in the online teacher's validation and in the report: each
    is said and costs the run nothing; no rank waits for the other.
    """
    notes = tmp_path / "notes"
    notes.mkdir()
    more = {"multi_scale": 0.5, "distill_online": True, "distill_feat": "cwd", "save_period": 1}
    more |= {"distill_check": True, "plots": True}
    more |= {"unlabeled": str(data_yaml.parent / "images/val"), "batch": 8, "nbs": 16}
    arguments = options(data_yaml, tmp_path, epochs=3, model_t=str(teacher_pt), **more)
    del arguments["exist_ok"]  # so that a rank of its own would count up to another name
    done = torchrun("distributed_run.py", str(student_yaml), arguments, str(notes), "spoil")
    assert done.returncode == 0, done.stderr[-3000:]
    for sentence in (
        " is not measured: spoiled for a test (in process 0 of 2)",
        "teacher_last.pt is saved, but not validated: spoiled for a test (in process 1 of 2)",
        "the report is not whole: spoiled for a test",
    ):
        assert (done.stdout + done.stderr).count(sentence) == 1, sentence
    said = [json.loads((notes / f"{r}.json").read_text()) for r in (0, 1)]
    parts = [x.pop("part") for x in said]
    assert said[0] == said[1] and said[0]["folder"] == str(tmp_path / "run") and said[0]["plain"]  # under DDP too
    assert said[0]["images"] == 2  # 8 images, batch 8: each rank takes 2 of them a step and 2 without labels
    assert said[0]["drawn"] == 3 * 2 * 2 and parts == [[0, 2], [1, 2]]
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("run")] == ["run"]
    assert len(rows(tmp_path)) == 4  # the last epoch twice
    assert YOLO(tmp_path / "run/weights/teacher_last.pt").model
    said = [json.loads((notes / f"{r}-resumed.json").read_text()) for r in (0, 1)]
    assert [x.pop("part") for x in said] == parts and said[0] == said[1]
    assert said[0]["drawn"] == 3 * 2 * 2  # two epochs before it was interrupted, and the last


def test_killed_rank_ends_the_run(data_yaml, student_yaml, tmp_path):
    """A rank that dies ends the run with an error within a minute; its teacher is a file, which both ranks read."""
    path = write_labels_as_answers(data_yaml, "detect", tmp_path / "a.jsonl", names=NAMES)
    arguments = options(data_yaml, tmp_path, epochs=50, model_t=str(path), mosaic=1.0)
    start = time.monotonic()
    done = torchrun("distributed_run.py", str(student_yaml), arguments, str(tmp_path), "kill", timeout=90)
    said = done.stderr + done.stdout
    assert done.returncode != 0 and "SIGKILL" in said.upper()
    assert said.count("a.jsonl has answers for 8 of 8 training images") == 1
    assert time.monotonic() - start < 75


def test_upstreams_own_launch(data_yaml, teacher_pt, student_yaml, tmp_path):
    """As `device=0,1` launches it: the parent deletes the folder, saves the live teacher, and starts the workers."""
    teacher = YOLO(teacher_pt).model
    del teacher.pt_path
    model = YOLO(student_yaml)

    def launch(trainer):
        trainer.ddp, trainer.world_size = True, 2  # what two GPUs in `device=` would set

    model.add_callback("on_pretrain_routine_start", launch)
    pytest.importorskip("cloudpickle", reason="upstream's launch needs cloudpickle: pip install cloudpickle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ultralytics.engine.trainer.BaseTrainer.train", _launch(launch))
        model.train(**options(data_yaml, tmp_path, model_t=teacher))
    assert (tmp_path / "run/weights/teacher.pt").exists() and (tmp_path / "run/weights/last.pt").exists()
    assert len(rows(tmp_path)) == 1


def _launch(prepare):
    """Return upstream's `train` with the world set first; the workers read theirs from the launcher."""
    from ultralytics.engine.trainer import BaseTrainer

    train = BaseTrainer.train

    def run(self):
        self.callbacks["on_pretrain_routine_start"] = []
        prepare(self)
        return train(self)

    return run


@pytest.fixture
def two_nodes():
    """Two network namespaces joined by a veth pair: two hosts on one machine."""
    if not shutil.which("ip") or os.geteuid():
        pytest.skip("two nodes need root and the command 'ip' (package iproute2)")
    names, made = ["distill-a", "distill-b"], []
    ends = [f"{n}-eth" for n in names]
    try:
        for name in names:
            if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
                pytest.skip("this machine does not allow network namespaces")
            made.append(name)
        link = [
            "ip",
            "link",
            "add",
            ends[0],
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            ends[1],
            "netns",
            names[1],
        ]
        if subprocess.run(link, capture_output=True).returncode:
            pytest.skip("this machine does not allow veth pairs")
        for i, (name, end) in enumerate(zip(names, ends), 1):
            inside = ["ip", "-n", name]
            for words in (
                ["addr", "add", f"10.77.0.{i}/24", "dev", end],
                ["link", "set", end, "up"],
                ["link", "set", "lo", "up"],
            ):
                subprocess.run([*inside, *words], check=True)
        yield list(zip(names, ends))
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.mark.slow
def test_two_nodes(two_nodes, data_yaml, teacher_pt, student_yaml, tmp_path):
    """`--nnodes 2` over a network with a shared folder: one folder of results, the same weights on both nodes."""
    notes = tmp_path / "notes"
    notes.mkdir()
    arguments = options(data_yaml, tmp_path, epochs=2, model_t=str(teacher_pt), distill_feat="cwd")
    del arguments["exist_ok"]
    given = json.dumps([str(student_yaml), arguments, str(notes), ""])
    running = []
    for i, (name, end) in enumerate(two_nodes):
        where = ["--nnodes", "2", "--nproc_per_node", "1", "--node_rank", str(i)]
        where += ["--master_addr", "10.77.0.1", "--master_port", "29400"]
        line = [sys.executable, "-m", "torch.distributed.run", *where, str(HERE / "distributed_run.py"), given]
        env = {**os.environ, "GLOO_SOCKET_IFNAME": end}
        running.append(
            subprocess.Popen(["ip", "netns", "exec", name, *line], env=env, stderr=subprocess.PIPE, text=True)
        )
    for process in running:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said[-3000:]
    found = [json.loads((notes / f"{r}.json").read_text()) for r in (0, 1)]
    assert found[0] == found[1] and found[0]["folder"] == str(tmp_path / "run") and len(rows(tmp_path)) == 2


@pytest.mark.slow
def test_the_script_under_torchrun(data_yaml, student_yaml, tmp_path):
    """`torchrun --nproc_per_node 2 distill.py device=cpu ...` trains a teacher and a student one after the other."""
    where = ["--nproc_per_node", "2", "--master_port", str(find_free_network_port())]
    words = {**BASE, "data": data_yaml, "project": tmp_path, "model": student_yaml, "teacher_model": student_yaml}
    given = [f"{k}={v}" for k, v in words.items()]
    line = [sys.executable, "-m", "torch.distributed.run", *where, str(HERE.parents[1] / "distill.py"), *given]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [p.name for p in tmp_path.iterdir()] == ["train"]
    assert {"teacher", "distilled", "comparison.csv", "samples.png"} <= {p.name for p in (tmp_path / "train").iterdir()}
