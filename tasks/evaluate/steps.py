"""The steps of the stage as plain functions. How rows fan out comes in as an argument: Ray in the flow, a loop in tests.

Between the steps lie Parquet files in the scratch folder; a step whose file is there is not done again.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from boig.brief import BUCKETS
from boig.contracts import PICTURES, POSTS, VERBALIZED
from boig.evaluation import safety
from boig.evaluation.features import note
from boig.evaluation.story import Findings
from boig.language.prompts import picture_prompt
from boig.reporting import Reporter
from boig.sections.evaluate import Evaluate
from boig.simulator.facts import measure
from boig.simulator.from_description import scene_of
from boig.simulator.law import Law
from boig.simulator.render import render
from boig.simulator.truth import REFERENCE_PX, expected_log_likes, mean_likes
from boig.verbalizer.form import Verbalization
from tasks.evaluate import held_out, looks, prompts, publish
from tasks.evaluate.describe import Describer
from tasks.evaluate.held_out import Held
from tasks.evaluate.methods import STEERED, chosen
from tasks.evaluate.paint import Painter, from_png
from tasks.evaluate.score import Eyes, Scorer, TrueEye
from tasks.evaluate.tabulate import Kept, Scores, Table, real_key, tabulate

BOIGLLM, REWARD, JUDGE, ADAPTERS = Path("models/boigllm"), Path("models/reward"), Path("models/judge"), Path("models/boigsd")
LAW, METRICS, REPORTS = Path("data/feed/truth/law.json"), Path("metrics"), Path("reports")
IN_TABLE = 4
"""Briefs whose pictures are in the table that MLflow shows: two objects in the store for each."""
_TABLES = (POSTS.path, PICTURES.path, VERBALIZED.path)


class FanOut(Protocol):
    """`flows.on_ray.map_batches` with its resources filled in."""

    def __call__(self, rows: list[dict], worker: type, worker_args: dict, *, batch_size: int, label: str) -> list[dict]: ...


@dataclass(frozen=True)
class Ground:
    """What all steps share."""

    held: list[Held]
    reference: list[Held]
    law: Law | None
    """None on a feed that is not simulated."""


def inputs(section: Evaluate) -> list[Path]:
    """What the pictures and their scores depend on, beside parameters and code."""
    named = [Path(section.drawing.base), Path(section.verbalizer.detector.model), Path(section.features.model), Path(section.reference)]
    local = [path for path in (*named, LAW) if path.name and path.exists()]  # hub ids are pinned by their revision
    return [*map(Path, _TABLES), BOIGLLM, REWARD, JUDGE, ADAPTERS, *local]


def ground(section: Evaluate) -> Ground:
    """Choose the briefs.

    Raises:
        ValueError: no usable held-out post, or unknown methods.
        FileNotFoundError: an earlier stage's output is missing.
    """
    chosen(section.methods)
    posts, verbalized = POSTS.read(), VERBALIZED.read().select(["picture_id", "error"])
    usable = frozenset(r["picture_id"] for r in verbalized.to_pylist() if not r["error"])
    held = held_out.choose(posts, section.briefs, seed=section.seed, usable=usable)
    reference = held_out.reference(posts, held, section.reference_pictures, seed=section.seed, usable=usable)
    law = Law.load(LAW) if LAW.is_file() else None
    known = {a.name for a in law.accounts} if law else set()
    return Ground(held, reference, law if {h.brief.account for h in held} <= known else None)


def describe(section: Evaluate, on: Ground, scratch: Path, fan_out: FanOut) -> None:
    """BoigLLM's pictures for each brief and bucket."""

    def made() -> list[dict]:
        wanted = section.wanted.model_dump()
        rows = [{"brief": h.brief, "bucket": b, "kpi": wanted[b]} for b in BUCKETS for h in on.held]
        how = section.drawing
        args = {"model": str(BOIGLLM), "device": how.device, "dtype": how.dtype, "batch_size": section.describe_batch}
        found = fan_out(rows, Describer, args, batch_size=section.describe_batch, label="describe")
        return [{"bucket": r["bucket"], "text": r["text"]} for r in found]

    if set(section.methods) & set(STEERED):
        _once(scratch / "described.parquet", made)


