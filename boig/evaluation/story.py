"""What the report says, in which order, from metrics files, curves and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from boig.evaluation import charts, tables
from boig.evaluation.formats import COLUMNS, known, mean_of, percent, signed_percent
from boig.evaluation.goals import goals
from boig.evaluation.report import Block, Cell, ChartBlock, GridBlock, Part, Report, TableBlock

_FEW = 100
"""Briefs below which the report says that they are few."""
_LOOKS: dict[str, str] = {"reward": "Reward", "judge": "Judge", "likes": "True law: likes against base", "diversity": "Diversity"}
"""What the panel of an alignment run is looked at for, and the titles of the charts."""


@dataclass(frozen=True)
class Findings:
    """Everything that the report is made of."""

    metrics: Mapping[str, Mapping]
    """Per stage its metrics file; stages that did not run are absent. `evaluate` is there."""
    looks: Mapping[str, Sequence[Mapping]]
    """Per alignment method the looks at its panel: `unet_forwards` and some of `reward`, `judge`, `likes`, `diversity`."""
    grid: GridBlock
    """The same briefs drawn by each method."""
    buckets: GridBlock | None
    """The same briefs with low, medium and high KPI wanted."""
    simulated: bool
    features: str
    """What the distances' features are."""
    text_score: str
    """What the text–picture score is."""
    safety: str
    """What counts as unsafe, a sentence; empty where nobody looks."""
    picture_px: int
    reference_pictures: int
    """Real pictures behind the distances."""
    accounts: int
    """Accounts behind the briefs."""

    @property
    def evaluate(self) -> Mapping:
        """metrics/evaluate.json."""
        return self.metrics["evaluate"]


def story(found: Findings) -> Report:
    """The whole report."""
    briefs = found.evaluate["briefs"]
    simulated = "simulated feed: all results are about a made-up world with a known law of likes"
    return Report(
        title="BOIG: behavior-optimized image generation",
        subtitle=(
            "Pictures for held-out posts, drawn by each method from the same seeds, with a high KPI wanted. "
            f"Intervals are 95 %, from resampling {'whole accounts' if found.accounts > 1 else 'posts, since there is one account'}."
            + (f" Only {briefs} briefs: small n, so believe a difference only where intervals are apart." if briefs < _FEW else "")
        ),
        badge=simulated if found.simulated else "real feed: observational results",
        facts=tuple(_facts(found)),
        parts=tuple(
            part
            for part in (
                _performance(found), _pictures(found), _goals(found), _kept(found), _steering(found), _alignment(found),
                _reward(found), _boigllm(found), _data(found), _failures(found), _notes(found),
            )
            if part is not None
        ),
    )  # fmt: skip


def _facts(found: Findings) -> list[tuple[str, str]]:
    evaluate = found.evaluate
    facts = [(f"{evaluate['briefs']:,}", f"held-out briefs of {found.accounts} account{'s' * (found.accounts > 1)}")]
    ours = evaluate.get("boigsd") or evaluate.get("boigllm_prompt")
    name = "BoigSD" if "boigsd" in evaluate else "BoigLLM’s prompt"
    if ours and ours["true_uplift"]:
        facts.append((signed_percent(ours["true_uplift"]["mean"]), f"expected likes of {name} over base, under the true law"))
    if ours and ours["judge_win_rate"]:
        facts.append((percent(ours["judge_win_rate"]["mean"]), f"of {name}’s pictures preferred to base by the independent judge"))
    if ours and "boigsd" in evaluate:
        facts.append((f"{ours['vendi']['mean'] / evaluate['base']['vendi']['mean']:.2f} ×", "of base’s diversity kept (Vendi)"))
    pearson = mean_of(found.metrics.get("train_reward", {}).get("test_time", {}).get("reward", {}).get("pearson"))
    if pearson is not None:
        facts.append((f"{pearson:.2f}", "Pearson of the reward with the KPI of newer posts"))
    return facts


def _performance(found: Findings) -> Part:
    law = "True uplift: expected likes under the law of the simulated feed, relative to base’s picture of the same brief. "
    note = (law if found.simulated else "") + (
        "Judge: an independent model of pixels and context, trained on other posts, KPI 0–100. Rating: Bradley–Terry over the "
        "judge’s preferences between all methods, on Elo’s scale, mean 1000. Reward: what alignment optimizes, so it flatters "
        "what was aligned."
    )
    blocks: list[Block] = [tables.generation(found.evaluate, tables.PERFORMANCE, note)]
    rows = {name: found.evaluate[name] for name in tables.METHODS if name in found.evaluate}
    lifted = [(tables.METHODS[n], r["true_uplift"]) for n, r in rows.items() if n != "base" and r["true_uplift"]]
    if lifted:
        svg = charts.intervals(lifted, label="true uplift over base, %", zero=0.0, percent=True)
        blocks.append(ChartBlock(svg, "True uplift over base with 95 % intervals, by method"))
    rated = [(tables.METHODS[n], r["rating"]) for n, r in rows.items()]
    svg = charts.intervals(rated, label="Bradley–Terry rating by the judge", zero=rows["base"]["rating"]["mean"])
    blocks.append(ChartBlock(svg, "Ratings with 95 % intervals, by method; the dashed line is the base model"))
    return Part("How well the pictures perform", (), tuple(blocks))


