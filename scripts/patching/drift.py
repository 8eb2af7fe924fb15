# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""How the series fares on a list of releases: each ported and tried out, as a table and a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import PatchError, Repo
from .carry import CLEAN, CONFLICT, MOVED, THERE
from .pin import read_pin
from .port import make_port, try_out
from .series import read_series
from .swap import swap

TABLE, PICTURE = "drift.md", "drift.png"
COLOURS = {CLEAN: "#2e7d32", MOVED: "#a5d6a7", THERE: "#fdd835", CONFLICT: "#c62828"}


@dataclass(frozen=True)
class Row:
    """One release.

    Attributes:
        version (str): Its version.
        words (list[str]): What became of each patch.
        smoke (str): `passed`, `failed`, or `not run` where a patch needs a hand.
    """

    version: str
    words: list[str]
    smoke: str

    @property
    def needs_a_hand(self) -> bool:
        """(bool): Whether a maintainer has something to do."""
        return self.smoke != "passed"


def drift(repo: Repo, versions: list[str], folder: Path, log: Callable[[str], None] = print) -> list[Row]:
    """Port the series to each release in turn, and write `drift.md` and `drift.png`.

    Args:
        repo (Repo): The patch repository.
        versions (list[str]): The releases; `newest` may be among them.
        folder (Path): Where table and picture go.
        log (Callable[[str], None]): Takes one line a release.

    Returns:
        (list[Row]): One row a release, each release once.
    """
    rows: dict[str, Row] = {}
    for version in versions:
        port = make_port(repo, version)
        if port.pin.version in rows:
            continue
        smoke = "not run" if port.needs_a_hand else "passed" if try_out(port, lambda line: None) else "failed"
        rows[port.pin.version] = row = Row(port.pin.version, port.words, smoke)
        counts = ", ".join(f"{row.words.count(word)} {word}" for word in COLOURS if word in row.words)
        log(f"{row.version}: {counts}; smoke test {smoke}")
    titles = [patch.title for patch in read_series(repo)]
    made = list(rows.values())
    pin = read_pin(repo.patches / "upstream.toml").version
    log(summary(made))
    swap(folder, {TABLE: table(titles, made, pin).encode(), PICTURE: picture(titles, made)})
    return made


def summary(rows: list[Row]) -> str:
    """Say in one line how many releases need no hand."""
    fine = sum(not row.needs_a_hand for row in rows)
    return f"{fine} of {len(rows)} releases need no hand ({100 * fine / len(rows):.0f} percent)"


def table(titles: list[str], rows: list[Row], pin: str) -> str:
    """Write the table: patches downwards, releases across.

    Args:
        titles (list[str]): The patches.
        rows (list[Row]): The releases.
        pin (str): Version of the pin.

    Returns:
        (str): A Markdown page.
    """
    known = f", {pin} itself among them" if pin in [row.version for row in rows] else ""
    lines = [
        f"# The series for {pin} on other releases",
        "",
        f"{summary(rows)}{known}: the series ported to each by three-way merge, and the smoke",
        "test (train, stop, resume, open) run on the result. Made by",
        "",
        "```bash",
        f"python scripts/patchset.py drift {' '.join(row.version for row in rows)}",
        "```",
        "",
        f"![Each patch on each release]({PICTURE})",
        "",
        "| | " + " | ".join(row.version for row in rows) + " |",
        "|---" * (len(rows) + 1) + "|",
    ]
    for number, title in enumerate(titles):
        lines.append(f"| {title} | " + " | ".join(row.words[number] for row in rows) + " |")
    lines.append("| smoke test | " + " | ".join(row.smoke for row in rows) + " |")
    return "\n".join(lines) + "\n"


def picture(titles: list[str], rows: list[Row]) -> bytes:
    """Draw the table; return a PNG file."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
        from matplotlib.patches import Patch as Box
    except ImportError as error:
        raise PatchError("drift draws with matplotlib, which this Python lacks: pip install matplotlib.") from error
    shown = [*titles, "smoke test"]
    figure, axes = plt.subplots(figsize=(2.5 + 0.62 * len(rows), 1.6 + 0.32 * len(shown)), layout="constrained")
    smokes = {"passed": COLOURS[CLEAN], "failed": COLOURS[CONFLICT], "not run": "#e0e0e0"}
    for x, row in enumerate(rows):
        for y, colour in enumerate([*(COLOURS[word] for word in row.words), smokes[row.smoke]]):
            axes.add_patch(plt.Rectangle((x, y), 0.94, 0.9, color=colour))
    axes.set(xlim=(0, len(rows)), ylim=(len(shown), 0))
    axes.set_xticks([x + 0.47 for x in range(len(rows))], [row.version for row in rows], rotation=60, ha="right")
    axes.set_yticks([y + 0.45 for y in range(len(shown))], shown)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    labels = {CLEAN: "clean, passed", MOVED: MOVED, THERE: THERE, CONFLICT: "conflict, failed"}
    boxes = [Box(color=COLOURS[word], label=label) for word, label in labels.items()]
    boxes.append(Box(color=smokes["not run"], label="not run"))
    figure.legend(handles=boxes, loc="outside upper center", ncols=len(boxes), frameon=False)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120, metadata={"Software": None})
    plt.close(figure)
    return data.getvalue()
