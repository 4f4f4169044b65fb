"""What all stages share, on small flows: metrics, one-line errors, exit codes, scratch folders, lineage of an MLflow run."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from boig.section import Section
from flows.stage import flat, run_stage, scratch_dir, write_json


class InProcess:
    """Stands in for a Prefect flow where Prefect itself is not what is tested: called as `run_stage` calls one."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, section: Section, report, return_state: bool):
        assert return_state

        def result():
            return self.answer(section, report)

        return SimpleNamespace(result=result, state_details=SimpleNamespace(flow_run_id="f1"))


def newest_run(store: str):
    client = MlflowClient(store)
    return client.search_runs([client.get_experiment_by_name("boig").experiment_id], "tags.`dvc.stage` = 'simulate'")[0]


def test_a_stage_writes_its_metrics_and_says_what_it_made(place: Path, store: str, capsys: pytest.CaptureFixture):
    def answer(section, report):
        report.curve(1, loss=0.5)
        report.picture("panel", np.zeros((4, 4, 3), np.uint8))
        return {"posts": section.posts, "share": {"noise": {"mean": 0.35}}, "made": "3 posts in data/feed"}

    assert run_stage("simulate", InProcess(answer)) == 0
    assert json.loads((place / "metrics" / "simulate.json").read_text())["share"] == {"noise": {"mean": 0.35}}
    assert capsys.readouterr().out.startswith("simulate: 3 posts in data/feed (")
    run = newest_run(store)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["share.noise.mean"] == 0.35
    assert run.data.params["simulate.law_seed"]
    assert {"dvc.stage": "simulate", "cached": "false", "prefect.flow_run_id": "f1"}.items() <= run.data.tags.items()
    assert run.data.tags["mlflow.parentRunId"]


@pytest.mark.parametrize(
    "mistake", [ValueError("kpi is constant;\n choose another column"), FileNotFoundError("base/diffusion is missing")]
)
def test_a_users_mistake_is_one_line_and_leaves_no_metrics(mistake: Exception, place: Path, store: str, capsys: pytest.CaptureFixture):
    def answer(section, report):
        raise mistake

    assert run_stage("simulate", InProcess(answer)) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("simulate: " + " ".join(str(mistake).split()))
    assert not (place / "metrics").exists()
    assert newest_run(store).info.status == "FAILED"
    assert "Traceback" in (place / "scratch" / "simulate" / "error.log").read_text()


def test_our_own_mistake_shows_its_traceback(place: Path, capsys: pytest.CaptureFixture):
    def answer(section, report):
        raise KeyError("ours")

    assert run_stage("simulate", InProcess(answer)) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_no_failure_to_explain(place: Path, store: str):
    def answer(section, report):
        raise KeyboardInterrupt

    assert run_stage("simulate", InProcess(answer)) == 130
    assert newest_run(store).info.status == "FAILED"


def test_wrong_parameters_stop_a_stage_before_anything_starts(place: Path, capsys: pytest.CaptureFixture):
    text = (place / "params.yaml").read_text()
    (place / "params.yaml").write_text(text.replace("law_seed:", "law_sed:"))
    assert run_stage("simulate", InProcess(lambda section, report: pytest.fail("ran"))) == 1
    assert "simulate.law_sed: unknown key (did you mean 'law_seed'?)" in capsys.readouterr().err


def test_a_tracking_server_that_does_not_answer_stops_a_stage(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert run_stage("simulate", InProcess(lambda section, report: pytest.fail("ran"))) == 1
    assert "MLFLOW_TRACKING_URI=http://127.0.0.1:9 does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    "refusal",
    [
        httpx.ConnectError("refused"),
        httpx.HTTPStatusError("401 Unauthorized", request=httpx.Request("GET", "http://x"), response=httpx.Response(401)),
        RuntimeError("Failed to reach API at http://x/api"),
    ],
)
def test_an_orchestrator_that_does_not_answer_is_one_line(
    refusal: Exception, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def refused(*args, **kwargs):
        raise refusal

    assert run_stage("simulate", refused) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Prefect does not answer" in error
    assert "PREFECT_API_AUTH_STRING" in error


def test_metrics_that_are_not_finite_are_refused_and_the_old_file_stays(tmp_path: Path):
    write_json(tmp_path / "m.json", {"a": 1.0})
    with pytest.raises(ValueError, match=r"not finite: b\.c"):
        write_json(tmp_path / "m.json", {"b": {"c": float("nan")}})
    assert json.loads((tmp_path / "m.json").read_text()) == {"a": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


@given(st.recursive(st.floats(allow_nan=False), lambda inner: st.dictionaries(st.text("abc", min_size=1), inner, max_size=3), max_leaves=8))
def test_flat_keeps_every_number(tree):
    def count(node):
        return sum(count(value) for value in node.values()) if isinstance(node, dict) else 1

    tree = {"root": tree}
    assert len(list(flat(tree))) == count(tree)


def test_the_scratch_folder_follows_section_inputs_and_code(place: Path, monkeypatch: pytest.MonkeyPatch):
    from boig.params import load

    (place / "flows").mkdir()
    (place / "flows" / "simulate.py").write_text("import boig.code\n")
    (place / "boig").mkdir()
    (place / "boig" / "code.py").write_text("A = 1\n")
    (place / "in").mkdir()
    (place / "in" / "x").write_text("1")
    section = load("simulate")
    first = scratch_dir("simulate", section, [place / "in"])
    assert first.is_dir()
    assert first == scratch_dir("simulate", section, [place / "in"])
    seen = {first, scratch_dir("simulate", section.model_copy(update={"posts": 5}), [place / "in"])}
    (place / "in" / "x").write_text("2")
    seen.add(scratch_dir("simulate", section, [place / "in"]))
    (place / "boig" / "code.py").write_text("A = 2 \n")
    seen.add(scratch_dir("simulate", section, [place / "in"]))
    assert len(seen) == 4
    with pytest.raises(FileNotFoundError, match="dvc repro"):
        scratch_dir("simulate", section, [place / "nothing"])


@pytest.mark.slow
def test_a_real_prefect_flow_runs_quietly_and_its_run_is_linked(place: Path, store: str, capfd: pytest.CaptureFixture):
    from prefect import flow, task
    from prefect.testing.utilities import prefect_test_harness

    def work(number: int) -> int:
        logging.getLogger("some.library").debug("unheard")
        return 2 * number

    @flow(name="simulate", validate_parameters=False)
    def doubled(section, report):
        return {"posts": task(work)(section.posts), "made": "twice as many"}

    @flow(name="simulate", validate_parameters=False)
    def wrong(section, report):
        task(work)(1)
        raise ValueError("the value and the mend")

    with prefect_test_harness(server_startup_timeout=300):
        assert run_stage("simulate", doubled) == 0
        assert len(newest_run(store).data.tags["prefect.flow_run_id"]) == 36
        capfd.readouterr()
        assert run_stage("simulate", wrong) == 1
    heard = capfd.readouterr()
    assert "Traceback" not in heard.out + heard.err
    assert "simulate: the value and the mend" in heard.err