def paint(section: Evaluate, on: Ground, scratch: Path, fan_out: FanOut) -> None:
    """All pictures of all methods."""

    def made() -> list[dict]:
        jobs = prompts.plan(chosen(section.methods), _prompts(section, on, scratch), seed=section.seed)
        rows = [
            {"key": j.key, "brief": j.brief, "adapter": j.adapter, "bucket": j.bucket, "prompt": j.prompt, "seed": j.seed} for j in jobs
        ]
        return fan_out(
            rows, Painter, section.drawing.model_dump() | {"adapters": str(ADAPTERS)}, batch_size=section.drawing.batch_size, label="paint"
        )

    _once(scratch / "painted.parquet", made)


def _prompts(section: Evaluate, on: Ground, scratch: Path) -> dict[str, list[str]]:
    """The prompt of each brief, per kind (see `prompts.plan`)."""
    captions = [picture_prompt(h.brief.caption, h.brief.account) for h in on.held]
    found = {"caption": captions}
    for bucket, shown in _described(scratch).items():
        found[f"described/{bucket}"] = [v.caption for v in shown]
    if "retrieved_prompt" in section.methods:
        said = {
            r["picture_id"]: r["caption"]
            for r in VERBALIZED.read().select(["picture_id", "caption", "error"]).to_pylist()
            if not r["error"]
        }
        known = [r for r in POSTS.read().to_pylist() if r["split"] == "train" and r["picture_id"] in said]
        texts = [picture_prompt(r["caption"], r["account"]) for r in known]
        pictures = [said[r["picture_id"]] for r in known]
        found["retrieved"] = prompts.retrieved(captions, texts, [r["kpi"] for r in known], pictures, section.neighbors)
    return found


def _described(scratch: Path) -> dict[str, list[Verbalization]]:
    path = scratch / "described.parquet"
    rows = pq.read_table(path).to_pylist() if path.is_file() else []
    return {b: [Verbalization.from_json(r["text"]) for r in rows if r["bucket"] == b] for b in BUCKETS if rows}


def score(section: Evaluate, on: Ground, scratch: Path, fan_out: FanOut) -> None:
    """Look at all pictures: drawn ones, the posts' own, and the reference ones."""

    def made() -> list[dict]:
        painted = pq.read_table(scratch / "painted.parquet").to_pylist()
        side = from_png(painted[0]["png"]).shape[0]
        png = _real_pictures({h.picture_id for h in [*on.held, *on.reference]})
        rows = [{"key": p["key"], "png": p["png"], "brief": on.held[p["brief"]].brief} for p in painted]
        rows += [{"key": real_key(i), "png": png[h.picture_id], "brief": h.brief} for i, h in enumerate(on.held)]
        rows += [{"key": f"reference/{i:05d}", "png": png[h.picture_id], "brief": None} for i, h in enumerate(on.reference)]
        reference, law = (section.reference, str(LAW)) if on.law else ("", "")
        eyes = Eyes(
            section.verbalizer, str(REWARD), str(JUDGE), reference, law, section.features, section.text_score, section.safety,
            section.drawing.device,
        )  # fmt: skip
        found = fan_out(rows, Scorer, {"eyes": eyes, "side": side}, batch_size=section.score_batch, label="score")
        return [{"px": side} | {k: v for k, v in r.items() if k != "brief"} for r in found]

    _once(scratch / "scored.parquet", made)
    if on.law:
        _once(scratch / "panels.parquet", lambda: _panels(section, fan_out))


def _panels(section: Evaluate, fan_out: FanOut) -> list[dict]:
    """What the panels of the alignment runs would have brought."""
    rows = looks.panel_rows(ADAPTERS, {r["post_id"]: held_out.brief_of(r) for r in POSTS.read().to_pylist()})
    args = {"reference": section.reference, "law": str(LAW), "device": section.drawing.device}
    found = fan_out(rows, TrueEye, args, batch_size=section.score_batch, label="panels")
    return [{k: v for k, v in r.items() if k != "brief"} for r in found]


def _real_pictures(ids: set[str]) -> dict[str, bytes]:
    return {r["picture_id"]: r["png"] for r in PICTURES.read().select(["picture_id", "png"]).to_pylist() if r["picture_id"] in ids}


