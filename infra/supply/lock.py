"""The lock files: which version of which package, and the hashes of its files. `make lock` writes them, nobody edits them."""

import re
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path("requirements.lock")
"""What every machine gets."""
CUDA = Path("requirements.cuda.lock")
"""What PyPI's torch needs besides."""
TOOLS = Path("requirements.tools.lock")
"""What developers and CI run beside the project, in `.tools`."""
INSTALLER = Path("requirements.uv.lock")
"""What installs all else."""
LOCKS = (PROJECT, CUDA, TOOLS, INSTALLER)

_PIN = re.compile(r"([\w.-]+)==([^\s;]+)((?: --hash=sha256:[0-9a-f]{64})+)")


@dataclass(frozen=True)
class Pin:
    """One package of a lock."""

    name: str
    version: str
    hashes: tuple[str, ...]
    """SHA-256, in hexadecimal, of each of its files that may be installed."""


def read(path: Path) -> tuple[Pin, ...]:
    """The packages of a lock, in its order.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is not a version with its hashes.
    """
    whole = re.sub(r"\s*\\\n\s*", " ", path.read_text())
    return tuple(_pin(line, path) for line in whole.splitlines() if line and not line.startswith("#"))


def _pin(line: str, path: Path) -> Pin:
    found = _PIN.fullmatch(line)
    if not found:
        raise ValueError(f"{path}: {line[:80]!r} is no package==version with hashes alone; write it by `make lock`")
    name, version, hashes = found.groups()
    return Pin(name, version, tuple(re.findall(r"[0-9a-f]{64}", hashes)))
