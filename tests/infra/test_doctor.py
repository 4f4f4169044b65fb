"""The doctor where no local stack is: what it says runs will use."""

from pathlib import Path

import pytest

from infra import doctor
from infra.stack import settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({}, "runs use SQLite and start their own Prefect and Ray"),
        ({"RAY_ADDRESS": ""}, "runs use SQLite and start their own Prefect and Ray"),
        ({"MLFLOW_TRACKING_URI": "sqlite:///x.db", "RAY_ADDRESS": ""}, "the environment has MLFLOW_TRACKING_URI"),
    ],
)
def test_without_a_stack_it_tells_what_runs_will_use(env: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    none = settings.load(settings.DEFAULT).model_copy(update={"folder": tmp_path})
    monkeypatch.setattr(doctor, "load", lambda: none)
    found = next(finding for finding in doctor.examine(ROOT, env) if str(finding).split()[1] == "stack")
    assert told in str(found)
