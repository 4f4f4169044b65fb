"""params.yaml as types: one frozen section per stage, every key required, unknown keys refused.

A flow loads its own section and no other, so that DVC's per-section tracking tells the truth about what a stage depends on.
"""

import difflib
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Count = Annotated[int, Field(ge=1)]
"""At least one of something."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A fraction, 0–1."""
Positive = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, no defaults. Lists become tuples, so that a section can be hashed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Resources(Section):
    """What the heavy step of a stage may take from Ray."""

    workers: Count
    """Ray actors, or ranks of a training."""
    cpus: Positive
    """CPU cores per worker; also its number of threads."""
    gpus: Annotated[float, Field(ge=0)]
    """GPUs per worker; 0 means CPU."""


class Simulate(Section):
    """The embedded feed, whose law of likes is known."""

    law_seed: Seed
    """Draws the weights of the law; another seed is another law."""


class Ingest(Section):
    """Any feed into the `posts` contract."""

    feed: str
    """Folder of the raw feed, relative to the workspace. `data/feed` is the simulated one."""


class Verbalize(Section):
    """Pictures as text."""

    resources: Resources


class TrainBoigllm(Section):
    """BoigLLM, both directions on one model."""

    seed: Seed
    resources: Resources


class TrainReward(Section):
    """Reward model on BoigLLM, and the independent judge."""

    seed: Seed
    resources: Resources


class AlignBoigsd(Section):
    """Adapters of the diffusion model, one per method."""

    seed: Seed
    resources: Resources


class Evaluate(Section):
    """Metrics, arena, report and model card."""

    seed: Seed
    resources: Resources


SECTIONS: dict[str, type[Section]] = {
    "simulate": Simulate,
    "ingest": Ingest,
    "verbalize": Verbalize,
    "train_boigllm": TrainBoigllm,
    "train_reward": TrainReward,
    "align_boigsd": AlignBoigsd,
    "evaluate": Evaluate,
}
"""In the order of the pipeline. A section's name is its stage's name."""


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
        return SECTIONS[section].model_validate(raw[section])
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


def _one_line(section: str, detail: dict) -> str:
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
    model: object = SECTIONS[section]
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
    return f"{kind}, see boig/params.py"


def _hint(name: str, known: dict | list[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
