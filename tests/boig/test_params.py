"""params.yaml and its types: what is there is complete, and a mistake is told in one line."""

import copy
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from boig.params import SECTIONS, load, read, section_type
from boig.section import Section

ROOT = Path(__file__).parents[2]


@pytest.fixture
def params() -> dict:
    """params.yaml as it is, without YAML's sharing of anchored parts."""
    return {key: copy.deepcopy(value) for key, value in read(ROOT / "params.yaml").items()}


def written(tmp_path: Path, content: object) -> Path:
    """The content as a params.yaml."""
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_loads_and_is_frozen(section: str):
    loaded = load(section, ROOT / "params.yaml")
    assert isinstance(loaded, section_type(section))
    with pytest.raises(ValidationError):
        setattr(loaded, next(iter(type(loaded).model_fields)), 0)


@pytest.mark.parametrize("section", SECTIONS)
def test_no_default_hides_in_code(section: str):
    def check(model: type[Section], path: str) -> None:
        for name, field in model.model_fields.items():
            assert field.is_required(), f"{path}.{name} has a default; values belong in params.yaml"
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                check(field.annotation, f"{path}.{name}")

    check(section_type(section), section)


@pytest.mark.parametrize("section", SECTIONS)
def test_an_unknown_key_is_named_with_the_known_ones(section: str, params: dict, tmp_path: Path):
    key = next(iter(params[section]))
    params[section][f"{key}x"] = 1
    with pytest.raises(ValueError, match=rf"{section}\.{key}x: unknown key \(did you mean '{key}'\?\)") as raised:
        load(section, written(tmp_path, params))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_missing_key_is_named(section: str, params: dict, tmp_path: Path):
    key = next(iter(params[section]))
    del params[section][key]
    with pytest.raises(ValueError, match=rf"{section}\.{key}: missing; add it"):
        load(section, written(tmp_path, params))


def test_a_nested_mistake_is_named_by_its_whole_path(params: dict, tmp_path: Path):
    params["verbalize"]["resources"]["workers"] = 0
    with pytest.raises(ValueError, match=r"verbalize\.resources\.workers: .*got 0"):
        load("verbalize", written(tmp_path, params))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value: float, params: dict, tmp_path: Path):
    params["simulate"]["dirt"] = value
    with pytest.raises(ValueError, match=r"simulate\.dirt"):
        load("simulate", written(tmp_path, params))


def test_a_mistake_in_another_section_is_another_stages_affair(params: dict, tmp_path: Path):
    params["evaluate"]["nonsense"] = 1
    assert load("simulate", written(tmp_path, params))


def test_an_unknown_section_is_named(params: dict, tmp_path: Path):
    params["evaluat"] = {}
    with pytest.raises(ValueError, match="unknown section 'evaluat' \\(did you mean 'evaluate'\\?\\)"):
        load("simulate", written(tmp_path, params))


def test_a_missing_section_is_named(params: dict, tmp_path: Path):
    del params["simulate"]
    with pytest.raises(ValueError, match="section 'simulate' is missing"):
        load("simulate", written(tmp_path, params))


@pytest.mark.parametrize(("text", "message"), [("a: [1", "is not YAML"), ("- 1", "must map"), ("", "must map")])
def test_a_file_that_is_no_mapping_is_one_line(text: str, message: str, tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        load("simulate", path)
    assert "\n" not in str(raised.value)


def test_no_file_is_a_file_not_found(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="run from the project's root"):
        load("simulate", tmp_path / "params.yaml")


def test_parts_that_must_agree_do_agree():
    """The ceiling is computed by ingest's KPI and splits, generated pictures are verbalized as the feed's were, and training looks for
    the same near-duplicates."""
    params = read(ROOT / "params.yaml")
    assert params["simulate"]["kpi"] == params["ingest"]["kpi"]
    assert params["simulate"]["splits"] == params["ingest"]["splits"]
    assert params["train_reward"]["feed"] == params["ingest"]["feed"]
    for section in ("train_boigllm", "train_reward"):
        assert params[section]["duplicates"] == params["ingest"]["duplicates"]
    same = {key: params["verbalize"][key] for key in ("detector", "captioner", "min_coverage")}
    for section in ("align_boigsd", "evaluate"):
        assert {key: params[section]["verbalizer"][key] for key in same} == same
