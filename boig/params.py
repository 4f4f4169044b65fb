"""params.yaml: one frozen section per stage, every key required, unknown keys refused. The sections' types are in `boig/sections/`.

A flow loads its own section and no other, so that DVC's per-section tracking tells the truth about what a stage depends on; and a type is
imported when its section is read, so that a new key of one stage does not make the others stale.
"""

import difflib
from importlib import import_module
from pathlib import Path

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from boig.section import Section

SECTIONS: dict[str, str] = {
    "simulate": "Simulate",
    "ingest": "Ingest",
    "verbalize": "Verbalize",
    "train_boigllm": "TrainBoigllm",
    "train_reward": "TrainReward",
    "align_boigsd": "AlignBoigsd",
    "evaluate": "Evaluate",
}
"""Stage to the name of its type in `boig/sections/<stage>.py`, in the order of the pipeline."""


def section_type(section: str) -> type[Section]:
    """The type of a section."""
    return getattr(import_module(f"boig.sections.{section}"), SECTIONS[section])


def load(section: str, path: Path = Path("params.yaml")) -> Section:
    """Read and check one section.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML; a section or a key is unknown or missing; a value is out of its range. One line, with the mend.
    """
    raw = read(path)
    for name in raw:
        if name not in SECTIONS:
            raise ValueError(f"{path}: unknown section {name!r}{_hint(name, SECTIONS)}; the sections are {', '.join(SECTIONS)}")
    if section not in raw:
        raise ValueError(f"{path}: section {section!r} is missing; `git show HEAD:params.yaml` has it")
    try:
        return section_type(section).model_validate(raw[section])
    except ValidationError as error:
        raise ValueError(f"{path}: " + "; ".join(_one_line(section, detail) for detail in error.errors())) from None


def read(path: Path) -> dict[str, dict]:
    """The file as it is, unchecked but for being a mapping.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a YAML mapping.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing; run from the project's root")
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path} must map section names to keys, is {type(raw).__name__}")
    return raw


def _one_line(section: str, detail: ErrorDetails) -> str:
    """One pydantic error as `section.key: what; the mend`."""
    location = [str(part) for part in detail["loc"]]
    key = ".".join([section, *location])
    if detail["type"] == "extra_forbidden":
        known = _keys(section, location[:-1])
        return f"{key}: unknown key{_hint(location[-1], known)}; remove it or use one of {', '.join(known)}"
    if detail["type"] == "missing":
        return f"{key}: missing; add it ({_doc(section, location)})"
    return f"{key}: {detail['msg']}, got {detail['input']!r}"


def _model(section: str, location: list[str]) -> type[Section] | None:
    """The model that a path of keys leads to, where every step is a plain nested section."""
    model: object = section_type(section)
    for key in location:
        field = model.model_fields.get(key) if isinstance(model, type) and issubclass(model, Section) else None
        model = field.annotation if field else None
    return model if isinstance(model, type) and issubclass(model, Section) else None


def _keys(section: str, location: list[str]) -> list[str]:
    model = _model(section, location)
    return list(model.model_fields) if model else []


def _doc(section: str, location: list[str]) -> str:
    model = _model(section, location[:-1])
    field = model.model_fields.get(location[-1]) if model else None
    kind = getattr(field.annotation, "__name__", str(field.annotation)) if field else "a value"
    return f"{kind}, see boig/sections/{section}.py"


def _hint(name: str, known: dict | list[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
