"""The report shows every method, explains itself, and is one file that needs no other."""

import re

import pytest

from boig.evaluation import charts, tables
from boig.evaluation.formats import COLUMNS, percent, signed_percent, significant
from boig.evaluation.goals import goals
from boig.evaluation.report import render
from boig.evaluation.story import story
from tests.boig.evaluation.fabricated import estimate, findings, metrics, png


@pytest.fixture(scope="module")
def page() -> str:
    return render(story(findings()))


def test_every_method_and_stage_is_in_it(page):
    for title in tables.METHODS.values():
        assert title in page
    for words in ("simulated feed", "True uplift", "quarantine", "How to read this", "reference classifier", "n = 240", "BoigLLM", "PFT"):
        assert words in page


def test_is_self_contained(page):
    resources = re.findall(r'(?:src|href)="([^"]*)"|url\(([^)]*)\)', page)
    assert resources
    assert all((a or b).startswith("data:") for a, b in resources)
    assert "<script" not in page
    assert "<link" not in page


def test_equal_findings_give_equal_bytes(page):
    assert render(story(findings())) == page


def test_few_briefs_are_called_few():
    found = findings(("base", "boigllm_prompt"), simulated=False)
    few = found.metrics | {"evaluate": found.evaluate | {"briefs": 26}}
    assert "Only 26 briefs: small n" in render(story(type(found)(**{**vars(found), "metrics": few})))


def test_captions_are_escaped():
    found = findings(("base", "real"))
    row = ("<script>alert(1)</script> & more", (png(0), None))
    grid = type(found.grid)(("Caption", "a", "b"), (row,))
    page = render(story(type(found)(**{**vars(found), "grid": grid})))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_missing_stages_and_numbers_leave_gaps_not_errors():
    found = findings(("base", "boigllm_prompt"), simulated=False)
    bare = {"evaluate": found.evaluate | {"steering": {}}}
    for row in (bare["evaluate"]["base"], bare["evaluate"]["boigllm_prompt"]):
        row.update(true_uplift=None, prompt_agreement=None, mismatch_rate=None)
    for part in bare["evaluate"]["boigllm_prompt"]["by_bucket"].values():
        part["true_uplift"] = None
    page = render(story(type(found)(**{**vars(found), "metrics": bare, "looks": {}, "buckets": None})))
    assert "real feed" in page
    assert "small n" not in page
    assert "True uplift" not in page


def test_missed_goals_are_said_openly():
    numbers = metrics()
    numbers["evaluate"]["boigsd"]["true_uplift"] = estimate(0.1)
    found = findings()
    page = render(story(type(found)(**{**vars(found), "metrics": numbers})))
    assert re.search(r"lower end above 20 %</td><td>\+10 %[^<]*</td><td class=\"strong\">no</td>", page)


def test_descriptions_must_beat_both_baselines_on_both_splits():
    numbers = metrics()
    rows = {
        name: {"color_iou": estimate(0.2), "coverage_rmse": estimate(0.3), "object_iou": estimate(0.5)}
        for name in ("frequency", "neighbor")
    }
    better = {"color_iou": estimate(0.3), "coverage_rmse": estimate(0.2), "object_iou": estimate(0.6)}
    worse = better | {"color_iou": estimate(0.1)}
    numbers["train_boigllm"] = {"test_time": rows | {"boigllm": better}, "test_account": rows | {"boigllm": worse}}
    missed = [g.what for g in goals(numbers) if g.what.startswith("BoigLLM") and not g.reached]
    assert missed == ["BoigLLM, unseen accounts: color IoU better than account frequency and nearest neighbor"]
    assert len([g for g in goals(numbers) if g.what.startswith("BoigLLM")]) == 6


@pytest.mark.parametrize(("covered", "reached"), [(0.879, False), (0.88, True), (0.92, True), (0.921, False)])
def test_intervals_must_hold_what_they_promise(covered: float, reached: bool):
    numbers = {"train_reward": {"test_account": {"reward": {"coverage_90": estimate(covered)}}}}
    (goal,) = goals(numbers)
    assert (goal.what, goal.reached) == ("Reward, unseen accounts: 90 % intervals hold 88 to 92 % of the posts", reached)
    assert goal.measured == f"{100 * covered:.1f} %"


def test_the_reward_is_shown_with_its_groups_and_mismatched_pairs():
    page = render(story(findings()))
    for words in (
        "known food (n = 120)",
        "Coverage of 90 % intervals",
        "Picture of another product",
        "left out of a training",
        "Reward ahead by",
    ):
        assert words in page


def test_a_run_that_takes_too_long_misses_its_goal():
    slow = {"run": {"wall_s": 1801, "peak_rss_gb": 7.9, "noop_s": 5.0}}
    assert [g.reached for g in goals(slow)] == [False, True, True]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (1234.5, "1,234"),
        (0.01234, "0.0123"),
        (12.345, "12.3"),
        (-0.5, "−0.500"),
        (1e-9, "1.00e-09"),
        (999.96, "1,000"),
        (9.996, "10.0"),
    ],
)
def test_significant_digits(number, text):
    assert significant(number) == text


def test_percent_has_no_negative_zero():
    assert (percent(-0.001), signed_percent(0.304), signed_percent(-0.02), signed_percent(0)) == ("0 %", "+30 %", "−2 %", "0 %")


def test_columns_show_intervals_and_gaps():
    assert COLUMNS["true_uplift"].interval(estimate(0.3)) == "+25 … +35 %"
    assert COLUMNS["rating"].text(estimate(1012.6)) == "1,013"
    assert COLUMNS["fid"].text(None) == "–"


def test_best_is_strong_and_real_does_not_compete():
    table = tables.generation(metrics(("base", "pft", "real"))["evaluate"], ("judge", "fid"))
    strong = {row[0].text: [cell.strong for cell in row[1:]] for row in table.rows}
    assert strong == {"Base model": [False, True], "PFT (supervised)": [True, False], "Real pictures": [False, False]}


def test_charts_are_reproducible_svg():
    rows = [("a", estimate(0.2)), ("b", estimate(0.4))]
    one = charts.intervals(rows, label="x", zero=0.0, percent=True)
    assert one == charts.intervals(rows, label="x", zero=0.0, percent=True)
    assert one.lstrip().startswith("<?xml")
