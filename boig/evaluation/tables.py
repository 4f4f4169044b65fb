"""Tables of the report and the README, straight from metrics files."""

from collections.abc import Mapping, Sequence

from boig.evaluation.formats import COLUMNS, DASH, NO_BREAK, Format, decimals, mean_of, percent, significant
from boig.evaluation.report import Cell, TableBlock
from boig.language.metrics import HIGHER_IS_BETTER

METHODS: dict[str, str] = {
    "base": "Base model",
    "boigllm_prompt": "Base + BoigLLM’s prompt",
    "retrieved_prompt": "Base + retrieved prompt",
    "pft": "PFT (supervised)",
    "kpi_guided": "KPI-guided",
    "best_of_4": "Best of 4 of base",
    "best_of_16": "Best of 16 of base",
    "ddpo": "DDPO as published",
    "boigsd": "BoigSD (ours)",
    "boigsd_best_of_4": "BoigSD, best of 4",
    "real": "Real pictures",
}
"""Names of the generation methods, in the order of the table."""
SPLITS: dict[str, str] = {"val": "validation", "test_time": "newest posts", "test_account": "unseen accounts"}
BOIGLLM: dict[str, str] = {
    "boigllm": "BoigLLM (ours)",
    "frequency": "Account’s frequencies",
    "neighbor": "Nearest neighbor",
    "zero_shot": "Untuned, zero-shot",
    "three_shot": "Untuned, 3-shot",
    "five_shot": "Untuned, 5-shot",
}
_DESCRIPTION_TITLES: dict[str, str] = {
    "color_iou": "Color IoU",
    "color_cosine": "Color cosine",
    "color_rgb_distance": "RGB distance",
    "coverage_rmse": "Coverage RMSE",
    "tone_rmse": "Tone RMSE",
    "object_iou": "Object IoU",
    "object_cosine": "Object cosine",
    "area_error": "Area error",
    "center_distance": "Center distance",
    "json_valid": "Valid JSON",
}
BOIGLLM_COLUMNS: dict[str, Format] = {
    name: Format(title, percent if name == "json_valid" else decimals(3), "up" if HIGHER_IS_BETTER[name] else "down")
    for name, title in _DESCRIPTION_TITLES.items()
}
DESCRIBED = ("color_iou", "coverage_rmse", "tone_rmse", "object_iou")
"""The columns of `BOIGLLM_COLUMNS` by which descriptions are judged in short."""
REWARD: dict[str, str] = {
    "reward": "Reward (engagement)",
    "design_reward": "Reward (design)",
    "judge": "Judge",
    "account_mean": "Account mean",
    "context_gbm": "Boosting on context",
    "caption_only": "Caption only",
    "picture_ridge": "Ridge on ImageNet features",
    "picture_only": "Picture only",
    "context_only": "Context only",
    "shuffled": "Trained on shuffled KPI",
}
RIVALS = ("reward", "account_mean", "picture_ridge", "context_gbm", "judge")
"""Rows of the table that says how far the reward is ahead."""
REWARD_COLUMNS: dict[str, Format] = {
    "pearson": Format("Pearson", decimals(3), "up"),
    "spearman": Format("Spearman", decimals(3), "up"),
    "spearman_within": Format("within account", decimals(3), "up"),
    "pair_accuracy": Format("Pair accuracy", percent, "up"),
}
HONESTY_COLUMNS: dict[str, Format] = {
    "coverage_90": Format("Coverage of 90 % intervals", percent),
    "interval_width": Format("Interval width", decimals(1), "down"),
    "ece": Format("Calibration error", decimals(3), "down"),
    "matched": Format("Own picture", decimals(1)),
    "mismatched": Format("Picture of another product", decimals(1)),
    "mismatch_auc": Format("Own above other", percent, "up"),
}
"""Of what a score is worth: its intervals, and whether it knows a picture that shows something else."""
GROUP_COLUMNS: dict[str, Format] = {name: HONESTY_COLUMNS[name] for name in ("coverage_90", "interval_width")}
ALIGN_COLUMNS: dict[str, Format] = {
    "wall_s": Format("Wall time, s", decimals(0)),
    "pictures": Format("Pictures", decimals(0)),
    "unet_forwards": Format("U-Net forwards", decimals(0)),
    "reward_calls": Format("Reward calls", decimals(0)),
    "start_ratio_error": Format("Ratio error at start", significant),
    "reward_first": Format("Reward, first", significant),
    "reward_last": Format("Reward, last", significant),
    "kl_last": Format("KL, last", significant),
}
PERFORMANCE = ("true_uplift", "judge_win_rate", "rating", "judge", "reward")
KEPT = ("prompt_agreement", "mismatch_rate", "unsafe_rate", "text_score", "vendi", "fid", "kid", "mmd", "unet_forwards", "reward_calls")


def block(values: Mapping[str, Mapping], names: Mapping[str, str], columns: Mapping[str, Format], first: str, note: str = "") -> TableBlock:
    """A table of `values[row][column]`, rows and columns in the order of their titles; empty columns are left out.

    The best mean of each column with a better side is strong; real pictures do not compete.
    """
    rows = {key: values[key] for key in names if key in values}
    used = {key: f for key, f in columns.items() if any(mean_of(r.get(key)) is not None for r in rows.values())}
    best = {key: _best(rows, key, f) for key, f in used.items()}
    return TableBlock(
        head=(first, *(f.heading for f in used.values())),
        rows=tuple(
            (Cell(names[name]), *(Cell(f.text(r.get(key)), f.interval(r.get(key)), name in best[key]) for key, f in used.items()))
            for name, r in rows.items()
        ),
        note=note,
    )


