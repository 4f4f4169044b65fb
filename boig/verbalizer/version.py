"""What a verbalization depends on, as a string and as a key: equal keys, equal verbalizations. Loads no model."""

import hashlib
import json
from pathlib import Path

from boig.verbalizer.settings import CaptionerSettings, DetectorSettings

_WEIGHTS = (".safetensors", ".json", ".txt", ".model", ".pth", ".jinja")


def model_id(model: str, revision: str) -> str:
    """`<hub id>@<revision>`, or `<folder name>@<hash of its files>` for a local folder.

    Raises:
        FileNotFoundError: neither an existing folder nor a hub id.
        ValueError: a hub id without a revision.
    """
    if Path(model).is_dir():
        return f"{Path(model).name}@{_hash(Path(model), _WEIGHTS)}"
    if model.count("/") != 1 or model.startswith((".", "/")):
        raise FileNotFoundError(f"{model!r} is neither a folder nor a hub id (owner/name); mend the model's name in params.yaml")
    if not revision:
        raise ValueError(f"{model} has no revision; pin the hub commit in params.yaml, so that runs can be repeated")
    return f"{model}@{revision}"


def _hash(folder: Path, suffixes: tuple[str, ...]) -> str:
    """12 hex digits over names and bytes of the files of those kinds in a folder; cards do not count."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in suffixes and p.name != "card.json"):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def identity(detector: DetectorSettings, captioner: CaptionerSettings, min_coverage: float) -> str:
    """Everything but the picture that a verbalization depends on, as canonical JSON.

    Raises:
        FileNotFoundError: a model's folder does not exist.
        ValueError: a hub id without a revision.
    """
    parts = {
        "code": _hash(Path(__file__).parent, (".py",)),  # palette, rounding, template: any edit makes all pictures new
        "min_coverage": min_coverage,
        "detector": detector.model_dump() | {"model": model_id(detector.model, detector.revision) if detector.model else ""},
        "captioner": captioner.model_dump() | {"model": model_id(captioner.model, captioner.revision) if captioner.model else ""},
    }
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))


def version(picture: bytes, identity_: str) -> str:
    """16 hex digits: the key of one picture's verbalization.

    Args:
        picture: the stored bytes.
        identity_: see `identity`.
    """
    return hashlib.sha256(hashlib.sha256(picture).digest() + identity_.encode()).hexdigest()[:16]
