"""A version changes with everything that the text depends on, and with nothing else."""

import pytest

from boig.verbalizer.settings import CaptionerSettings, DetectorSettings
from boig.verbalizer.version import identity, model_id, version

TEMPLATE = CaptionerSettings(kind="template", model="", revision="", prompt="", max_tokens=0, tries=1)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def detector(folder, **changed):
    given = {"kind": "grid", "model": str(folder), "revision": "", "threshold": 0.5, "labels": ()}
    return DetectorSettings(**(given | changed))


def test_equal_inputs_have_equal_versions(folder):
    which = identity(detector(folder), TEMPLATE, 0.02)
    assert which == identity(detector(folder), TEMPLATE, 0.02)
    assert version(b"picture", which) == version(b"picture", which)
    assert len(version(b"picture", which)) == 16


def test_each_input_changes_the_version(folder):
    seen = {version(b"picture", identity(detector(folder), TEMPLATE, 0.02)), version(b"other", identity(detector(folder), TEMPLATE, 0.02))}
    seen.add(version(b"picture", identity(detector(folder, threshold=0.6), TEMPLATE, 0.02)))
    seen.add(version(b"picture", identity(detector(folder), TEMPLATE, 0.03)))
    asked = CaptionerSettings(kind="transformers", model="owner/name", revision="1", prompt="What?", max_tokens=9, tries=1)
    seen.add(version(b"picture", identity(detector(folder), asked, 0.02)))
    seen.add(version(b"picture", identity(detector(folder), asked.model_copy(update={"prompt": "Which?"}), 0.02)))
    (folder / "model.safetensors").write_bytes(b"others")
    seen.add(version(b"picture", identity(detector(folder), TEMPLATE, 0.02)))
    assert len(seen) == 7


def test_a_card_is_no_part_of_a_model(folder):
    before = model_id(str(folder), "")
    (folder / "README.md").write_text("scores")
    (folder / "card.json").write_text("{}")
    assert model_id(str(folder), "") == before


def test_a_hub_id_needs_a_revision_and_a_folder_must_exist():
    assert model_id("owner/name", "abc") == "owner/name@abc"
    with pytest.raises(ValueError, match="revision"):
        model_id("owner/name", "")
    with pytest.raises(FileNotFoundError, match="base/nothing/here"):
        model_id("base/nothing/here", "")
