"""Generations by hand: who may be approved, and what a fetched folder holds."""

import getpass
from pathlib import Path

import pytest

from boig.registry import Version
from flows import champion, workspace
from tests.flows.registry import FakeRegistry, version


def test_only_what_has_passed_can_be_approved() -> None:
    registry = FakeRegistry(version(2), version(3, gate="refused: canary"))
    assert champion.approved(registry, 2, "ann") == "version 2 is the champion, approved by ann"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"version 3 has not passed the gate \(refused: canary\)"):
        champion.approved(registry, 3, "ann")  # type: ignore[arg-type]
    assert registry.promoted == [(2, "ann")]


def test_models_are_fetched_into_an_empty_folder_or_over_fetched_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = FakeRegistry(version(1), version(2))
    monkeypatch.setattr(champion, "restore", lambda root, version, names, folder: (folder / "models").mkdir(parents=True, exist_ok=True))
    for number in (1, 2):
        champion.fetched(registry, number, tmp_path / "used")  # type: ignore[arg-type]
        assert (tmp_path / "used" / champion.FETCHED).read_text().startswith(f"version {number},")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/params.yaml").write_text("mine")
    with pytest.raises(ValueError, match="is not empty, and no generation was fetched there before"):
        champion.fetched(registry, 1, tmp_path / "mine")  # type: ignore[arg-type]
    assert (tmp_path / "mine/params.yaml").read_text() == "mine"


def test_a_folder_holds_nothing_of_the_generation_that_was_fetched_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {
        1: ("models/boigllm/w", "models/boigsd/pft/w", "metrics/align_boigsd.json", "verdict.json", "dvc.lock"),
        2: ("models/boigllm/w",),
    }

    def restore(root: Path, version: Version, names: tuple[str, ...], folder: Path) -> None:
        for name in made[version.number]:
            workspace.write(folder / name, f"of {version.number}")

    monkeypatch.setattr(champion, "restore", restore)
    registry = FakeRegistry(version(1), version(2))
    champion.fetched(registry, 1, tmp_path)  # type: ignore[arg-type]
    mine = ("notes.txt", "models/mine/w")
    for name in mine:
        workspace.write(tmp_path / name, "mine")
    champion.fetched(registry, 2, tmp_path)  # type: ignore[arg-type]
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {
        "models/boigllm/w",
        champion.FETCHED,
        *mine,
    }


def test_a_user_without_a_name_can_approve(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert champion._user().startswith("user ")