def conclude(section: Evaluate, on: Ground, scratch: Path, report: Reporter) -> dict:
    """Tables, report, model card; then the scratch folder goes. The stage's metrics, and `made`."""
    scores, pictures, px = _scores(on, scratch)
    accounts = [h.brief.account for h in on.reference]
    features = np.stack([scores[f"reference/{i:05d}"]["features"] for i in range(len(on.reference))])
    table = Table(on.held, scores, (features, accounts), seed=section.seed)
    metrics, kept = tabulate(table, chosen(section.methods), _described_likes(on, scratch))
    findings = _findings(section, on, metrics, kept, pictures, px, _looks(scratch))
    card = publish.model_card(findings, section.drawing.base, section.drawing.revision)
    path = publish.publish(findings, publish.briefs_table(on.held, kept, scores), card, REPORTS, scratch, report)
    report.table("methods", [{"method": name} | _numbers(metrics[name]) for name in kept])
    report.table("briefs", publish.brief_rows(on.held, _shown(section, on)[:IN_TABLE], kept, pictures, scores))
    shutil.rmtree(scratch)
    return metrics | {"made": f"{len(kept)} methods on {len(on.held)} held-out briefs, see {path}"}


def _scores(on: Ground, scratch: Path) -> tuple[Scores, dict[str, bytes], int]:
    """Scores by key, pictures by key, and the side of a picture in px."""
    scores: Scores = {r["key"]: r for r in pq.read_table(scratch / "scored.parquet").to_pylist()}
    painted = pq.read_table(scratch / "painted.parquet").to_pylist()
    for row in painted:
        scores[row["key"]] |= {"unet_forwards": row["unet_forwards"], "prompt": row["prompt"]}
    real = _real_pictures({h.picture_id for h in on.held})
    pictures = {row["key"]: row["png"] for row in painted} | {real_key(i): real[h.picture_id] for i, h in enumerate(on.held)}
    return scores, pictures, scores[painted[0]["key"]]["px"]


def _described_likes(on: Ground, scratch: Path) -> dict[str, np.ndarray]:
    """Per bucket the expected likes (N,) if BoigLLM's descriptions came true as the simulator draws them; empty without a law."""
    if on.law is None:
        return {}
    found = {}
    for bucket, shown in _described(scratch).items():
        scenes = [scene_of(v) for v in shown]
        drawn = np.stack([render(s, REFERENCE_PX) for s in scenes])
        facts = measure(drawn, [tuple((p.kind, p.box) for p in s.products) for s in scenes], [bool(s.slogan) for s in scenes])
        found[bucket] = mean_likes(expected_log_likes(on.law, [h.brief for h in on.held], facts))
    return found


def _findings(
    section: Evaluate,
    on: Ground,
    metrics: dict,
    kept: dict[str, dict[str, Kept]],
    pictures: dict[str, bytes],
    px: int,
    runs: dict[str, list[dict]],
) -> Findings:
    methods, buckets = publish.grids(on.held, kept, pictures, _shown(section, on))
    words = "share of the caption’s checkable words (products, colors, patterns) seen by the verbalizer"
    return Findings(
        metrics=publish.read_metrics(METRICS) | {"evaluate": metrics}, looks=runs, grid=methods, buckets=buckets,
        simulated=on.law is not None, features=note(section.features), picture_px=px, reference_pictures=len(on.reference),
        text_score=words if section.text_score.kind == "words" else f"cosine of {section.text_score.model}",
        safety=safety.note(section.safety), accounts=len({h.brief.account for h in on.held}),
    )  # fmt: skip


def _shown(section: Evaluate, on: Ground) -> list[int]:
    """Numbers of the briefs that people look at."""
    return sorted(np.random.default_rng([section.seed, 2]).permutation(len(on.held))[: section.shown].tolist())


def _looks(scratch: Path) -> dict[str, list[dict]]:
    path = scratch / "panels.parquet"
    return looks.with_likes(looks.read(ADAPTERS), pq.read_table(path).to_pylist() if path.is_file() else [])


def _numbers(row: dict) -> dict:
    """Means only, for MLflow's table."""
    return {
        k: v["mean"] if isinstance(v, dict) and "mean" in v else v
        for k, v in row.items()
        if k not in ("judge_win_rate_over", "by_split", "by_bucket")
    }


def _once(path: Path, make: Callable[[], list[dict]]) -> None:
    """Write the rows that `make` gives, unless they are there already."""
    if path.is_file():
        return
    temporary = path.with_suffix(".part")
    pq.write_table(pa.Table.from_pylist(make()), temporary)
    os.replace(temporary, path)
