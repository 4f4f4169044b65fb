"""Stands in for `tasks.retrain`: a challenger is better if it has seen more posts, and refused if one of them is poisoned."""

import json
from pathlib import Path

from boig.retraining.gate import Check, Verdict
from boig.retraining.line import Line
from boig.retraining.settings import Retraining


def compare(settings: Retraining, place: Path, champion: Path, line: Line) -> Verdict:
    """The verdict over what the stand-in stages have made."""
    mine, theirs = (json.loads((root / "models/reward/made.json").read_text()) for root in (place, champion))
    return Verdict(
        (
            Check("reward better", mine["posts"] > theirs["posts"], f"reward: {mine['posts']} posts against {theirs['posts']}"),
            Check("canary", not mine["poisoned"], "canary: poisoned" if mine["poisoned"] else "canary: clean"),
        )
    )
