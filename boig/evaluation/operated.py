"""What is told in Markdown of operating it: the simulated year (`make year`), injected faults (`make faults`), what runs cost."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from boig.evaluation.formats import DASH, decimals, percent
from boig.evaluation.tables import SPLITS

CHART = "docs/year.svg"
_NUMBER = decimals(3)


def year(metrics: Mapping[str, Mapping]) -> str:
    """A row per month after the first: what the champion before it and the first model knew of it, and what became of its challenger."""
    months = metrics["year"]["months"]
    lines = [
        "| Month | Champion in use | Its correlation with the month's KPI | First model's | The month's challenger |",
        "| ---: | --- | ---: | ---: | --- |",
    ]
    for before, row in pairwise(months):
        knows = [_correlation(row["knows"].get(who, {}).get("reward")) for who in ("champion", "first")]
        lines.append(f"| {row['month']} | version {before['champion']} | {' | '.join(knows)} | {_challenger(row)} |")
    return "\n".join([*lines, "", f"![What the champion and the first model knew of each month]({CHART})"]) + "\n"


def faults(metrics: Mapping[str, Mapping]) -> str:
    """How many were survived, and which were not."""
    found = metrics["faults"]
    lost = [name for name, one in found["by_fault"].items() if not one["survived"]]
    told = f"{found['survived']} of {found['faults']} injected faults survived" + (f", not: {', '.join(lost)}" if lost else "")
    return f"{told}; runs without a clear end: {found['runs_without_end']}.\n"


def orchestration(results: Mapping[str, Mapping]) -> str:
    """What is not a stage's own work; where the servers were the local stack's, also what it takes at rest, to start and to come back."""
    found = results["orchestration"]
    each = [seconds / found["stages"] for seconds in found["runs_s"]]
    told = [
        f"Beside its own work a stage takes {found['seconds_per_stage']:.1f} s on the local stack ({min(each):.1f} … {max(each):.1f} in "
        f"{len(each)} runs of {found['stages']} stages), {found['seconds_per_stage_dvc_alone']:.1f} s of it DVC alone; `dvc repro` with "
        f"nothing to do {found['noop_s']:.1f} s."
    ]
    if found["idle_stack_mb"]:
        told.append(f"The stack at rest has {found['idle_stack_mb'] / 1000:.2f} GB resident in all.")
    if starts := found.get("up_s"):
        cached = "no file cached" if found["up_cold"] else "files cached"
        back = ", ".join(f"{name} {_spread(seconds)}" for name, seconds in found["back_s"].items())
        told += [
            f"`make stack` has all parts well after {_spread(starts)} s, {cached} ({len(starts)} starts).",
            f"A part whose process is killed is well again after, in seconds: {back}"
            f" ({min(map(len, found['back_s'].values()))} times each).",
        ]
    return " ".join(told) + "\n"


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.1f} ({min(values):.1f} … {max(values):.1f})"


def align(results: Mapping[str, Mapping]) -> str:
    """How long alignment trains until the panel's reward is what DDPO ends with, and how far each goes."""
    found = results["align"]
    reward, peak, looks = found["reward"], found["peak_rss_gb"], {name: run["looks"] for name, run in found["methods"].items()}
    ours, peer = looks["boigsd"][-1], looks["ddpo"][-1]
    sooner = f"gets there {found['ratio']:.1f} times sooner" if found["ratio"] else "does not get there"
    told = [
        f"DDPO as published brings the panel's reward from {reward['base']:.1f} to {reward['peer_final']:.1f} in {peer['seconds']:,.0f} s",
        f"of training. BoigSD {sooner}, and ends at {reward['ours_final']:.1f} after {ours['seconds']:,.0f} s. The diversity of",
        f"the panel's palettes falls from {looks['ddpo'][0]['diversity']:.1f} to {peer['diversity']:.1f} and {ours['diversity']:.1f}.",
        f"Peak memory {peak['ddpo']:.1f} and {peak['boigsd']:.1f} GB. Held equal: {found['held_equal']}.",
    ]
    return " ".join(told) + "\n"


def paper_scale(results: Mapping[str, Mapping]) -> str:
    """A row per method of how fast alignment is on a GPU at the paper's size, and what it takes."""
    found = results["paper_scale"]
    lines = [
        "| Method | Pictures/s | U-Net passes each | TFLOP each | Share of a matrix product's speed | Peak memory, GB | First step, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found["measurements"]:
        name = {"boigsd": "BoigSD", "ddpo": "DDPO as published"}[row["method"]] + (", compiled" if row["compiled"] else "")
        if not row["pictures_per_s"]:
            lines.append(f"| {name}, chunks of {row['chunk']} | do not fit |" + f" {DASH} |" * 5)
            continue
        work = f"{row['tflop_per_picture']:.0f} | {percent(row['share_of_product'])}" if row["tflop_per_picture"] else f"{DASH} | {DASH}"
        lines.append(
            f"| {name}, chunks of {row['chunk']} | {row['pictures_per_s']:.2f} | {row['unet_forwards_per_picture']:.0f} "
            f"| {work} | {row['peak_gb']:.0f} | {row['first_s']:.0f} |"
        )
    ratio = f"BoigSD makes {found['ratio']:.1f} times as many pictures a second" if found["ratio"] else "There is no ratio"
    return "\n".join([*lines, "", f"{ratio}. {found['machine']}; {found['held_equal']}."]) + "\n"


def _challenger(row: Mapping) -> str:
    """Its number, and the gate's word: of a refusal each reason's beginning, without its numbers."""
    word, _, reason = row["gate"].partition(": ")
    if word == "passed":
        return f"version {row['version']}: champion"
    why = ", ".join(dict.fromkeys(_short(part) for part in reason.split("; ") if not part.startswith("at most")))
    return f"version {row['version']}: refused ({why})"


def _short(part: str) -> str:
    name = part.split(":")[0]
    if " moves the " in part:
        return part.split(" KPI points")[0] + " KPI points"
    model, _, split = name.partition(" on ")
    return f"{model} worse on {SPLITS[split]}" if split in SPLITS else f"{name} not proven better"


def _correlation(found: Mapping | None) -> str:
    return f"{_NUMBER(found['mean'])} ({_NUMBER(found['lo'])} … {_NUMBER(found['hi'])})" if found else DASH