def _best(rows: Mapping[str, Mapping], column: str, form: Format) -> frozenset[str]:
    """Rows that show the best number, where there is a choice and a better side."""
    means = {name: m for name, r in rows.items() if name != "real" and (m := mean_of(r.get(column))) is not None}
    if not form.better or len(means) < 2:
        return frozenset()
    top = form.show((max if form.better == "up" else min)(means.values()))
    best = frozenset(name for name, m in means.items() if form.show(m) == top)
    return best if len(best) < len(means) else frozenset()


def generation(evaluate: Mapping, columns: Sequence[str], note: str = "") -> TableBlock:
    """Rows of metrics/evaluate.json, with the given columns."""
    values = {name: evaluate[name] | ({"judge_win_rate": None} if name == "base" else {}) for name in METHODS if name in evaluate}
    return block(values, METHODS, {c: COLUMNS[c] for c in columns}, "Method", note)


def per_split(metrics: Mapping, names: Mapping[str, str], columns: Mapping[str, Format], first: str) -> list[TableBlock]:
    """One table per split of metrics/train_boigllm.json or metrics/train_reward.json, of the rows that have one of the columns."""
    return [
        block(rows, names, columns, f"{first} – {title}", _note(metrics[split]) if "pearson" in columns else "")
        for split, title in SPLITS.items()
        if (rows := {n: r for n, r in metrics.get(split, {}).items() if n in names and any(r.get(c) is not None for c in columns)})
    ]


def described_ahead(split: Mapping) -> list[tuple[str, dict[str, float]]]:
    """By how much BoigLLM is better than each other method on the same pictures, positive is better, as shares of that method's mean.

    Args:
        split: one of metrics/train_boigllm.json.

    Returns:
        Title and estimate, by metric of `DESCRIBED` and method; empty where the file has no paired differences.
    """
    return [
        (
            f"{BOIGLLM_COLUMNS[metric].title}: {BOIGLLM[name]}",
            {k: found[metric][k] / split[name][metric]["mean"] for k in ("mean", "lo", "hi")},
        )
        for metric in DESCRIBED
        for name, found in split.get("ahead", {}).items()
        if name in BOIGLLM and metric in found and split[name][metric]["mean"] > 0
    ]


def reward_ahead(metrics: Mapping) -> list[TableBlock]:
    """Spearman of the reward and its rivals, and how far it is ahead of them on the same posts, one table per split that has rows."""
    columns = {"spearman": REWARD_COLUMNS["spearman"], "ahead": Format("Reward ahead by", decimals(3))}
    found = []
    for split, title in SPLITS.items():
        rows = metrics.get(split, {})
        by = rows.get("reward", {}).get("spearman_ahead", {})
        values = {name: {"spearman": rows[name]["spearman"], "ahead": by.get(name)} for name in RIVALS if name in rows}
        if values:
            n = next(iter(values.values()))["spearman"]["n"]
            found.append(block(values, REWARD, columns, f"Model – {title} (n = {n:,})"))
    return found


def by_group(metrics: Mapping) -> list[TableBlock]:
    """Coverage and width of the reward's intervals by group of accounts, one table per split of metrics/train_reward.json."""
    found = {split: metrics.get(split, {}).get("reward", {}).get("coverage_by_group", {}) for split in SPLITS}
    return [
        block(groups, {g: f"{g} (n = {e['coverage_90']['n']:,})" for g, e in groups.items()}, GROUP_COLUMNS, f"Accounts – {SPLITS[split]}")
        for split, groups in found.items()
        if groups
    ]


def group_range(split: Mapping) -> str:
    """A sentence on the groups with the least and the most coverage; empty where there are not two."""
    groups = split.get("reward", {}).get("coverage_by_group", {})
    if len(groups) < 2:
        return ""
    least, most = (pick(groups, key=lambda g: groups[g]["coverage_90"]["mean"]) for pick in (min, max))
    shown = HONESTY_COLUMNS["coverage_90"]
    ends = [f"{shown.text(e)} ({shown.interval(e)}) in “{g}”" for g, e in ((g, groups[g]["coverage_90"]) for g in (least, most))]
    return f"By accounts’ industry, the reward’s intervals cover from {ends[0]} to {ends[1]}."


def _note(split: Mapping) -> str:
    number, said = mean_of(split.get("ceiling")), []
    if number is not None:
        ratio = mean_of(split.get("reward", {}).get("pearson"))
        share = f" The reward reaches {percent(ratio / number)} of it." if ratio is not None and number > 0 else ""
        said.append(f"A perfect predictor would reach a Pearson correlation of {number:.3f}, since likes are noisy.{share}")
    together = mean_of(split.get("judge", {}).get("error_correlation"))
    if together is not None:
        said.append(f"Errors of judge and reward correlate by {together:.2f}, the noise of likes, which is in both, included.")
    return " ".join(said)


def markdown(table: TableBlock) -> str:
    """The table for Markdown, intervals in parentheses; a line may break before an interval, not within."""
    lines = ["| " + " | ".join(table.head) + " |", "| --- |" + " ---: |" * (len(table.head) - 1)]
    for row in table.rows:
        lines.append("| " + " | ".join(_markdown_cell(cell) for cell in row) + " |")
    return "\n".join(lines)


def _markdown_cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.strong and cell.text != DASH else cell.text
    return f"{text.replace(' ', NO_BREAK)} ({cell.small.replace(' ', NO_BREAK)})" if cell.small else text
