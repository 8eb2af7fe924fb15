"""Writes docs/arguments.md from Ultralytics' default.yaml: each argument of the distillation with an example.

    python scripts/arguments.py

Type, default and meaning are those of default.yaml; what it has no room for, and the example, stand here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ultralytics.utils import DEFAULT_CFG_PATH

PAGE = Path(__file__).resolve().parents[1] / "docs/arguments.md"
FIRST, LAST = "model_t", "distill_int8"
HEAD = """# Arguments

`model_t` alone is a whole recipe. The others are for those who want another one. All of them stand beside Ultralytics'
own arguments: in `train(...)`, on the command line, in a `cfg` file, or at the top of `distill.py`. This page is made
from `default.yaml` by `python scripts/arguments.py`.

The examples are Python. They also work on the command line as they stand, where the quotes are for the shell.
"""
TAIL = """
## Older spellings

Spellings of older tutorials and forks still work, with one line that names the new one: `Distillation=` and `teacher=`
are `model_t=`; `loss_type=`, `distill_feat_type=` and `distillation_loss=` are `distill_feat=`; `distillonline=` is
`distill_online=`; `logit_loss=True` is `distill_logit=mse`. Ultralytics' own `distill_model=` and `dis=` are untouched.
"""
# An example, and what the comment in default.yaml does not say.
MORE = {
    "model_t": (
        'model_t="teacher.pt"',
        "A module may be any `nn.Module` that returns maps, class logits or boxes "
        "([other libraries](other_libraries.md)). `answers.jsonl` is what a teacher [has left behind](answers.md). "
        "How to choose one: [choose a teacher](teacher.md).",
    ),
    "unlabeled": ('unlabeled="field/images"', "[Images without labels](unlabeled.md)."),
    "unlabeled_share": ("unlabeled_share=0.25", ""),
    "distill_feat": (
        'distill_feat="[auto,pkd]"',
        "`auto` takes one, `cwd`, where predictions cannot be compared. `[auto, pkd]` is the recipe and one more. "
        "All names: [losses](losses.md).",
    ),
    "distill_layers": (
        'distill_layers="[[15,15],[18,18]]"',
        "`[15, 18, 21]` are layers of both models; a pair is (student, teacher).",
    ),
    "distill_logit": (
        'distill_logit="[relative,ld]"',
        "`auto` takes [what suits the task](losses.md): detect, segment, pose, obb, classify, semantic or depth.",
    ),
    "distill_rel": ('distill_rel="sp"', "Relation terms want large batches."),
    "distill_online": ("distill_online=True", "Also called online distillation: a jointly trained teacher."),
    "dfea": ("dfea=2", "A list where the terms are a list, `[1, 6]`. 0 takes a kind out of the recipe."),
    "dlogit": ("dlogit=0.5", ""),
    "drel": ("drel=0.1", ""),
    "dline": ("dline=0.5", ""),
    "distill_tau": ("distill_tau=2", "`auto` keeps each loss's own."),
    "distill_alpha": (
        "distill_alpha=0.8",
        "The rest of the target is the labels. Boxes follow the teacher alone.",
    ),
    "distill_schedule": ('distill_schedule="cosine(end=0.1)"', ""),
    "distill_stop": ("distill_stop=10", "Fewer than `epochs`."),
    "distill_balance": (
        'distill_balance="ratio(share=0.5)"',
        "More in [how large is a term](losses.md#how-large-is-a-term).",
    ),
    "distill_module": (
        'distill_module="mydistiller:Direction(gain=2)"',
        "How to write one: [your own distiller](own_distiller.md).",
    ),
    "distill_imgsz": ("distill_imgsz=1280", ""),
    "distill_mean": ('distill_mean="[0.485,0.456,0.406]"', "For a teacher of another library."),
    "distill_std": ('distill_std="[0.229,0.224,0.225]"', ""),
    "distill_precision": (
        'distill_precision="fp32"',
        "`auto` takes 16 bits where the device multiplies them natively.",
    ),
    "distill_check": (
        "distill_check=False",
        "Up to 256 images. A teacher that is no better than the student's start, or than chance, gets a warning.",
    ),
    "distill_int8": (
        "distill_int8=True",
        "It needs the packages `onnx`, `onnxruntime` and `onnxslim` (on Ultralytics 8.3 `openvino` and `nncf`).",
    ),
}


class Argument(NamedTuple):
    """One line of default.yaml: a name, the default as written there or `none`, the types it takes, and the comment."""

    name: str
    default: str
    kinds: str
    meaning: str


def read(file: Path | str = DEFAULT_CFG_PATH) -> list[Argument]:
    """Return the arguments of the distillation, in the order of default.yaml."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    found = [re.match(r"(\w+):\s*([^#]*?)\s*# \(([^)]*)\) (.*)", line) for line in lines]
    all_ = [Argument(m[1], m[2] or "none", m[3], m[4]) for m in found if m]
    names = [a.name for a in all_]
    return all_[names.index(FIRST) : names.index(LAST) + 1]


def page() -> str:
    """Return the page as Markdown.

    Raises:
        KeyError: If an argument has no example here.
    """
    parts = [HEAD]
    for a in read():
        example, more = MORE[a.name]
        known = a.meaning.startswith(a.default)  # a value is spelled as it is given
        meaning = (a.meaning if known else a.meaning[0].upper() + a.meaning[1:]) + "."
        parts.append(f"## {a.name}\n\n{meaning}{' ' * bool(more)}{more}\n")
        parts.append(f"Type: {a.kinds}. Default: `{a.default}`.\n\n```text\n{example}\n```\n")
    return "\n".join(parts) + TAIL


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Written: {PAGE}")
