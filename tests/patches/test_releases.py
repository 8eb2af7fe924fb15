# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The series on releases of Ultralytics, from their wheels: it goes in, it trains, it comes out again to the byte.

Old releases import what newer ones do not; docs/versions.md says which packages, and how to run this with them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from patching import Repo, target
from patching.wheel import obtain_release, read_wheel
from toy import snapshot

REPO = Repo(Path(__file__).resolve().parents[2])
LAUNCHER, CHECKPOINTS = "join-launcher", "write-checkpoints-whole"
LEFT_OUT = {  # each 50th of 8.3 and each 30th of 8.4, the demo's tree (8.2.64), and what cannot go in there
    **dict.fromkeys(("8.0.200", "8.1.0"), [LAUNCHER, CHECKPOINTS]),
    **dict.fromkeys(("8.2.0", "8.2.64"), [LAUNCHER]),
    **dict.fromkeys(("8.3.0", "8.3.50", "8.3.78", "8.3.100", "8.3.150", "8.3.200"), [LAUNCHER]),
    **dict.fromkeys(("8.4.0", "8.4.30", "8.4.60"), [LAUNCHER]),
    **dict.fromkeys(("8.4.90", "8.4.120", "8.4.150", "8.4.190"), []),
}


@pytest.mark.slow
@pytest.mark.parametrize("version", LEFT_OUT)
def test_release(version, tmp_path):
    """Every required patch fits, two steps of distilled training run in the result, and a revert leaves no trace."""
    for path, data in read_wheel(obtain_release(REPO, version)[1])[0].items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    before, said = snapshot(tmp_path), []
    target.apply(REPO, tmp_path, log=said.append)
    left_out = [line.split()[3].rstrip(":") for line in said if line.startswith("* leaving out ")]
    fits = sum(line.endswith((": in", ": there already")) for line in said)
    target.revert(REPO, tmp_path, log=said.append)
    assert snapshot(tmp_path) == before
    print(f"\n| {version} | {fits} in, without {' and '.join(left_out) or 'none'} | yes | yes |")
    assert left_out == LEFT_OUT[version]
