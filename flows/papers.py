"""What is kept of a generation beside its models: dvc.lock, dvc.yaml, params.yaml, metrics, the gate's verdict, and a model card."""

import json
import shutil
from pathlib import Path

import yaml

from boig.evaluation.formats import significant
from boig.retraining.gate import Verdict
from flows.stage import write_json

FOLDER = Path("scratch/generation")
CARD = "README.md"
_SHOWN = (("train_reward", "reward", "pearson"), ("train_reward", "judge", "pearson"), ("train_reward", "reward", "coverage_90"))


def write(place: Path, verdict: Verdict, champion: int | None) -> Path:
    """Write them; the folder.

    Args:
        place: the challenger's worktree.
        verdict: of the gate.
        champion: number of the version that it was compared with.
    """
    folder = place / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("dvc.lock", "dvc.yaml", "params.yaml"):
        shutil.copy(place / name, folder / name)
    shutil.copytree(place / "metrics", folder / "metrics")
    write_json(folder / "verdict.json", verdict.as_dict())
    (folder / CARD).write_text(card(place, verdict, champion))
    return folder


def card(place: Path, verdict: Verdict, champion: int | None) -> str:
    """The model card, Markdown."""
    params = yaml.safe_load((place / "params.yaml").read_text())
    lines = [
        "# A generation of boig's models",
        "",
        f"Trained on `{params['ingest']['feed']}`, BoigLLM from `{params['train_boigllm']['base']}`. "
        "It expects how an account's audience reacts to a picture, and draws pictures that are expected to do well; "
        "it knows the accounts and the time of its feed, and nothing of causes.",
        "",
        f"## The gate: {'passed' if verdict.passed else 'refused'}",
        "",
        f"Against version {champion}." if champion else "There was none to compare with.",
        "",
        *(f"- {'yes' if check.passed else '**no**'}: {check.told}" for check in verdict.checks),
        "",
        "## On held-out posts",
        "",
        "| split | model | metric | value |",
        "| --- | --- | --- | --- |",
        *_measured(place / "metrics"),
    ]
    return "\n".join(lines) + "\n"


def _measured(folder: Path) -> list[str]:
    rows = []
    for stage, model, metric in _SHOWN:
        path = folder / f"{stage}.json"
        found = json.loads(path.read_text()) if path.is_file() else {}
        for split in ("test_time", "test_account"):
            if value := found.get(split, {}).get(model, {}).get(metric):
                mean, lo, hi = (significant(value[key]) for key in ("mean", "lo", "hi"))
                rows.append(f"| {split} | {model} | {metric} | {mean} ({lo} … {hi}) |")
    return rows
