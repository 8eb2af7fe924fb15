# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Tries a patched tree in a process of its own: import, and two steps of distilled training on drawn images.

Run as a script it is that process: `python alive.py FOLDER`, with the tree on the path.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ERROR = re.compile(r"[A-Za-z_.]+(Error|Exception|Interrupt)\b")
LIMIT = 600  # seconds; a minute is normal on a busy core
MODEL = """
nc: {nc}
backbone:
  - [-1, 1, Conv, [{c}, 3, 2]]
  - [-1, 1, Conv, [{c}, 3, 2]]
  - [-1, 1, C2f, [{c}, True]]
  - [-1, 1, Conv, [{c}, 3, 2]]
  - [-1, 1, Conv, [{c}, 3, 2]]
  - [-1, 1, Conv, [{c}, 3, 2]]
head:
  - [[3, 4, 5], 1, Detect, [nc]]
"""


def try_out(root: Path, plain: bool = False) -> None:
    """Train in a tree; `plain` without a teacher, as a tree without the series can.

    Raises:
        PatchError: If it does not import or train; the error's first line is the reason.
    """
    from . import NotAlive, PatchError  # not there where this file is run as a script

    reason = run(root, "-c", "import torch")
    if reason:
        raise PatchError(
            f"{sys.executable} cannot try the tree ({reason}): run this script with the Python that you train with, or "
            f"say --no-try; nothing was changed."
        )
    with tempfile.TemporaryDirectory(prefix="patchset-try-") as folder:
        copy = Path(folder) / "alive.py"  # away from the repository, whose own tree would be imported first
        copy.write_bytes(Path(__file__).read_bytes())
        reason = run(root, str(copy), folder, *["plain"] * plain)
    if reason:
        which = "the tree itself, without the series, does not train" if plain else "the tree does not train"
        raise NotAlive(
            f"{which} with {sys.executable}: {reason} Nothing was changed; run this script with the Python that you "
            f"train with, or say --no-try."
        )


def run(root: Path, *line: str) -> str:
    """Run Python with a tree on its path; return the error's first line and place if it fails."""
    with tempfile.TemporaryDirectory(prefix="patchset-try-") as folder:
        env = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root.resolve()), env.get("PYTHONPATH"))))
        env.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_CONFIG_DIR=folder)
        env.update(MPLBACKEND="Agg", PYTHONDONTWRITEBYTECODE="1")
        try:
            done = subprocess.run([sys.executable, *line], cwd=folder, env=env, timeout=LIMIT, capture_output=True)
        except subprocess.TimeoutExpired:
            return f"it was not done after {LIMIT} seconds."
    said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
    error = next((x for x in reversed(said) if ERROR.match(x)), said[-1])
    places = [text.strip() for text in said if text.lstrip().startswith("File ") and str(root) in text]
    return f"{error} ({places[-1] if places else 'no line of it'})." if done.returncode else ""


def main(folder: Path, plain: bool = False) -> None:
    """Train a small model with another one as its teacher, twice four images, and look at what came of it.

    Raises:
        AssertionError: If the teacher taught nothing, or the checkpoint is not plain.
    """
    import numpy as np
    import torch
    from PIL import Image

    from ultralytics import YOLO

    random = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for number in range(8):
        image = Image.fromarray(random.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        image.save(folder / f"images/{number}.jpg")
        (folder / f"labels/{number}.txt").write_text(f"{number % 2} 0.5 0.5 0.4 0.4\n")
    data, student, teacher = (folder / name for name in ("data.yaml", "student.yaml", "teacher.yaml"))
    data.write_text(f"path: {folder.as_posix()}\ntrain: images\nval: images\nnames: {{0: a, 1: b}}\n")
    student.write_text(MODEL.format(nc=2, c=16))
    teacher.write_text(MODEL.format(nc=2, c=32))
    options = {"epochs": 1, "batch": 4, "imgsz": 64, "device": "cpu", "workers": 0, "plots": False, "amp": False}
    options.update(project=str(folder), name="run", exist_ok=True, val=True)
    ours = {} if plain else {"model_t": YOLO(str(teacher)), "distill_feat": "cwd"}
    YOLO(str(student)).train(data=str(data), **ours, **options)
    if plain:
        return
    head, row = (
        [x.strip() for x in line.split(",")] for line in (folder / "run/results.csv").read_text().splitlines()[:2]
    )
    terms = {name: float(value) for name, value in zip(head, row) if "dfea" in name or "dlogit" in name}
    taught = terms.get("train/dfea_loss", 0) > 0 and all(math.isfinite(x) for x in terms.values())
    assert taught, f"the teacher taught nothing: {terms}"
    saved = torch.load(str(folder / "run/weights/last.pt"), map_location="cpu", weights_only=False)
    assert saved and "distill" not in saved, "the final checkpoint holds the distiller"


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), plain="plain" in sys.argv[2:])
