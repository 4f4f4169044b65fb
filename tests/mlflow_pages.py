"""MLflow's pages in a real browser, as somebody who looks for results opens them; `python -m tests.mlflow_pages` takes pictures of them.

The browser is the system's Chromium, driven by Playwright. Selectors are what a reader sees: names of runs, tabs, headings.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

from boig import tracking
from tests.faults import servers

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "mlflow"
SIZE = {"width": 1400, "height": 900}
WAIT_MS = 60_000
"""A page is there after a second on an idle machine."""
SETTLED_MS = 8_000
"""Its pictures and curves too."""
LOOKS = 100
"""More than any training has at its panel."""
PICTURE = "img[src*='get-artifact']"
OFFLINE = ("disable-background-networking", "disable-component-update", "disable-sync", "disable-quic", "no-first-run", "disable-gpu")
NO_ASSISTANT = """
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
"""
"""The panel that offers a chat takes a quarter of the page."""


def browser_path() -> str:
    """The system's Chromium; empty where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""


@contextmanager
def served(database: Path, artifacts: Path, folder: Path) -> Iterator[str]:
    """MLflow's server over a database; its address."""
    server, url = servers.mlflow(folder, {}, database, str(artifacts))
    server.begin()
    try:
        server.wait()
        yield url
    finally:
        server.kill()


@contextmanager
def opened() -> Iterator[Page]:
    """An empty page of a headless browser."""
    switches = [f"--{name}" for name in OFFLINE] + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path(), args=switches)
        page = browser.new_page(viewport=SIZE, device_scale_factor=1)
        page.set_default_timeout(WAIT_MS)
        page.add_init_script(NO_ASSISTANT)
        yield page
        browser.close()


class Pages:
    """Each method opens a page and returns what shows that it is there."""

    def __init__(self, page: Page, url: str):
        self.page, self.url = page, url
        self.client = MlflowClient(url)
        self.experiment = self.client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id

    def runs(self, pipelines: int = 1) -> Locator:
        """All pipeline runs, their stages unfolded; there are so many at least."""
        self._go(f"experiments/{self.experiment}/runs")
        self._there(self.page.get_by_text("matching run").first)
        folded = self.page.locator("[data-component-id*='runnamecellrenderer']")  # the plus before a run that has others under it
        folded.nth(pipelines - 1).wait_for()
        for number in reversed(range(folded.count())):  # what unfolds comes after it, with a plus of its own
            folded.nth(number).click()
        return self.page.get_by_role("treegrid").or_(self.page.get_by_role("grid")).first

    def compare(self, first: str, second: str) -> Locator:
        """Two runs beside each other; their numbers, with the plots above them folded."""
        runs = urllib.parse.quote(json.dumps([first, second]))
        self._go(f"compare-runs?runs={runs}&experiments={urllib.parse.quote(json.dumps([self.experiment]))}")
        self._there(self.page.get_by_text("Comparing 2 Runs"))
        self.page.get_by_text("Visualizations", exact=True).click()
        return self._there(self.page.get_by_text("Metrics", exact=True).last)

    def charts(self, run: str, picture: str) -> Locator:
        """Curves and pictures over steps of a run, of the section that the picture is in; the picture's card."""
        self._go(f"experiments/{self.experiment}/runs/{run}/model-metrics")
        # Cards far down a page of many are not made before somebody scrolls there.
        self.page.get_by_placeholder("Search metric charts").fill(picture.partition("/")[0] + "/")
        title = self._there(self.page.get_by_text(picture, exact=True).first)
        return title.locator("xpath=ancestor::*[.//button][1]")

    def panel(self, run: str, picture: str) -> Locator:
        """The picture of that name at its last step, over the whole page."""
        card = self.charts(run, picture)
        self._there(self.page.locator(PICTURE).first)  # opened before it, the dialog stays empty
        card.locator("[data-component-id='fullscreen_button_chartcard']").click()
        dialog = self.page.get_by_role("dialog")
        slider = dialog.get_by_role("slider")
        last = self._there(slider).get_attribute("aria-valuemax")
        for _ in range(LOOKS):
            if slider.get_attribute("aria-valuenow") == last:
                break
            slider.press("ArrowRight")
            self.page.wait_for_timeout(300)
        return self._there(dialog.locator(PICTURE).first)

    def system(self, run: str) -> Locator:
        """The machine's curves while a pipeline ran."""
        self._go(f"experiments/{self.experiment}/runs/{run}/system-metrics")
        return self._there(self.page.get_by_text("cpu_utilization_percentage").first)

    def overview(self, run: str) -> Locator:
        """Tags, parameters and data sets of a run."""
        self._go(f"experiments/{self.experiment}/runs/{run}")
        return self._there(self.page.get_by_text("About this run"))

    def artifact(self, run: str, path: str) -> Locator:
        """A file of a run, as MLflow shows it."""
        self._go(f"experiments/{self.experiment}/runs/{run}/artifacts/{path}")
        return self._there(self.page.get_by_role("heading", name=path).or_(self.page.get_by_text(path).first).first)

    def model(self, name: str, version: int | None = None) -> Locator:
        """A registered model, or one version of it."""
        self._go(f"models/{name}" + (f"/versions/{version}" if version else ""))
        return self._there(self.page.get_by_text(f"Version {version}" if version else "Versions").first)

    def picture(self, path: Path) -> None:
        """The page as PNG, once all is loaded and has stopped moving; without places of this machine."""
        self.page.wait_for_timeout(SETTLED_MS)
        self.page.get_by_text("Path:").evaluate_all("lines => lines.forEach(line => line.parentElement.remove())")
        self.page.screenshot(path=path)

    def _go(self, place: str) -> None:
        self.page.goto("about:blank")  # pages differ behind the #: without this the browser would stay on the one it has
        self.page.goto(f"{self.url}/#/{place}")

    def _there(self, what: Locator) -> Locator:
        what.wait_for()
        return what