def _pictures(found: Findings) -> Part:
    text = "Held-out posts, chosen by seed, not by result. All but best-of-n start from the same noise."
    return Part("The same briefs, method by method", (text,), (found.grid,))


def _goals(found: Findings) -> Part | None:
    asked = goals(found.metrics) if found.simulated else []
    if not asked:
        return None
    rows = tuple((Cell(g.what), Cell(g.measured), Cell("yes" if g.reached else "no", strong=not g.reached)) for g in asked)
    return Part("Goals of the embedded default", (), (TableBlock(("Goal", "Measured", "Reached"), rows),))


def _kept(found: Findings) -> Part:
    agreement = "Prompt agreement: the reference classifier finds every product and the background color that the caption names. "
    note = (agreement if found.simulated else "") + (
        f"Mismatch: a product that the caption names is not among the detected objects. {found.safety} Text score: "
        f"{found.text_score}. FID, KID and MMD: against {found.reference_pictures} real pictures of other posts, "
        f"n = {found.evaluate['briefs']} generated ones at {found.picture_px} px, lossless RGB, real pictures cropped to a square and "
        f"resized to it with a box filter; {found.features}, standardized, 64 principal axes, so these numbers cannot be compared "
        "with other papers’. Vendi: effective number of different pictures in the same features. U-Net forwards and reward calls are "
        "those spent per delivered picture; training is in the table of alignment."
    )
    return Part("What they keep, and what they cost", (), (tables.generation(found.evaluate, tables.KEPT, note),))


def _steering(found: Findings) -> Part | None:
    steered = {n: found.evaluate[n]["by_bucket"] for n in tables.METHODS if "by_bucket" in found.evaluate.get(n, {})}
    described = found.evaluate.get("described")
    if not steered and not described:
        return None
    measure, label = ("true_uplift", "true uplift over base, %") if found.simulated else ("judge", "judge, KPI")
    lines = {tables.METHODS[n]: [by[b][measure] for b in ("low", "medium", "high")] for n, by in steered.items()}
    blocks: list[Block] = [_described(described)] if described else []
    if lines:
        svg = charts.steering(lines, label=label, percent=found.simulated)
        blocks.append(ChartBlock(svg, "What wanting a low, medium or high KPI changes"))
    if found.buckets is not None:
        blocks.append(found.buckets)
    said = found.evaluate["steering"].get("described")
    text = (
        "Rank correlation of the wanted bucket with expected likes within a brief, when the simulator draws exactly what BoigLLM "
        "describes: "
        f"{said['mean']:.2f} ({said['lo']:.2f} … {said['hi']:.2f})."
        if said
        else "Does asking for a low, medium or high KPI change what is drawn?"
    )
    return Part("Steering by the wanted KPI", (text,), tuple(blocks))


def _described(described: Mapping) -> ChartBlock:
    """What the simulator would bring BoigLLM's descriptions, by wanted bucket."""
    lines = {"BoigLLM’s descriptions": [described["by_bucket"][b] for b in ("low", "medium", "high")]}
    svg = charts.steering(lines, label="true expected likes\nagainst the brief’s mean, %", percent=True)
    show = COLUMNS["true_uplift"]
    rises = [f"{name.replace('_', ' ')} {show.text(rise)} ({show.interval(rise)})" for name, rise in described["rises"].items()]
    note = f"Of the mean over a brief’s three buckets; rises within briefs: {', '.join(rises)}."
    return ChartBlock(svg, "True expected likes of BoigLLM’s descriptions by wanted bucket, as the simulator draws them", note)


def _alignment(found: Findings) -> Part | None:
    blocks: list[Block] = []
    panels = []
    for key, title in _LOOKS.items():
        lines = {
            tables.METHODS.get(name, name): points
            for name, looks in found.looks.items()
            if (points := [(look["unet_forwards"], look[key]) for look in looks if look.get(key) is not None])
        }
        if lines:
            panels.append((title, lines))
    if panels:
        note = (
            "A fixed panel of held-out prompts, looked at during training. A reward that rises while judge, law or diversity "
            "fall is being hacked."
        )
        svg = charts.against_compute(panels, label="U-Net forwards")
        blocks.append(ChartBlock(svg, "Reward, judge, law and diversity against compute", note))
    spent = found.metrics.get("align_boigsd", {})
    if spent:
        blocks.append(tables.block(spent, tables.METHODS, tables.ALIGN_COLUMNS, "Training"))
    return Part("Alignment against compute", (), tuple(blocks)) if blocks else None


