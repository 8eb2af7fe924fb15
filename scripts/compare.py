r"""Does it help? Trains a student plain, natively distilled and with our terms, seed by seed, and compares.

    python scripts/compare.py --data my.yaml --student yolo26n.pt --teacher best.pt --seeds 0 1 2 \
        --ours "" "distill_feat=none" "dfea=0.5" --args epochs=100 imgsz=640 --results docs/results/mine.csv

For each seed all methods start from the same weights and see the same images in the same order: the start weights are
built once and saved, and all generators are seeded by seed, epoch and batch. `seen` in a row is a checksum of what a
run saw; a table says where they differ. Accuracy is that of the last checkpoint's EMA weights, chosen on nothing.

Each run is a process of its own and ends as a row of the CSV; what has a row is not run again, and a run that was
stopped in the middle goes on from its last epoch. Beside the CSV stand the table (.txt, .md, -table.csv) and a figure.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from comparing import figure, rows, table
from comparing.plan import Plan, Run
from ultralytics.distill.files import write_whole
from ultralytics.distill.script import command


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="YAML or folder, as `data=` takes it")
    parser.add_argument("--student", help="YAML for random weights, checkpoint for fine-tuning")
    parser.add_argument("--teacher", help="trained checkpoint")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="*", default=["plain", "native"], choices=["plain", "native"], metavar="M")
    parser.add_argument(
        "--ours", nargs="*", default=[""], metavar="'KEY=VALUE ...'", help='sets of arguments; "" is model_t alone'
    )
    parser.add_argument("--args", nargs="*", default=[], metavar="KEY=VALUE", help="training arguments of all runs")
    parser.add_argument("--split", default="val", choices=["val", "test"], help="what the final accuracy is taken on")
    parser.add_argument("--curve", action="store_true", help="validate each epoch too, for the `curve` column")
    parser.add_argument("--results", type=Path, default=Path("runs/compare/results.csv"), metavar="FILE.csv")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="of the runs; default: runs/compare/NAME")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run")
    parser.add_argument("--table", action="store_true", help="train nothing: table and figure of --results")
    options = parser.parse_args(argv)
    if not options.table and not (options.data and options.student and options.teacher):
        parser.error("give --data, --student and --teacher; or --table for the rows that are there")
    if options.results.suffix != ".csv":
        parser.error(f"--results {options.results}: give the name of a .csv file")
    if options.jobs < 1 or options.threads < 1:
        parser.error(f"--jobs {options.jobs} --threads {options.threads}: both are at least 1")
    runs = options.runs or Path("runs/compare") / options.results.stem
    options.runs = runs.resolve()  # a relative project of upstream's lies in its own folder of runs
    return options


def report(file: Path, pictures: bool = True) -> str:
    """Write the tables and figures of a CSV beside it.

    Args:
        file (Path): The rows.
        pictures (bool): Whether to draw figures too.

    Returns:
        (str): The tables as text.
    """
    texts, pages = [], []
    sheets: list[list[str]] = []
    for i, (key, some) in enumerate(rows.groups(rows.read(file)).items()):
        cells, notes = table.cells(some), table.remarks(some)
        head = table.title(key)
        texts.append("\n".join([head, "", table.as_text(cells), *notes]))
        commands = "".join(f"{c}\n" for c in dict.fromkeys(r["command"] for r in some))
        listed = "".join(f"\n- {n}" for n in notes) + "\n" * bool(notes)
        name = f"{file.stem}{f'-{i + 1}' if i else ''}.png"
        picture = f"![Seeds, means and intervals]({name})\n\n" if pictures else ""
        pages.append(f"## {head}\n\n{table.as_markdown(cells)}\n{listed}\n{picture}```bash\n{commands}```\n")
        sheets += [["comparison", *cells[0]]] * (not sheets) + [[head, *row] for row in cells[1:]]
        if pictures:
            figure.draw(some, head, file.with_name(name))
    write_whole(file.with_suffix(".txt"), ("\n\n".join(texts) + "\n").encode())
    write_whole(file.with_suffix(".md"), "\n".join([f"# {file.stem.capitalize()}\n", *pages]).encode())
    write_whole(file.with_name(f"{file.stem}-table.csv"), table.as_csv(sheets).encode())
    return "\n\n".join(texts)


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
    sets = [("ours " + text).strip() for text in options.ours]
    runs = [Run(m, s, _terms(m, options)) for s in options.seeds for m in (*options.methods, *dict.fromkeys(sets))]
    signal.signal(signal.SIGTERM, stop)
    try:
        plan = Plan(options, given, f"python scripts/compare.py {shlex.join(argv)}")
        failed = plan.go(runs)
    except ValueError as e:
        sys.exit(f"error: {e}")
    except KeyboardInterrupt:
        sys.exit("stopped: the same command goes on from each run's last epoch")
    if rows.read(options.results):
        print(f"\n{report(options.results)}\n\nSaved beside {options.results}")
    return 1 if failed else 0


def _terms(method: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a method adds to the training arguments."""
    if method == "plain":
        return {}
    if method == "native":
        return {"distill_model": options.teacher}
    return {"model_t": options.teacher, **command.read_line(shlex.split(method[4:]))}


if __name__ == "__main__":
    sys.exit(main())
