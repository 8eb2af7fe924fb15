# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The pin: which upstream wheel the series is for, and the hash of each pristine file that it touches.

`patches/` holds the pin and its series; where another upstream line is supported as well, `patches/<version>/` holds
that line's own. A tree is of one line at a time.
"""

from __future__ import annotations

import configparser
import json
from dataclasses import dataclass
from pathlib import Path

from . import PatchError, Repo

# The file is flat TOML: two tables of strings and integers. `tomllib` exists from Python 3.11 only, upstream supports
# 3.8, and `check` must run on a bare interpreter; in this subset every value is also JSON, so the standard library's
# INI reader (which refuses doubles) is enough. A test holds it against `tomllib`.
TEMPLATE = """# The only place where the upstream version stands; every script reads it.
[upstream]
version = {version}
wheel = {wheel}
sha256 = {sha256}
# The number in our own version, VERSION+distill.N; raise it with each release.
distill = {distill}

# sha256 of each pristine file that the series touches; `patchset.py refresh` keeps this table.
[files]
"""


@dataclass(frozen=True)
class Pin:
    """One upstream release, and our number on top of it.

    Attributes:
        version (str): Upstream version.
        wheel (str): File name of its wheel.
        sha256 (str): Hash of that wheel.
        distill (int): Our own release number.
        files (dict[str, str]): Hash of each pristine file that the series touches.
    """

    version: str
    wheel: str
    sha256: str
    distill: int
    files: dict[str, str]

    @property
    def local_version(self) -> str:
        """(str): Version of the patched distribution, as PEP 440 writes a downstream."""
        return f"{self.version}+distill.{self.distill}"


def read_pin(path: Path) -> Pin:
    """Read the pin file.

    Args:
        path (Path): `upstream.toml`.

    Returns:
        (Pin): The pin.

    Raises:
        PatchError: If the file is missing, or a value is missing or malformed.
    """
    parser = configparser.ConfigParser(delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]  # as configparser's documentation has it
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
        upstream = {key: json.loads(value) for key, value in parser["upstream"].items()}
        files = {json.loads(key): json.loads(value) for key, value in parser["files"].items()}
        pin = Pin(**upstream, files=files)
    except FileNotFoundError as error:
        raise PatchError(f"{path} is missing: this folder is not a patch repository.") from error
    except (configparser.Error, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PatchError(f"{path} cannot be read ({reason}): it needs [upstream] and [files] as flat TOML.") from error
    hashes = {"sha256": pin.sha256, **pin.files}
    for name, value in hashes.items():
        if not (isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")):
            raise PatchError(f"{path}: {name} has {value!r}: a sha256 is 64 lower-case hexadecimal digits.")
    if not (isinstance(pin.distill, int) and pin.distill > 0):
        raise PatchError(f"{path}: distill has {pin.distill!r}: it must be an integer from 1 up.")
    for name in ("version", "wheel"):
        value = getattr(pin, name)
        if not (isinstance(value, str) and value and "/" not in value and "\\" not in value):
            raise PatchError(f"{path}: {name} has {value!r}: it must be a plain name.")
    return pin


def pin_text(pin: Pin) -> str:
    """Write a pin as its file's text.

    Args:
        pin (Pin): The pin.

    Returns:
        (str): Text of `upstream.toml`, files sorted.
    """
    fields = {name: json.dumps(getattr(pin, name)) for name in ("version", "wheel", "sha256", "distill")}
    lines = [f"{json.dumps(path)} = {json.dumps(digest)}\n" for path, digest in sorted(pin.files.items())]
    return TEMPLATE.format(**fields) + "".join(lines)


def find_lines(root: Path) -> dict[str, Repo]:
    """Return the repository as each supported upstream line sees it.

    Args:
        root (Path): Folder that holds `patches/`.

    Returns:
        (dict[str, Repo]): By upstream version, the pin first.

    Raises:
        PatchError: If a pin cannot be read, or a line's folder has another name than its version.
    """
    repo = Repo(root)
    found = {read_pin(repo.patches / "upstream.toml").version: repo}
    for folder in sorted(path for path in repo.patches.iterdir() if path.is_dir()):
        version = read_pin(folder / "upstream.toml").version
        if folder.name != version or version in found:
            raise PatchError(f"{folder} is for {version}: a line's folder has its version's name, the pin has none.")
        found[version] = Repo(root, version)
    return found


def choose_line(root: Path, version: str | None = None) -> Repo:
    """Return the repository as one upstream line sees it.

    Args:
        root (Path): Folder that holds `patches/`.
        version (str, optional): Version of the line; by default the pin.

    Returns:
        (Repo): The repository.

    Raises:
        PatchError: If there is no series for the version.
    """
    if not version:
        return Repo(root)
    found = find_lines(root)
    if version not in found:
        raise PatchError(f"there is no series for Ultralytics {version}: there is one for {', '.join(found)}.")
    return found[version]
