"""The report shows every method, explains itself, and is one file that needs no other."""

import re

import pytest

from boig.evaluation import charts, tables
from boig.evaluation.formats import COLUMNS, percent, signed_percent, significant
from boig.evaluation.goals import goals
from boig.evaluation.report import render
from boig.evaluation.story import story
from tests.boig.evaluation.fabricated import estimate, findings, metrics, png
from tests.mlflow_pages import browser_path, opened


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


@pytest.mark.slow
@pytest.mark.skipif(not browser_path(), reason="no Chromium here; Debian has it as package chromium")
def test_nothing_of_it_is_cut_off_on_a_laptop(page, tmp_path):
    (tmp_path / "report.html").write_text(page)
    with opened() as window:
        window.set_viewport_size({"width": 1280, "height": 800})
        window.goto((tmp_path / "report.html").as_uri())
        cut = window.eval_on_selector_all(
            ".scroll", "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText.slice(0, 40))"
        )
    assert cut == []


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


WORSE = {"color_iou": 0.2, "coverage_rmse": 0.3, "tone_rmse": 0.4, "object_iou": 0.5}
BETTER = {"color_iou": 0.3, "coverage_rmse": 0.2, "tone_rmse": 0.3, "object_iou": 0.6}


def described(means: dict[str, float], half: float = 0.02) -> dict[str, dict]:
    return {metric: estimate(mean, half) for metric, mean in means.items()}


def description_goals(ours: dict, others: dict, ahead: dict | None = None) -> dict:
    """Goals of the newest posts by metric."""
    split = {"boigllm": ours, "frequency": others, "neighbor": others} | ({"ahead": ahead} if ahead else {})
    return {re.split("posts: | better", g.what)[1]: g for g in goals({"train_boigllm": {"test_time": split}})}


def test_descriptions_must_beat_both_baselines_on_both_splits():
    rows = {name: described(WORSE) for name in ("frequency", "neighbor")}
    numbers = {
        "test_time": rows | {"boigllm": described(BETTER)},
        "test_account": rows | {"boigllm": described(BETTER | {"color_iou": 0.1})},
    }
    found = goals({"train_boigllm": numbers})
    missed = [g.what for g in found if not g.reached]
    assert missed == ["BoigLLM, unseen accounts: color IoU better than account frequency and nearest neighbor, intervals apart"]
    assert len(found) == 8


def test_intervals_of_descriptions_must_be_apart():
    reached = description_goals(described(BETTER), described(WORSE))
    assert [g.reached for g in reached.values()] == [True] * 4
    assert reached["tone RMSE"].measured == "0.300 against 0.400 and 0.400"
    wide = description_goals(described(BETTER, 0.06), described(WORSE, 0.06))
    assert [g.reached for g in wide.values()] == [False] * 4
    assert wide["color IoU"].measured == "0.300 against 0.200 and 0.200; overlapping"


def test_a_clear_paired_difference_of_overlapping_intervals_is_said():
    clear = {"frequency": described(BETTER, 0.06), "neighbor": {metric: estimate(0.1, 0.089) for metric in BETTER}}
    unclear = clear | {"frequency": {metric: estimate(0.1, 0.2) for metric in BETTER}}
    wide = (described(BETTER, 0.06), described(WORSE, 0.06))
    for goal in description_goals(*wide, clear).values():
        assert goal.measured.endswith("; overlapping, paired difference from +0.011")
        assert not goal.reached
    assert description_goals(*wide, unclear)["object IoU"].measured.endswith("; overlapping")


def test_what_is_clearly_worse_does_not_overlap():
    worse = description_goals(described(WORSE), described(BETTER))
    assert [(g.reached, "overlapping" in g.measured) for g in worse.values()] == [(False, False)] * 4


def test_metrics_without_numbers_have_no_goal():
    old = {metric: mean for metric, mean in BETTER.items() if metric != "tone_rmse"}
    assert list(description_goals(described(old), described(WORSE))) == ["color IoU", "coverage RMSE", "object IoU"]
    assert goals({"train_boigllm": {"test_time": {"boigllm": described(BETTER)}}, "evaluate": {"steering": {}}}) == []


@pytest.mark.parametrize(
    ("means", "half", "rise", "measured", "reached"),
    [
        ((-0.2, 0.0, 0.2), 0.05, 0.1, "−20 %, 0 %, +20 % against the brief’s mean", True),
        ((-0.2, 0.0, 0.2), 0.15, 0.1, "−20 %, 0 %, +20 % against the brief’s mean; overlapping, paired rise from +10 %", False),
        ((-0.2, 0.0, 0.2), 0.15, 0.25, "−20 %, 0 %, +20 % against the brief’s mean; overlapping", False),
        ((0.2, 0.0, -0.2), 0.05, 0.1, "+20 %, 0 %, −20 % against the brief’s mean", False),
    ],
)
def test_described_pictures_must_rise_with_the_wanted_bucket(means, half, rise, measured, reached):
    by_bucket = {bucket: estimate(mean, half) for bucket, mean in zip(("low", "medium", "high"), means, strict=True)}
    rises = {name: estimate(0.2, rise) for name in ("low_to_medium", "medium_to_high")}
    (goal,) = goals({"evaluate": {"described": {"by_bucket": by_bucket, "rises": rises}}})
    assert "from low to medium to high, intervals apart" in goal.what
    assert (goal.measured, goal.reached) == (measured, reached)


@pytest.mark.parametrize(("rank", "reached"), [(0.5, True), (0.499, False)])
def test_steering_has_a_least_rank_correlation(rank: float, reached: bool):
    (goal,) = goals({"evaluate": {"steering": {"described": estimate(rank)}}})
    assert goal.what == "Steering: rank correlation of the wanted bucket with true expected likes at least 0.5"
    assert goal.reached == reached


def test_paired_differences_and_steered_descriptions_are_charts(page):
    for words in (
        "Newest posts, paired on the same pictures",
        "Unseen accounts, paired on the same pictures",
        "low to medium +23 % (+20 … +26 %), medium to high +17 % (+14 … +20 %)",
    ):
        assert words in page


def test_paired_differences_are_shares_of_the_other_method():
    split = {"boigllm": described(BETTER), "frequency": described(WORSE), "ahead": {"frequency": {"coverage_rmse": estimate(0.1, 0.03)}}}
    ((title, share),) = tables.described_ahead(split)
    assert title == "Coverage RMSE: Account’s frequencies"
    assert share == pytest.approx({"mean": 1 / 3, "lo": 0.07 / 0.3, "hi": 0.13 / 0.3})
    assert tables.described_ahead({"boigllm": described(BETTER)}) == []


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
