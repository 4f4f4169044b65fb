"""Asking for pictures: the answer holds what was asked, the best picture comes first, mistakes take one line."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from boig.evaluation.settings import WantedKpi
from boig.verbalizer.form import ColorShare, Verbalization
from flows.generate import main
from tasks import generate as tasks

ROOT = Path(__file__).parents[2]
WHEN = datetime(2024, 6, 1, 18, tzinfo=UTC)
LEVELS = WantedKpi(low=30, medium=75, high=95)


def described(caption: str) -> Verbalization:
    return Verbalization((ColorShare("Red", 0.5),), (1.0, 0.0, 0.0), (), caption)


def studio(drawn: list) -> tasks.Studio:
    """Brightness comes from the seed, and is the expected KPI."""

    def draw(prompts, seeds, bucket):
        drawn.append((prompts, seeds, bucket))
        return np.stack([np.full((8, 8, 3), seed % 100, np.uint8) for seed in seeds])

    def expect(briefs, pictures):
        kpi = pictures[:, 0, 0, 0].astype(float)
        return kpi, kpi - 10, kpi + 10

    return tasks.Studio(
        describe=lambda brief, wanted: described(f"a cup for {wanted.bucket}"),
        draw=draw,
        verbalize=lambda pictures: [described(str(int(p[0, 0, 0]))) for p in pictures],
        expect=expect,
        judge=lambda briefs, pictures: pictures.mean((1, 2, 3)) / 2,
    )


def order(method: str = "boigsd", count: int = 5, seed: int = 0) -> tuple[tasks.Answer, list]:
    drawn: list = []
    brief = tasks.brief_of("lumora", "beauty", "Our new lipstick <hyperlink> #new", WHEN)
    return tasks.make(studio(drawn), brief, tasks.Wanted.of("high", LEVELS), method, count, seed), drawn


def test_best_picture_first_and_all_of_it_written(tmp_path):
    answer, _ = order()
    kpis = [offer.kpi for offer in answer.offers]
    assert kpis == sorted(kpis, reverse=True)
    content = json.loads(tasks.write(answer, tmp_path / "out").read_text())
    assert content["wanted"] == {"bucket": "high", "kpi": 95}
    assert content["description"]["caption"] == "a cup for high"
    assert [p["expected_kpi"]["mean"] for p in content["pictures"]] == kpis
    first = content["pictures"][0]
    assert first["expected_kpi"]["lo"] < first["expected_kpi"]["mean"] < first["expected_kpi"]["hi"]
    assert np.asarray(Image.open(tmp_path / "out" / first["file"])).mean() == kpis[0]


def test_prompt_is_the_caption_or_the_description():
    (_, drawn), (_, described_) = order("boigsd"), order("boigllm_prompt")
    assert "lipstick" in drawn[0][0][0]
    assert "hyperlink" not in drawn[0][0][0]
    assert described_[0][0][0] == "a cup for high"
    assert drawn[0][1] == described_[0][1]


def test_equal_orders_equal_bytes(tmp_path):
    for name in ("a", "b"):
        tasks.write(order(seed=7)[0], tmp_path / name)
    a, b = ({p.name: p.read_bytes() for p in sorted((tmp_path / name).iterdir())} for name in ("a", "b"))
    assert a == b
    assert order(seed=8)[1] != order(seed=7)[1]


@pytest.mark.parametrize(
    ("text", "bucket", "kpi"), [("low", "low", 30), ("95", "high", 95), ("60", "medium", 60), ("0", "low", 0), ("100", "high", 100)]
)
def test_wanted_kpi(text, bucket, kpi):
    assert tasks.Wanted.of(text, LEVELS) == tasks.Wanted(bucket, kpi)


def test_default_method_fits_the_kpi():
    assert [tasks.default_method(tasks.Wanted.of(b, LEVELS)) for b in ("low", "medium", "high")] == [
        "boigllm_prompt",
        "boigllm_prompt",
        "boigsd",
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kpi", "best"], "--kpi must be low, medium, high or an integer from 0 to 100, got 'best'"),
        (["--kpi", "101"], "got '101'"),
        (["--caption", "#x <hyperlink>"], "leaves no words to draw"),
        (["--method", "magic"], "--method must be one of boigsd, pft"),
        ([], "models/boigllm is missing; run `make repro` first"),
    ],
)
def test_mistakes_take_one_line(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, ["--account", "lumora", "--caption", "Our new lipstick", "--out", "made", *options])
    assert result.exit_code == 1
    assert words in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "made").exists()


def test_no_pictures_is_a_mistake():
    with pytest.raises(ValueError, match="--n is 0"):
        order(count=0)
