# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Builds the distribution `ultralytics` from the pinned upstream wheel, our patches, and our own package.

What upstream says about itself (requirements, extras, console scripts, supported Python) is read from its wheel, so
that a new pin brings its own and nothing here repeats it. The environment variable DISTILL_UPSTREAM chooses another
release, one whose sha256 stands in patches/upstream.toml.
"""

from __future__ import annotations

import glob
import os
import re
import sys
import tempfile
from email import message_from_string
from email.message import Message
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

from patching import PACKAGE, PatchError, Repo, tree
from patching.series import read_pin
from patching.wheel import obtain, read_wheel

ROOT = Path(__file__).resolve().parent
# pytest-xdist 3.8 does not see a pytest 9.2's groups of tests: its issue 1386
TEST = ["black", "pytest<9.2", "pytest-xdist", "hypothesis", "merge3", "mypy", "patch-ng", "pytest-timeout", "ruff"]
COMPARE = ["statsmodels>=0.14"]  # scripts/compare.py: how many more seeds, several data sets
DOCS = [f'{name}; python_version >= "3.10"' for name in ("zensical", "mkdocstrings[python]")]  # read mkdocs.yml
EXTRA = re.compile(r"""(?P<name>[^;]+?)\s*;\s*(?:(?P<marker>.+)\s+and\s+)?extra\s*==\s*["'](?P<extra>[^"']+)["']""")
LICENSE_COPY = "LICENSE.upstream"


def split_requirements(facts: Message) -> tuple[list[str], dict[str, list[str]]]:
    """Sort a wheel's requirements into those always needed and those of its extras.

    Args:
        facts (Message): The wheel's METADATA.

    Returns:
        needed (list[str]): Requirements without an extra.
        extras (dict[str, list[str]]): Requirements of each extra, ours for tests added.
    """
    needed: list[str] = []
    extras: dict[str, list[str]] = {name: [] for name in facts.get_all("Provides-Extra", [])}
    for line in facts.get_all("Requires-Dist", []):
        match = EXTRA.fullmatch(line)
        if match:
            extras[match["extra"]].append(match["name"] + (f"; {match['marker']}" if match["marker"] else ""))
        elif "extra" in line.partition(";")[2]:
            raise PatchError(
                f"The wheel's requirement {line!r} names its extra in an unknown form: setup.py has to learn it."
            )
        else:
            needed.append(line)
    return needed, {**extras, "test": [*TEST, *COMPARE], "docs": DOCS, "compare": COMPARE}


def list_files(upstream: dict[str, bytes], repo: Repo) -> tuple[list[str], list[str]]:
    """Return the packages, and the data files by their path inside the package.

    Only the wheel's files and our own package count: what else lies in the folder is somebody's work in progress.
    """
    paths = sorted({*upstream, *repo.overlay_files()})
    packages = sorted({path.rpartition("/")[0].replace("/", ".") for path in paths if path.endswith(".py")})
    return packages, [glob.escape(path[len(PACKAGE) + 1 :]) for path in paths if not path.endswith(".py")]


def main() -> None:
    """Make sure that the tree is unpacked and patched, then build from it."""
    repo, version = Repo(ROOT), os.environ.get("DISTILL_UPSTREAM", "")
    pin = read_pin(repo)
    tree.apply(repo, version)
    upstream, info = read_wheel(obtain(repo, pin, version))
    facts = message_from_string(info["METADATA"].decode())
    requires, extras = split_requirements(facts)
    packages, data = list_files(upstream, repo)
    licence = next((text for name, text in info.items() if name.rpartition("/")[2] == "LICENSE"), None)
    if licence is not None:
        (repo.cache / LICENSE_COPY).write_bytes(licence)
    readme = ROOT / "README.md"
    with tempfile.TemporaryDirectory(prefix="build-") as scratch:
        setup(
            name=PACKAGE,
            version=f"{version or pin.version}+distill.{pin.distill}",
            description=facts["Summary"],
            long_description=readme.read_text(encoding="utf-8") if readme.is_file() else "",
            long_description_content_type="text/markdown",
            license=facts["License"],
            license_files=["LICENSE", f"{repo.cache.name}/{LICENSE_COPY}"],
            author_email=facts["Author-email"],
            # setuptools wants the license in its own field alone
            classifiers=[x for x in facts.get_all("Classifier", []) if not x.startswith("License ::")],
            python_requires=facts["Requires-Python"],
            install_requires=requires,
            extras_require=extras,
            entry_points=info["entry_points.txt"].decode(),
            packages=packages,
            package_dir={"": "."},  # with this an editable install is one plain path, not an import hook
            package_data={PACKAGE: data},
            include_package_data=False,
            # Leftovers of an earlier build would go into the next wheel, and an egg-info in this folder, which an
            # editable install puts on the path, would stand beside the installed metadata.
            options={"build": {"build_base": scratch}, "egg_info": {"egg_base": scratch}},
        )


if __name__ == "__main__":
    try:
        main()
    except PatchError as error:
        sys.exit(f"error: {error}")
