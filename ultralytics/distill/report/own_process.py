# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Runs a report in a process that does not know of a launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

RUN = "import importlib, json, sys; m, f, a = json.loads(sys.argv[1]); getattr(importlib.import_module(m), f)(*a)"


def run_in_subprocess(function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function in a process of its own; upstream's validators would wait for every process of the launcher.

    Args:
        function (Callable): A module's function.
        *arguments (Any): What JSON can hold.
    """
    call = json.dumps([function.__module__, function.__name__, arguments])
    env = {k: v for k, v in os.environ.items() if k not in {"RANK", "LOCAL_RANK", "WORLD_SIZE"}}
    env["PYTHONPATH"] = os.pathsep.join(x for x in sys.path if x)
    subprocess.run([sys.executable, "-c", RUN, call], env=env, check=True)
