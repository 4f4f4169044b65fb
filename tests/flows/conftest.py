"""A workspace in which a stage can run, and where its runs go."""

import shutil
from pathlib import Path

import pytest

from flows import lineage

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An MLflow store for all tests of this module."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture
def place(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with parameters and the DAG."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    for name in ("DVC_STAGE", lineage.PARENT_RUN):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
