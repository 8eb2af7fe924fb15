r"""Does it help? Trains a student plain, natively distilled and with our terms, seed by seed, and compares.

    python scripts/compare.py --data my.yaml --student yolo26n.pt --teacher best.pt --seeds 0 1 2 \
        --ours "" "distill_feat=none" "dfea=0.5" --args epochs=100 imgsz=640 --results docs/results/mine.csv

For each seed all methods start from the same weights and see the same images in the same order: the start weights are
built once and saved, and all generators are seeded by seed, epoch and batch. `seen` in a row is a checksum of what a
run saw; a table says where they differ. The metrics are those of the last checkpoint's EMA weights, chosen on nothing;
`score` is the median of the last five epochs' validations. A sentence for each method says gain, loss or not told apart
and how many more seeds would tell, and one what there was to win; rows of several data sets in one file are pooled.

With few labels, and with images that have none (the rest of the training set, its images/unlabeled, and --unlabeled):

    python scripts/compare.py --data my.yaml --student yolo26n.pt --teacher best.pt --labels 0.1 0.25 0.5 1 \
        --methods plain pseudo --ours "" "unlabeled=rest" --args epochs=100 imgsz=640 --results few.csv

Each seed draws its images, the same for all methods, and all runs take as many steps. `pseudo` is a plain training with
the teacher's boxes over confidence 0.5 as labels of the rest. A teacher trained on the same few labels is given as a
pattern, --teacher "few-{labels}-{seed}.pt"; --lists writes the data YAML to train each of them on, and stops.

Each run is a process of its own and ends as a row of the CSV; what has a row is not run again, and a run that was
stopped in the middle goes on from its last epoch. Beside the CSV stand a page (.md) with the tables, and figures.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tables
from comparing import figure, rows, shares, table, verdict
from comparing.plan import OURS, TEACHERS, Plan
from comparing.run import PSEUDO, Run
from ultralytics.distill.runtime.checkpoints import write_whole
from ultralytics.distill.script import command
from ultralytics.distill.upstream import INT8, missing_packages

CHOICES = ["plain", "native", PSEUDO]


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="YAML or folder, as `data=` takes it")
    parser.add_argument("--student", help="YAML for random weights, checkpoint for fine-tuning")
    parser.add_argument("--teacher", help="trained checkpoint; {labels} and {seed} stand for those of a run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--methods", nargs="*", default=CHOICES[:2], choices=CHOICES, metavar="M", help=f"of: {' '.join(CHOICES)}"
    )
    parser.add_argument(
        "--ours", nargs="*", default=[""], metavar="'KEY=VALUE ...'", help='sets of arguments; "" is model_t alone'
    )
    parser.add_argument("--args", nargs="*", default=[], metavar="KEY=VALUE", help="training arguments of all runs")
    parser.add_argument("--labels", type=float, nargs="+", default=[1.0], help="shares of the images with labels")
    parser.add_argument("--unlabeled", nargs="*", default=[], metavar="FOLDER", help="more images without labels")
    parser.add_argument("--lists", action="store_true", help="write the lists of images of --labels, and stop")
    parser.add_argument("--split", default="val", choices=["val", "test"], help="what the final accuracy is taken on")
    parser.add_argument("--curve", action="store_true", help="validate each epoch too, for the `curve` column")
    parser.add_argument("--int8", action="store_true", help="measure each student as an INT8 export too")
    parser.add_argument("--results", type=Path, default=Path("runs/compare/results.csv"), metavar="FILE.csv")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="of the runs; default: runs/compare/NAME")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run")
    parser.add_argument("--table", action="store_true", help="train nothing: table and figure of --results")
    options = parser.parse_args(argv)
    needed = (
        [] if options.table else [options.data] if options.lists else [options.data, options.student, options.teacher]
    )
    if not all(needed):
        parser.error("give --data, --student and --teacher; or --table for the rows that are there")
    if options.int8 and (absent := missing_packages(INT8.packages)):
        parser.error(f"--int8 needs packages: pip install {' '.join(absent)}")
    if missing_packages(["scipy"]):
        parser.error(table.NEEDED)
    if options.results.suffix != ".csv":
        parser.error(f"--results {options.results}: give the name of a .csv file")
    if options.jobs < 1 or options.threads < 1:
        parser.error(f"--jobs {options.jobs} --threads {options.threads}: both are at least 1")
    if bad := [x for x in options.labels if not 0 < x <= 1]:
        parser.error(f"--labels {bad[0]:g}: give shares above 0, at most 1")
    runs = options.runs or Path("runs/compare") / options.results.stem
    options.runs = runs.resolve()  # a relative project of upstream's lies in its own folder of runs
    return options


def report(file: Path) -> str:
    """Write the tables of a CSV beside it as Markdown, and their figures; return the tables as text."""
    found, texts, pages = rows.groups(rows.read(file)), [], []
    for name, (key, some) in zip(table.pictures(file.stem, list(found)), found.items()):
        head, cells, notes = table.title(key), table.cells(some), [*verdict.sentences(some), *table.remarks(some)]
        texts.append("\n".join([head, "", tables.text(cells, table.LEFT), *notes]))
        picture, commands = f"![Seeds, means and intervals]({name})", dict.fromkeys(r["command"] for r in some)
        code = "\n".join(["```bash", *commands, "```"])
        parts = [f"## {head}", tables.markdown(cells, table.LEFT), *_items(notes), picture, code]
        pages.append("\n\n".join(parts))
        figure.draw(some, head, file.with_name(name))
    for i, (head, some) in enumerate(shares.sort(rows.read(file)).items()):
        name, notes = f"{file.stem}-labels{f'-{i + 1}' if i else ''}.png", shares.sentences(some)
        texts.append("\n".join([head, "", *notes]))
        pages.append("\n\n".join([f"## {head}", f"![Accuracy over the share of the labels]({name})", *_items(notes)]))
        shares.draw(some, head, file.with_name(name))
    if several := verdict.pooled(found):
        texts.append("\n".join(["All data sets", "", *several]))
        pages.append("\n\n".join(["## All data sets", *_items(several)]))
    page = "\n\n".join([f"# {file.stem.capitalize()}", *pages])
    write_whole(file.with_suffix(".md"), f"{page}\n".encode())
    return "\n\n".join(texts)


def _items(notes: list[str]) -> list[str]:
    """Return notes as a Markdown list, none for none."""
    return ["\n".join(f"- {n}" for n in notes)] if notes else []


def stop(*_: Any) -> None:
    """Let a request to end be an interruption, so that the runs are ended too."""
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    if options.table:
        if not rows.read(options.results):
            sys.exit(f"error: '--results {options.results}' has no rows; train first.")
        print(report(options.results))
        return 0
    given = command.read_line(options.args)
    methods = [*options.methods, *dict.fromkeys(("ours " + text).strip() for text in options.ours)]
    signal.signal(signal.SIGTERM, stop)
    try:
        runs = [_run(m, s, x, options) for s in options.seeds for x in dict.fromkeys(options.labels) for m in methods]
        plan = Plan(options, given, f"python scripts/compare.py {shlex.join(argv)}")
        if options.lists:
            print("\n".join(map(str, plan.lists(runs))))
            return 0
        failed = plan.go(runs)
    except ValueError as e:
        sys.exit(f"error: {e}")
    except KeyboardInterrupt:
        sys.exit("stopped: the same command goes on from each run's last epoch")
    if rows.read(options.results):
        print(f"\n{report(options.results)}\n\nSaved beside {options.results}")
    return 1 if failed else 0


def _run(method: str, seed: int, labels: float, options: argparse.Namespace) -> Run:
    """Return a run: what a method adds to the training arguments, and in its name where other images are from.

    Raises:
        ValueError: If a method sets what is the comparison's to set.
    """
    terms: dict[str, Any] = {}
    if method == "native":
        terms = {"distill_model": options.teacher}
    elif method.startswith("ours"):
        own = command.read_line(shlex.split(method[4:]))
        if bad := sorted((OURS | TEACHERS) & set(own)):
            instead = "give it as --teacher, in a comparison of its own" if bad[0] in TEACHERS else "leave it out"
            raise ValueError(f"'--ours {bad[0]}={own[bad[0]]}' is not for one method to set; {instead}.")
        terms = {"model_t": options.teacher, **own}
    run = Run(method, seed, terms, labels)
    return replace(run, method=" +".join([method, *options.unlabeled])) if run.uses_rest else run


if __name__ == "__main__":
    sys.exit(main())
