"""The registry: one champion, challengers that wait, and a way back."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from boig import tracking
from boig.registry import AGAINST, APPROVED_BY, COMMIT, GATE, LOCK, Registry, Version
from boig.tracking import Run


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as MLflow makes it, which takes it seconds."""
    database = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{database}").search_experiments()
    return database


@pytest.fixture
def run(tmp_path: Path, empty: Path) -> Run:
    shutil.copy(empty, tmp_path / "mlflow.db")
    return tracking.start(f"sqlite:///{tmp_path / 'mlflow.db'}", "retraining", {})


@pytest.fixture
def registry(run: Run) -> Registry:
    return Registry(run.uri)


def register(registry: Registry, run: Run, tmp_path: Path, name: str, against: Version | None) -> Version:
    papers = tmp_path / "papers"
    papers.mkdir(exist_ok=True)
    (papers / "dvc.lock").write_text(name)
    tags = {COMMIT: f"commit of {name}", LOCK: name, AGAINST: str(against.number) if against else "", GATE: "passed: better"}
    return registry.register(run, papers, tags, f"# {name}")


def test_an_empty_registry_has_no_champion_and_no_way_back(registry: Registry) -> None:
    assert registry.champion() is None
    assert registry.versions() == []
    with pytest.raises(ValueError, match="there is no champion to roll back"):
        registry.rollback()
    with pytest.raises(ValueError, match="boig has no version 7; it has none"):
        registry.version(7)


def test_what_is_registered_is_a_challenger_until_it_is_promoted(registry: Registry, run: Run, tmp_path: Path) -> None:
    first = register(registry, run, tmp_path, "a", None)
    assert registry.champion() is None
    assert registry.challenger() == first
    registry.promote(first, "gate")
    champion = registry.champion()
    assert champion
    assert (champion.number, champion.commit, champion.tags[APPROVED_BY]) == (first.number, "commit of a", "gate")
    assert (tmp_path / "mlruns" / run.run_id / "artifacts/generation/dvc.lock").read_text() == "a"
    assert (registry.papers(champion, tmp_path) / "dvc.lock").read_text() == "a"


def test_registering_again_after_a_kill_makes_no_second_version(registry: Registry, run: Run, tmp_path: Path) -> None:
    first = register(registry, run, tmp_path, "a", None)
    assert register(registry, run, tmp_path, "a", None).number == first.number
    assert len(registry.versions()) == 1


def test_another_verdict_on_the_same_models_is_another_version(registry: Registry, run: Run, tmp_path: Path) -> None:
    first = register(registry, run, tmp_path, "a", None)
    registry.promote(first, "gate")
    assert register(registry, run, tmp_path, "a", first).number == first.number + 1


def test_what_a_kill_has_left_undecided_is_found_and_what_was_rolled_back_is_not(registry: Registry, run: Run, tmp_path: Path) -> None:
    assert registry.undecided() is None
    first = register(registry, run, tmp_path, "a", None)
    assert registry.undecided() == first
    registry.promote(first, "gate")
    assert registry.undecided() is None
    second = register(registry, run, tmp_path, "b", first)
    assert registry.undecided() == second
    registry.promote(second, "gate")
    registry.rollback()
    assert registry.undecided() is None, "a person has taken it back"


def test_rollback_goes_back_one_champion_at_a_time(registry: Registry, run: Run, tmp_path: Path) -> None:
    champions: list[Version] = []
    for name in "abc":
        version = register(registry, run, tmp_path, name, champions[-1] if champions else None)
        registry.promote(version, "gate")
        champions.append(version)
    for was, now in ((3, 2), (2, 1)):
        assert tuple(v.number for v in registry.rollback()) == (was, now)
        champion = registry.champion()
        assert champion
        assert champion.number == now
    with pytest.raises(ValueError, match="version 1 is the first champion"):
        registry.rollback()


def test_what_was_compared_with_another_champion_is_not_promoted(registry: Registry, run: Run, tmp_path: Path) -> None:
    first = register(registry, run, tmp_path, "a", None)
    registry.promote(first, "gate")
    second, third = (register(registry, run, tmp_path, name, first) for name in "bc")
    registry.promote(second, "gate")
    with pytest.raises(ValueError, match=r"version 3 was compared with champion 1, but version 2 is in use"):
        registry.promote(third, "somebody")
    registry.promote(second, "again")  # changes nothing
    champion = registry.champion()
    assert champion
    assert champion.tags[APPROVED_BY] == "gate"


def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    with pytest.raises(ConnectionError, match="does not answer"):
        Registry("http://127.0.0.1:9")


def test_a_server_that_is_gone_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    told = r"^MLFLOW_TRACKING_URI=http://127\.0\.0\.1:1 does not answer \([^<>]*refused\); start the server, .*$"
    with pytest.raises(ConnectionError, match=told), tracking.answering():
        Registry(tracking.uri()).versions()


def test_what_a_server_refuses_is_told_with_its_reason(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", run.uri)
    with (
        pytest.raises(ConnectionError, match=r"^MLflow does not do what is asked: .*boig.* not found; see `make doctor`"),
        tracking.answering(),
    ):
        MlflowClient(run.uri).get_registered_model("boig")


def test_a_champion_whose_alias_was_taken_away_is_known(registry: Registry, run: Run, tmp_path: Path) -> None:
    assert registry.lost() is None
    first = register(registry, run, tmp_path, "a", None)
    registry.promote(first, "gate")
    second = register(registry, run, tmp_path, "b", first)
    registry.promote(second, "gate")
    registry.rollback()
    assert registry.lost() is None
    MlflowClient(run.uri).delete_registered_model_alias("boig", "champion")
    assert registry.lost() == registry.version(first.number)
