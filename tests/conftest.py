# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What holds for all tests: the fork and not stock is what runs, without network, away from the user's settings."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

# Read when upstream is imported, so they are set before any test module; runs in subprocesses inherit them.
os.environ["YOLO_OFFLINE"] = "true"
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="yolo-config-")
os.environ["OMP_NUM_THREADS"] = "1"  # upstream's own default for training; two processes run the tests
os.environ.setdefault("MPLBACKEND", "Agg")
atexit.register(shutil.rmtree, os.environ["YOLO_CONFIG_DIR"], ignore_errors=True)


def pytest_collection_finish() -> None:
    """Leave what was imported out of garbage collections, which upstream asks for several times a training."""
    gc.collect()
    gc.freeze()


def fork_is_here() -> bool:
    """Return whether `import ultralytics` gives the fork.

    Before the tree is unpacked the folder here has no `__init__.py`, and then an installed stock ultralytics is
    imported without a word: asking for our package inside it is the only test that tells.
    """
    spec = importlib.util.find_spec("ultralytics")
    return spec is not None and spec.origin is not None and (Path(spec.origin).parent / "distill/__init__.py").is_file()


if not fork_is_here():  # at import, before another conftest runs into it; pytest.exit() would print a traceback here
    sys.exit("This is stock Ultralytics or nothing, not the fork: run `pip install -e .` in the repository first.")
