"""MLflow as the place to look: what the pipeline and retraining write there, seen in a real browser."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from playwright.sync_api import Locator, expect

from boig import tracking
from boig.registry import AGAINST, COMMIT, FEED_POSTS, GATE, LOCK, NAME, Registry
from flows import lineage
from tests import mlflow_pages
from tests.mlflow_pages import Pages

pytestmark = pytest.mark.slow
STEPS = (0, 10, 20)
METHODS = ("pft", "boigsd")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database of two pipeline runs and two generations, written through the project's own doors."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setattr(tracking, "SYSTEM_SAMPLE_S", 1)
        for number in (1, 2):
            generation(folder, number)
    return folder


def generation(folder: Path, number: int) -> None:
    parent = lineage.start_pipeline()
    with tracking.system_metrics(parent):
        child = parent.child("align_boigsd", {"dvc.stage": "align_boigsd", "cached": "false", "dvc.dep.models/reward": f"{number:032x}"})
        child.inputs({"models/reward": f"{number:032x}"})
        child.params({"align_boigsd.seed": number})
        for method in METHODS:
            with child.part(method) as part:
                for step in range(21):
                    part.curve(step, reward=0.1 * step * number)
                for step in STEPS:
                    part.picture("panel/pictures", np.full((64, 128, 3), (200, 30, 10 * step), np.uint8), step)
        child.metrics({f"{METHODS[0]}.reward_last": float(number)})
        seen = np.full((64, 64, 3), (10, 200, 30), np.uint8)
        child.table("briefs", [{"prompt": f"a bag {n}", "picture": seen, "reward": float(n)} for n in range(3)])
        (folder / "report.html").write_text(f"<h1>What was found in run {number}</h1>")
        child.artifact(folder / "report.html")
        child.end()
        sampled(parent)
    finished = parent.child("ingest", {"dvc.stage": "ingest", "cached": "true", "cached.run_id": child.run_id})
    finished.end()
    parent.end()
    papers = folder / "papers"
    papers.mkdir(exist_ok=True)
    (papers / "dvc.lock").write_text("stages: {}")
    registry = Registry(parent.uri)
    tags = {COMMIT: f"{number:040x}", LOCK: str(number), GATE: "passed: reward", FEED_POSTS: str(100 * number)}
    version = registry.register(parent, papers, tags | {AGAINST: str(number - 1 or "")}, f"# Generation {number}\n\nThe gate: passed")
    if number == 1:
        registry.promote(version, "ann")


def sampled(run: tracking.Run) -> None:
    """Wait for the first point of the machine's curves."""
    end = time.monotonic() + 60
    while not any(name.startswith("system/") for name in MlflowClient(run.uri).get_run(run.run_id).data.metrics):
        assert time.monotonic() < end, "no point of the machine's curves"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def pages(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    if not mlflow_pages.browser_path():
        pytest.skip("no Chromium here; Debian has it as package chromium")
    folder = tmp_path_factory.mktemp("server")
    with mlflow_pages.served(written / "mlflow.db", written / "mlruns", folder) as url, mlflow_pages.opened() as page:
        yield Pages(page, url)


def aligned(pages: Pages) -> list[str]:
    return [run.info.run_id for run in mlflow_pages.newest(pages.client, pages.experiment, "align_boigsd")]


def drawn(picture: Locator) -> bool:
    """Whether the browser has got a picture and could read it."""
    picture.wait_for()
    return picture.evaluate("async picture => { await picture.decode(); return picture.naturalWidth > 0; }")


def test_the_runs_of_a_pipeline_are_under_it(pages: Pages):
    grid = pages.runs(pipelines=2)
    for name in ("pipeline (default)", "align_boigsd", "ingest"):
        expect(grid.get_by_text(name)).to_have_count(2)


def test_two_runs_are_compared(pages: Pages):
    pages.compare(*aligned(pages))
    for said in ("align_boigsd.seed", f"{METHODS[0]}.reward_last"):
        pages.page.get_by_text(said).first.wait_for()


def test_two_trainings_of_a_stage_are_compared(pages: Pages):
    pages.compare(*mlflow_pages.parts(pages.client, pages.experiment, aligned(pages)[0]).values())
    for said in (*METHODS, "reward"):
        pages.page.get_by_text(said, exact=True).first.wait_for()


def test_the_panel_is_seen_over_steps(pages: Pages):
    run = mlflow_pages.parts(pages.client, pages.experiment, aligned(pages)[0])[METHODS[0]]
    pages.charts(run, "panel/pictures")
    assert drawn(pages.page.locator(mlflow_pages.PICTURE).last)
    for _ in STEPS[1:]:
        pages.page.get_by_role("slider").first.press("ArrowRight")
    assert int(pages.page.get_by_role("slider").first.get_attribute("aria-valuenow") or -1) == STEPS[-1]
    assert drawn(pages.panel(run, "panel/pictures"))


def test_tags_data_and_a_restored_run_are_told(pages: Pages):
    pages.overview(aligned(pages)[0])
    pages.page.get_by_text("dvc.dep.models/reward").first.wait_for()
    pages.page.get_by_text("models/reward (").first.wait_for()
    (restored, *_) = pages.client.search_runs([pages.experiment], "tags.cached = 'true'")
    pages.overview(restored.info.run_id)
    pages.page.get_by_text("cached.run_id").first.wait_for()


def test_report_and_table_are_shown(pages: Pages):
    pages.artifact(aligned(pages)[0], "report.html")
    pages.page.frame_locator("iframe").get_by_text("What was found in run 2").wait_for()
    pages.artifact(aligned(pages)[0], "briefs.json")
    pages.page.get_by_text("a bag 2").wait_for()
    assert drawn(pages.page.locator("img[src*='table_images']").last)


def test_the_machines_curves_are_with_the_pipeline(pages: Pages):
    (pipeline, *_) = pages.client.search_runs([pages.experiment], "tags.`mlflow.runName` = 'pipeline (default)'")
    pages.system(pipeline.info.run_id)


def test_generations_have_aliases_and_a_card(pages: Pages):
    pages.model(NAME)
    pages.page.get_by_text("champion").first.wait_for()
    pages.page.get_by_text("challenger").first.wait_for()
    pages.model(NAME, 1)
    pages.page.get_by_role("heading", name="Generation 1").wait_for()
