"""The documents name what there is: stages, parameters, make targets, profiles."""

import re
from pathlib import Path

import pytest
import yaml

from boig.evaluation.readme import fill
from boig.params import SECTIONS

ROOT = Path(__file__).parents[1]
DOCS = {path.name: path.read_text() for path in ROOT.glob("*.md")}


@pytest.mark.parametrize("stage", SECTIONS)
def test_the_architecture_names_each_stage(stage: str):
    assert stage in DOCS["ARCHITECTURE.md"]


@pytest.mark.parametrize("target", [t for t in re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M) if t != "help"])
def test_each_make_target_is_named(target: str):
    assert any(f"make {target}" in text for text in DOCS.values()), f"no document names `make {target}`"


@pytest.mark.parametrize("profile", sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml")))
def test_the_readme_names_each_profile(profile: str):
    assert f"`{profile}`" in DOCS["README.md"]


@pytest.mark.parametrize("name", [name for name, text in DOCS.items() if ":start -->" in text])
def test_numbers_are_those_of_the_metrics_files(name: str):
    assert fill(DOCS[name], ROOT / "metrics") == DOCS[name], f"stale: python -m boig.evaluation.readme {name}"


def leaves(content: dict, prefix: str = "") -> list[str]:
    """Dotted names of all parameters."""
    return [
        name
        for key, value in content.items()
        for name in (leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [f"{prefix}{key}"])
    ]


@pytest.mark.parametrize("section", SECTIONS)
def test_each_parameter_has_its_line(section: str):
    paper = DOCS["PAPER.md"]
    keys = {name.rsplit(".", 1)[-1] for name in leaves(yaml.safe_load((ROOT / "params.yaml").read_text())[section])}
    missing = [key for key in sorted(keys) if not re.search(rf"`[\w.]*\b{key}\b[^`]*`", paper)]
    assert not missing, f"PAPER.md has no line for {section}: {missing}"


@pytest.mark.parametrize("name", sorted(DOCS))
def test_links_lead_somewhere(name: str):
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", DOCS[name]):
        assert (ROOT / target).exists(), f"{name}: {target} does not exist"
