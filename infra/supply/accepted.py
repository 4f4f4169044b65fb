"""infra/supply/accepted.yaml as types."""

from datetime import date
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from boig.section import Section

FILE = Path(__file__).with_name("accepted.yaml")

Text = Annotated[str, Field(min_length=1)]


class Vulnerability(Section):
    """A known vulnerability that cannot hurt here."""

    id: Text
    """The service's, or one of its aliases (CVE, GHSA, PYSEC)."""
    package: Text
    reason: Text
    date: date


class License(Section):
    """The license under which a package or its weights are used, where the package's metadata do not settle that."""

    package: Text
    license: Text
    reason: Text
    date: date


class Accepted(Section):
    """All of it."""

    vulnerabilities: tuple[Vulnerability, ...]
    licenses: tuple[License, ...]
    """Of packages."""
    weights: tuple[License, ...]
    """Of the weights in packages, where they are not under the package's license."""


def load(path: Path = FILE) -> Accepted:
    """What is accepted.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an entry without its package, reason or date, or with a key that there is not.
    """
    try:
        return Accepted.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}; see the entries beside it") from None
