"""Weights that come with the project: in `base/`, and as files of installed packages."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackagePath, files, version
from pathlib import Path

from infra.supply.accepted import License

FORMATS = (".safetensors", ".gguf", ".pth", ".pt", ".ckpt", ".bin", ".h5", ".onnx", ".tflite")
"""Suffixes of files with weights."""
SMALLEST = 1_000_000
"""Bytes; in packages, what is smaller is a table or a test."""


@dataclass(frozen=True)
class Model:
    """One model and its weights."""

    name: str
    version: str
    """Of the package that ships it; empty for a model of the project."""
    title: str
    license: str
    weights: dict[str, str]
    """Path, relative to the root or to the environment's packages, to SHA-256."""


def base_models(root: Path) -> list[Model]:
    """Those of `base/`: each folder with a README that names its license.

    Raises:
        ValueError: a README without title or license.
    """
    found = []
    for readme in sorted((root / "base").glob("*/README.md")):
        text, folder = readme.read_text(), readme.parent
        title, license_ = re.match(r"# (.+)", text), re.search(r"License: ([\w.+-]*\w)", text)
        if not title or not license_:
            raise ValueError(f"{readme} has no title or no 'License: …'; its recipe writes them")
        weights = {path.relative_to(root).as_posix(): _sha256(path) for path in sorted(folder.rglob("*")) if path.suffix in FORMATS}
        found.append(Model(folder.relative_to(root).as_posix(), "", title[1], license_[1], weights))
    return found


def packaged_models(packages: Mapping[str, str], accepted: Iterable[License]) -> list[Model]:
    """Those that installed packages ship.

    Args:
        packages: name to license.
        accepted: licenses of weights that are not their package's.

    Raises:
        PackageNotFoundError: one of the packages is not installed.
    """
    known = {entry.package: entry.license for entry in accepted}
    found = []
    for package, license_ in packages.items():
        weights = {path.as_posix(): _sha256(Path(path.locate())) for path in _weights(package)}
        if weights:
            title = ", ".join(Path(path).name for path in weights)
            found.append(Model(package, version(package), title, known.get(package, license_), weights))
    return found


def _weights(package: str) -> Iterator[PackagePath]:
    for path in sorted(files(package) or []):
        if path.suffix in FORMATS and Path(path.locate()).stat().st_size >= SMALLEST:
            yield path


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
