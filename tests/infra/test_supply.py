"""Lock files are whole and hashed; licenses are read and judged."""

import re
from email.message import Message
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.supply import accepted, licenses, lock

ROOT = Path(__file__).parents[2]


def pins(path: Path) -> dict[str, str]:
    """Name to version."""
    return {pin.name: pin.version for pin in lock.read(ROOT / path)}


def asked(path: Path) -> list[Requirement]:
    """What an .in file, or the overrides, ask for."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / path).read_text().splitlines()]
    return [Requirement(line) for line in lines if line]


@pytest.mark.parametrize("path", lock.LOCKS, ids=str)
def test_each_package_is_locked_once(path: Path):
    found = lock.read(ROOT / path)
    assert len(found) == len({pin.name for pin in found}) > 0


@pytest.mark.parametrize("line", ["six==1.17.0", "six>=1.17 --hash=sha256:" + "a" * 64, "six==1.17.0 --hash=md5:" + "a" * 32])
def test_a_line_without_its_hash_is_refused(line: str, tmp_path: Path):
    (tmp_path / "some.lock").write_text(f"# a comment\n{line}\n")
    with pytest.raises(ValueError, match="make lock"):
        lock.read(tmp_path / "some.lock")


def test_cuda_libraries_are_apart():
    assert all(name.startswith("nvidia-") for name in pins(lock.CUDA))
    assert not any(name.startswith("nvidia-") for name in pins(lock.PROJECT))


def missing(locked: dict[str, str], wanted: list[Requirement], overridden: set[str]) -> list[str]:
    """Requirements, near or far, that a lock does not meet, read from the installed packages."""
    seen: set[tuple[str, str]] = set()
    found, waiting = [], list(wanted)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in locked or not requirement.specifier.contains(locked[name], prereleases=True):
            found += [] if name in overridden else [str(requirement)]
        if name not in locked:
            continue
        for extra in ({""} | requirement.extras) - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            told = [Requirement(text) for text in distribution(name).requires or []]
            waiting += [one for one in told if not one.marker or one.marker.evaluate({"extra": extra})]
    return found


def test_the_lock_is_whole():
    """`make setup` installs it without looking for dependencies, so none may be missing."""
    overridden = {canonicalize_name(one.name) for one in asked(Path("requirements.overrides"))}
    locked, on_gpus = pins(lock.PROJECT), pins(lock.CUDA)  # the latter is not installed everywhere, and needs nothing
    wanted = [one for one in asked(Path("requirements.in")) if canonicalize_name(one.name) not in on_gpus]
    assert not missing(locked, wanted, overridden)
    assert missing({name: version for name, version in locked.items() if name != "botocore"}, wanted, overridden)
    assert missing(locked | {"botocore": "1.0"}, wanted, overridden)


def test_what_is_built_here_is_named_and_its_builder_locked():
    (built,) = re.findall(r"--no-binary (\S+)", (ROOT / "Makefile").read_text())
    assert {built, "setuptools"} <= set(pins(lock.PROJECT))
    assert f"**{built}**" in (ROOT / "docs" / "supply-chain.md").read_text()


@pytest.mark.parametrize("name, path", [("tools", lock.TOOLS), ("uv", lock.INSTALLER)])
def test_the_tools_are_the_ones_asked_for(name: str, path: Path):
    for one in asked(Path(f"requirements.{name}.in")):
        assert one.specifier.contains(pins(path)[one.name])


def test_no_package_is_under_a_gpl_without_reason():
    assert licenses.objections(pins(lock.PROJECT), accepted.load().licenses) == []


def test_what_is_not_accepted_is_named():
    known = accepted.load().licenses
    without = [entry for entry in known if entry.package != "pygit2"]
    assert [line.split(":")[0] for line in licenses.objections(pins(lock.PROJECT), without)] == ["pygit2"]
    needless = accepted.License(package="numpy", license="BSD-3-Clause", reason="none", date="2026-01-31")
    assert [line.split(":")[0] for line in licenses.objections(pins(lock.PROJECT), [*known, needless])] == ["numpy"]


@pytest.mark.parametrize(
    "license_, refused",
    [
        ("GPL-3.0-only", True),
        ("GNU General Public License v2 (GPLv2)", True),
        ("GNU Affero General Public License v3", True),
        ("AGPL-3.0", True),
        ("MIT AND GPL-2.0-or-later", True),
        ("GPL-2.0-only AND (MIT OR BSD-3-Clause)", True),
        ("GPL-2.0-only OR AGPL-3.0-only", True),
        ("Artistic License, GNU General Public License (GPL)", True),
        ("Apache-2.0 OR GPL-2.0-or-later", False),
        ("GPLv2 | EPLv1", False),
        ("LGPL-2.1-or-later", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("MIT", False),
    ],
)
def test_a_gpl_is_known_by_its_names(license_: str, refused: bool):
    assert licenses.is_copyleft(license_) == refused


@pytest.mark.parametrize(
    "fields, license_",
    [
        ({"License-Expression": "MIT", "License": "GPL"}, "MIT"),
        ({"License": "BSD", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD"),
        ({"License": "BSD", "Classifier": "License :: OSI Approved :: GNU AGPLv3"}, "BSD, GNU AGPLv3"),
        ({"License": "A long text\nof many lines", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT License"),
        ({"License": "UNKNOWN", "Classifier": "License :: OSI Approved"}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_a_license_is_read_from_metadata(fields: dict[str, str], license_: str):
    told = Message()
    for key, value in fields.items():
        told[key] = value
    assert licenses.declaration(told) == license_
