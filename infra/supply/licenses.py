"""Licenses of installed packages, as their metadata declare them."""

import re
from collections.abc import Iterable
from importlib.metadata import PackageMetadata, metadata

from infra.supply.accepted import License

_GPL = re.compile(r"(?<![a-z])A?GPL|GNU (Affero )?General Public", re.IGNORECASE)
"""GPL and AGPL of any version; not the LGPL."""
_NOTHING = {"", "unknown", "osi approved", "dual license"}
"""What stands where a license should, in lower case."""
_LINE = 60
"""Characters; what is longer is a license's whole text, and its classifiers are the better name."""


def declared(package: str) -> str:
    """The license that an installed package declares: an SPDX expression, a name or names; empty where it declares none.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    return declaration(metadata(package))


def declaration(told: PackageMetadata) -> str:
    """As `declared`, of given metadata. Beside a free text only those classifiers count that name a GPL or AGPL."""
    if expression := told.get_all("License-Expression"):
        return expression[0]
    lines = "\n".join(told.get_all("License") or []).strip().splitlines()
    text = lines[0] if len(lines) == 1 and len(lines[0]) <= _LINE and lines[0].lower() not in _NOTHING else ""
    classifiers = [name.rpartition(" :: ")[2] for name in told.get_all("Classifier") or [] if name.startswith("License ::")]
    names = [name for name in classifiers if name.lower() not in _NOTHING and (not text or _GPL.search(name))]
    return ", ".join([text, *names] if text else names)


def is_copyleft(license_: str) -> bool:
    """Whether a GPL or AGPL cannot be avoided: named, and not one of several to choose from.

    A choice is `A OR B`, alone: whoever combines it with AND is read with the greatest caution.
    """
    choices = [license_] if re.search(r"\bAND\b|,", license_) else re.split(r"\s+OR\s+|\s*\|\s*", license_)
    return all(_GPL.search(choice) for choice in choices)


def objections(packages: Iterable[str], accepted: Iterable[License]) -> list[str]:
    """A line for each package that has a GPL or AGPL or no license, and for each acceptance that none of them needs."""
    known = {entry.package for entry in accepted}
    licenses = {package: declared(package) for package in packages}
    doubtful = {package: license_ for package, license_ in licenses.items() if not license_ or is_copyleft(license_)}
    mend = "use another package, or accept it in infra/supply/accepted.yaml"
    return [
        *(
            f"{package}: {license_ or 'no license in its metadata'}; {mend}"
            for package, license_ in doubtful.items()
            if package not in known
        ),
        *(f"{package}: accepted in infra/supply/accepted.yaml without need; remove it" for package in sorted(known - set(doubtful))),
    ]