def _reward(found: Findings) -> Part | None:
    metrics = found.metrics.get("train_reward")
    if not metrics:
        return None
    text = (
        "The reward scores the verbalized picture in its context and drives alignment; the judge sees pixels and learned from "
        "other posts: it measures, and says when to stop."
    )
    honest = (
        "Intervals are conformal, fitted on validation posts for known accounts and, for unseen ones, on accounts left out of a training "
        "of their own. A post’s own picture, and one of another product: mean scores, and how often the own one is above."
    )
    shown = (
        *tables.per_split(metrics, tables.REWARD, tables.REWARD_COLUMNS, "Model"),
        *(tables.reward_ahead(metrics) if any("spearman_ahead" in s.get("reward", {}) for s in metrics.values()) else ()),
        *tables.per_split(metrics, tables.REWARD, tables.HONESTY_COLUMNS, "Model"),
        *tables.by_group(metrics),
    )
    return Part("Reward and judge", (text, honest), shown)


def _boigllm(found: Findings) -> Part | None:
    metrics = found.metrics.get("train_boigllm")
    if not metrics:
        return None
    text = "From account, time, caption and KPI to how the picture should look, compared with how the post’s picture did look."
    blocks: list[Block] = [*tables.per_split(metrics, tables.BOIGLLM, tables.BOIGLLM_COLUMNS, "Method")]
    for split, where in tables.SPLITS.items():
        if rows := tables.described_ahead(metrics.get(split, {})):
            svg = charts.intervals(rows, label="BoigLLM better by, %", zero=0.0, percent=True)
            note = (
                f"{where.capitalize()}, paired on the same pictures, in % of the other method’s mean; right of the line BoigLLM is better."
            )
            blocks.append(ChartBlock(svg, f"BoigLLM against each other method, paired, with 95 % intervals: {where}", note))
    return Part("BoigLLM", (text,), tuple(blocks))


def _data(found: Findings) -> Part | None:
    rows: list[tuple[Cell, ...]] = []
    simulate, ingest, seen = (found.metrics.get(stage, {}) for stage in ("simulate", "ingest", "verbalize"))
    if simulate and found.simulated:  # its numbers stay behind where a real feed takes its place
        shares = ", ".join(f"{name} {percent(known(value))}" for name, value in simulate.get("variance_share", {}).items())
        count = f"{simulate['posts']:,} posts, law seed {simulate['law_seed']}"
        rows.append((Cell("Simulated feed"), Cell(count), Cell(f"variance: {shares}")))
    if ingest:
        sizes = ", ".join(f"{name} {size:,}" for name, size in ingest.get("split_sizes", {}).items())
        counts = f"{ingest['rows_in']:,} rows, {ingest['ok']:,} used, {ingest['skipped']:,} skipped, {ingest['failed']:,} failed"
        rows.append((Cell("Ingested"), Cell(counts), Cell(sizes)))
    if seen:
        rows.append((Cell("Verbalized"), Cell(f"{seen['ok']:,} of {seen['rows_in']:,} pictures"), Cell(_accuracy(seen))))
    return Part("Data", (), (TableBlock(("Stage", "Rows", "More"), tuple(rows)),)) if rows else None


def _accuracy(seen: Mapping) -> str:
    label, iou = mean_of(seen.get("label_accuracy")), mean_of(seen.get("mean_iou"))
    return f"detector: labels {percent(label)}, mean IoU {iou:.2f}" if label is not None and iou is not None else ""


def _failures(found: Findings) -> Part:
    reasons = found.metrics.get("ingest", {}).get("failed_by_reason", {})
    bullets = [f"Ingest put {count:,} rows into quarantine: {reason.replace('_', ' ')}." for reason, count in reasons.items() if count]
    failed = found.metrics.get("verbalize", {}).get("failed", 0)
    if failed:
        bullets.append(f"{failed:,} pictures could not be verbalized.")
    for name in tables.METHODS:
        row = found.evaluate.get(name)
        if row and row["mismatch_rate"] and row["mismatch_rate"]["mean"] > found.evaluate["base"]["mismatch_rate"]["mean"] + 0.05:
            rate = COLUMNS["mismatch_rate"].text(row["mismatch_rate"])
            bullets.append(f"{tables.METHODS[name]} leaves out named products more often than base ({rate}).")
    return Part("Failures", () if bullets else ("None to report.",), bullets=tuple(bullets))


def notes(found: Findings) -> tuple[str, ...]:
    """What one must know to read the numbers right."""
    shared = (
        f"{found.evaluate['briefs']} briefs are few for FID, which is biased upwards at such sizes, by about as much in all rows; "
        "KID and MMD are not.",
        "Intervals of FID, KID, MMD and Vendi come from leaving one account out at a time; all others from resampling accounts.",
        "Best-of-n chooses by the same reward that alignment optimizes; the law takes part in neither.",
        "The shipped adapters are those of the look at which the judge was best on a small panel of other held-out prompts.",
    )
    if found.simulated:
        about = (
            "Everything here is simulated: accounts, posts, pictures and likes. It shows that the method works where the truth is known, "
            "and says nothing about how people react.",
            "The law sees generated pictures through a reference classifier, whose mistakes are part of the true uplift.",
        )
    else:
        about = (
            "Likes in a feed were not assigned at random: any uplift here is a model’s opinion from observational data.",
            "No true law is known for a real feed, so those columns are empty.",
        )
    return about + shared


def _notes(found: Findings) -> Part:
    return Part("How to read this", (), bullets=notes(found))