def newest(client: MlflowClient, experiment: str, stage: str) -> list[Run]:
    """Runs of a stage that were not restored from the cache, newest first."""
    return client.search_runs([experiment], f"tags.`dvc.stage` = '{stage}' and tags.cached = 'false'", order_by=["start_time DESC"])


def parts(client: MlflowClient, experiment: str, stage: str) -> dict[str, str]:
    """Ids of the runs under a stage's run, by name."""
    found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{stage}'")
    return {run.info.run_name: run.info.run_id for run in found}


def main(arguments: list[str] | None = None) -> int:
    """Take pictures of the pages of a project's runs; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mlflow_pages", description="Pictures of MLflow's pages.")
    parser.add_argument("--database", type=Path, default=ROOT / "mlflow.db", help="of a finished run; by default this project's")
    parser.add_argument("--out", type=Path, default=DOCS)
    asked = parser.parse_args(arguments)
    if not browser_path() or not asked.database.is_file():
        print(f"pages: needs Chromium and {asked.database}; run `make repro` first", file=sys.stderr)
        return 1
    asked.out.mkdir(parents=True, exist_ok=True)
    database = asked.database.resolve()
    with (
        tempfile.TemporaryDirectory() as folder,
        served(database, database.parent / "mlruns", Path(folder)) as url,
        opened() as page,
    ):
        take(Pages(page, url), asked.out)
    for path in sorted(asked.out.glob("*.png")):  # few colors: a page of text at a third of the bytes
        Image.open(path).convert("RGB").quantize(192).save(path, optimize=True)
    return 0


def take(pages: Pages, out: Path) -> None:
    """The pages that docs/mlflow.md shows."""
    known = (newest(pages.client, pages.experiment, stage) for stage in ("ingest", "align_boigsd", "evaluate"))
    ingested, aligned, evaluated = (next((run for run in runs if run.data.tags["profile"] == "default"), None) for runs in known)
    if ingested is None or aligned is None or evaluated is None:
        raise SystemExit("pages: the database has no finished run of the default; run `make repro` first")
    parent = aligned.data.tags["mlflow.parentRunId"]
    methods = parts(pages.client, pages.experiment, aligned.info.run_id)
    pages.runs()
    pages.picture(out / "runs.png")
    pages.artifact(ingested.info.run_id, "accounts.json")
    pages.picture(out / "data.png")
    pages.artifact(ingested.info.run_id, "pictures/low_medium_high.png")
    pages.picture(out / "posts.png")
    pages.compare(*list(methods.values())[:2])
    pages.picture(out / "methods.png")
    pages.charts(methods["boigsd"], "panel/pictures")
    pages.picture(out / "curves.png")
    pages.panel(methods["boigsd"], "panel/pictures")
    pages.picture(out / "panel.png")
    pages.artifact(evaluated.info.run_id, "briefs.json")
    pages.picture(out / "briefs.png")
    pages.artifact(evaluated.info.run_id, "report.html")
    pages.picture(out / "report.png")
    pages.system(parent)
    pages.picture(out / "system.png")


if __name__ == "__main__":
    raise SystemExit(main())
