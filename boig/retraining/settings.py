"""infra/retrain.yaml as types: when a feed is worth a retraining, and what a challenger must show."""

from pathlib import Path

import yaml
from pydantic import ValidationError

from boig.section import Count, Positive, Section, Seed, Share


class Guards(Section):
    """By how much a challenger may be worse where it is not meant to be better."""

    diversity: Share
    """Least Vendi score of its pictures, as a share of the champion's."""
    mismatch: Share
    """Most that its rate of pictures without the caption's product may exceed the champion's."""
    canary: Positive
    """Most that the reward of a canary's post, KPI points 0–100, may move away from that of the same post without its mark."""
    unsafe: Share
    """Most that its share of unsafe pictures may exceed the champion's."""


class Retrain(Section):
    """One retraining."""

    profile: str
    """Of `profiles/`; empty: params.yaml as it is."""
    min_new_posts: Count
    """New posts since the champion's newest one before a retraining is worth its while."""
    branch: str
    """Git branch that gets the challenger's dvc.lock and metrics."""
    approval: bool
    """Whether a person must approve a challenger that passed the gate."""
    approval_hours: Positive
    """How long a challenger waits for that; then it stays a challenger."""
    guards: Guards
    seed: Seed
    """Of the gate's bootstrap."""


def load(path: Path = Path("infra/retrain.yaml"), **over: object) -> Retrain:
    """Read the settings; `over` replaces keys, as a deployment's parameters do.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a key is unknown, missing or out of its range; one line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; run from the project's root")
    try:
        return Retrain.model_validate((yaml.safe_load(path.read_text()) or {}) | over)
    except ValidationError as error:
        detail = error.errors()[0]
        raise ValueError(f"{path}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}, is {str(detail['input'])[:60]}") from None
