"""Write what people read: the report, the model card, the table of briefs, picture grids."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from boig.brief import BUCKETS
from boig.evaluation import tables
from boig.evaluation.contact import sheet
from boig.evaluation.goals import goals
from boig.evaluation.report import GridBlock, environment, render
from boig.evaluation.story import Findings, notes, story
from boig.language.prompts import picture_prompt
from boig.reporting import Reporter
from tasks.evaluate.held_out import Held
from tasks.evaluate.methods import STEERED, WANTED
from tasks.evaluate.paint import from_png
from tasks.evaluate.tabulate import Kept, Scores

STAGES = ("simulate", "ingest", "verbalize", "train_boigllm", "train_reward", "align_boigsd")
"""Stages whose metrics files the report quotes."""
SCORES = ("reward", "judge", "likes", "agreement", "mismatch", "unsafe", "text_score")
_BRIEFS = pa.schema(
    [
        pa.field("post_id", pa.string(), nullable=False),
        pa.field("account", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("kpi", pa.float64(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("bucket", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("picture", pa.string(), nullable=False),
        *(pa.field(name, pa.float64()) for name in SCORES),
    ]
)


def read_metrics(folder: Path) -> dict[str, dict]:
    """Metrics files of the earlier stages; one that is absent (a real feed has no simulate stage) is left out."""
    found = {stage: folder / f"{stage}.json" for stage in STAGES}
    return {stage: json.loads(path.read_text()) for stage, path in found.items() if path.is_file()}


def grid(
    held: Sequence[Held], rows: Sequence[int], columns: Mapping[str, Kept], titles: Mapping[str, str], pictures: Mapping[str, bytes]
) -> GridBlock:
    """The briefs `rows` across the `columns`."""
    return GridBlock(
        ("Caption", *(titles[name] for name in columns)),
        tuple((_label(held[i]), tuple(pictures[kept.keys[i]] for kept in columns.values())) for i in rows),
    )


def _label(held: Held) -> str:
    caption = picture_prompt(held.brief.caption, held.brief.account)
    return f"{held.brief.account}: {caption if len(caption) <= 90 else caption[:89] + '…'}"


def grids(
    held: Sequence[Held], kept: Mapping[str, Mapping[str, Kept]], pictures: Mapping[str, bytes], rows: Sequence[int]
) -> tuple[GridBlock, GridBlock | None]:
    """The grid of methods, and the one of buckets for the first method that can be steered."""
    shown = {name: by.get(WANTED) or by[""] for name, by in kept.items()}
    methods = grid(held, rows, shown, tables.METHODS, pictures)
    name = next((n for n in STEERED if n in kept), None)
    if name is None:
        return methods, None
    buckets = grid(held, rows, {b: kept[name][b] for b in BUCKETS}, {b: b for b in BUCKETS}, pictures)
    return methods, GridBlock(buckets.head, buckets.rows, f"{tables.METHODS[name]}, with low, medium and high KPI wanted.")


def briefs_table(held: Sequence[Held], kept: Mapping[str, Mapping[str, Kept]], scores: Scores) -> pa.Table:
    """One row per brief, method and wanted bucket."""
    rows = []
    for name, by_bucket in kept.items():
        for bucket, one in by_bucket.items():
            for h, key in zip(held, one.keys, strict=True):
                numbers = {s: None if scores[key][s] is None else float(scores[key][s]) for s in SCORES}
                rows.append(
                    {
                        "post_id": h.brief.post_id, "account": h.brief.account, "split": h.split, "caption": h.brief.caption, "kpi": h.kpi,
                        "method": name, "bucket": bucket, "prompt": scores[key].get("prompt", ""), "picture": key, **numbers,
                    }
                )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=_BRIEFS)


def brief_rows(
    held: Sequence[Held], rows: Sequence[int], kept: Mapping[str, Mapping[str, Kept]], pictures: Mapping[str, bytes], scores: Scores
) -> list[dict]:
    """The briefs `rows` with each method's picture and what reward and judge say of it, to look at side by side."""
    found = []
    for i in rows:
        for name, by_bucket in kept.items():
            key = (by_bucket.get(WANTED) or by_bucket[""]).keys[i]
            found.append(
                {
                    "caption": _label(held[i]), "method": tables.METHODS[name], "prompt": scores[key].get("prompt", ""),
                    "picture": from_png(pictures[key]), "reward": float(scores[key]["reward"]), "judge": float(scores[key]["judge"]),
                }
            )  # fmt: skip
    return found


def model_card(findings: Findings, base: str, revision: str) -> str:
    """The card as Markdown, for models/boigsd wherever it goes."""
    note = "Parentheses hold 95 % intervals."
    sizes = findings.metrics.get("ingest", {}).get("split_sizes", {})
    data = [f"{size:,} posts in `{name}`" for name, size in sizes.items()]
    return environment(html=False).get_template("model_card.md.j2").render(
        found=findings, base=base, revision=revision, data=data, notes=notes(findings),
        performance=tables.markdown(tables.generation(findings.evaluate, tables.PERFORMANCE, note)),
        kept=tables.markdown(tables.generation(findings.evaluate, tables.KEPT, note)),
        goals=goals(findings.metrics) if findings.simulated else [],
    )  # fmt: skip


def publish(findings: Findings, briefs: pa.Table, card: str, folder: Path, scratch: Path, report: Reporter) -> Path:
    """Write all files beside each other and move them in at once.

    Returns:
        The report's path.
    """
    staging = scratch / "reports"
    shutil.rmtree(staging, ignore_errors=True)
    (staging / "pictures").mkdir(parents=True)
    (staging / "report.html").write_text(render(story(findings)))
    (staging / "model_card.md").write_text(card)
    pq.write_table(briefs, staging / "briefs.parquet", compression="zstd")
    for name, block in (("methods", findings.grid), ("buckets", findings.buckets)):
        if block is not None:
            picture = sheet(block)
            Image.fromarray(picture).save(staging / "pictures" / f"{name}.png")
            report.picture(name, picture)
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(staging.iterdir()):
        target = folder / path.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)
    report.artifact(folder / "report.html")
    report.artifact(folder / "model_card.md")
    return folder / "report.html"
