"""The record of a pipeline run, completed once DVC has written dvc.lock."""

from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from boig import tracking
from flows import lineage


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_feed_outside_of_the_project_is_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    place = tmp_path / "place"
    place.mkdir()
    stages = {
        "ingest": {
            "deps": [{"path": "../../shared/feed", "md5": "1.dir"}, {"path": "/srv/feed", "md5": "2.dir"}],
            "outs": [{"path": "data/posts", "md5": "3.dir"}],
        }
    }
    (place / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))

    parent = lineage.start_pipeline()
    lineage.finish_pipeline(parent, place, {"ingest": "restored"}, failed=False)

    client = MlflowClient(parent.uri)
    assert client.get_run(parent.run_id).info.status == "FINISHED"
    assert client.get_run(parent.run_id).data.tags["dvc.lock.sha256"]
    tags = client.get_run(tracking.children(parent)["ingest"].run_id).data.tags
    named = {name.removeprefix("dvc.dep."): value for name, value in tags.items() if name.startswith("dvc.dep.")}
    assert sorted(named.values()) == ["1.dir", "2.dir"]
    assert named["shared/feed"] == "1.dir"
    assert tags["dvc.out.data/posts"] == "3.dir"
