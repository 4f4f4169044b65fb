"""The card beside shipped weights: card.json with what the recipe measured, README.md written from it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

LICENSE = "Apache-2.0"


def write_card(folder: Path, title: str, command: str, plan: Any, data: str, train_seconds: int, scores: dict[str, dict]) -> None:
    """Write card.json and README.md into a model's folder.

    Args:
        folder: where the weights lie.
        title: first line of the README.
        command: what trains these weights again.
        plan: a dataclass with the recipe's settings, the seed among them.
        data: one sentence on the training data.
        train_seconds: wall time of the training.
        scores: metric → estimate `{"mean", "lo", "hi", "n"}` with a 95 % interval.
    """
    card = {
        "title": title, "command": command, "data": data, "settings": asdict(plan), "train_seconds": train_seconds,
        "scores": scores, "license": LICENSE,
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    rows = "\n".join(
        f"| {name.replace('_', ' ')} | {s['mean']:.4f} | {s['lo']:.4f} – {s['hi']:.4f} | {s['n']} |" for name, s in scores.items()
    )
    (folder / "README.md").write_text(
        f"# {title}\n\nWritten by the recipe from `card.json`.\n\n"
        f"- Recipe: `{command}`, {train_seconds} s where these weights were made\n- Data: {data}\n"
        f"- Data seed: {card['settings']['seed']}\n- License: {LICENSE}\n\n"
        f"| score | mean | 95 % interval | n |\n| --- | --- | --- | --- |\n{rows}\n"
    )
