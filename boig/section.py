"""What every section of params.yaml, and every group of keys inside one, is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

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
