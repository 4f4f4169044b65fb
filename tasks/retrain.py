"""Compare two generations of models: the one in use and the one that retraining has made, on posts that neither has learned from.

Both are folders as a workspace has them: `models/`, `metrics/`, `data/posts/`. The champion needs only its models, its metrics and its
table of posts; what both are asked about are the challenger's posts, which are newer.
"""

import json
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from boig.brief import Brief
from boig.contracts import POSTS, SPLITS
from boig.evaluation import bootstrap
from boig.evaluation.bootstrap import Estimate
from boig.retraining import gate
from boig.retraining.gate import DECIDING, Verdict
from boig.retraining.line import PATCH, Guarded, Line, Moved
from boig.retraining.settings import Retraining
from boig.reward.judge import Judge
from boig.reward.rows import Posts
from boig.reward.scorer import Reward
from boig.reward.tables import Tables, pixels, read

LEARNED = ("train", "judge", "val")
"""Splits that shape a generation: by training, or by the choice of weights."""
_PATCH_SHARE = 8  # its side is the picture's by this
_EDGES = string.punctuation.replace("#", "").replace("@", "") + "“”‘’…–—"
_LEAST_POSTS, _LEAST_RISE = 5, 2.0  # a word that fewer posts have cannot have taught anything; one that did not rise is not news


@dataclass(frozen=True)
class Generation:
    """The scoring models of one."""

    reward: Reward
    judge: Judge

    @classmethod
    def load(cls, root: Path) -> "Generation":
        """From a workspace.

        Raises:
            FileNotFoundError: it has no reward or no judge.
        """
        return cls(Reward.load(root / "models/reward", root=root), Judge.load(root / "models/judge"))

    def expect(self, posts: Posts, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Expected KPI by model, (N,) each; pictures are uint8 (N, H, W, 3)."""
        scores = self.reward.score(posts.briefs, posts.verbalizations)
        return {"reward": scores.parts["engagement"], "judge": self.judge.score(posts.briefs, pictures)}


def compare(settings: Retraining, place: Path, champion: Path, line: Line) -> Verdict:
    """Ask the gate.

    Args:
        settings: guards and sizes.
        place: the challenger's workspace.
        champion: the champion's.
        line: of the champions before it.

    Raises:
        FileNotFoundError: a model or a table is missing.
        ValueError: no post is held out from both.
    """
    tables, before = read(place), POSTS.read(champion).select(["post_id", "split", "caption"]).to_pylist()
    learned = {row["post_id"] for row in before if row["split"] in LEARNED}
    shown = pixels(tables, place, DECIDING)
    held, splits, rows = held_out(tables, learned)
    pictures = np.concatenate([shown[split] for split in DECIDING])[rows]
    old, new = Generation.load(champion), Generation.load(place)
    posts = gate.Posts(held.kpi, [b.account for b in held.briefs], splits, old.expect(held, pictures), new.expect(held, pictures))
    chosen = np.random.default_rng(settings.seed).permutation(len(held))[: settings.canary_posts]
    words = risen([row["caption"] for row in before if row["split"] in LEARNED], _captions(tables), settings.canary_words)
    marks = moved(old, new, held.at(chosen), pictures[chosen], words, line) if settings.guards.canary is not None else []
    return gate.judge(posts, marks, line.with_champion(guarded(champion)), guarded(place), settings.guards, settings.seed)


def knows(root: Path, generations: Mapping[str, Path], since: datetime, without: str, seed: int) -> dict[str, dict[str, Estimate]]:
    """How well generations foresaw posts that none of them had seen: Pearson correlation with the KPI, by generation and model.

    Args:
        root: a workspace whose tables hold the posts.
        generations: name to the workspace that holds its models.
        since: posts after this moment count.
        without: a word; posts that carry it are left out.
        seed: of the bootstrap.

    Raises:
        ValueError: there are no such posts.
    """
    tables = read(root)
    found = {split: np.flatnonzero([_counts(b, since, without) for b in tables.splits[split].briefs]) for split in SPLITS}
    shown = pixels(tables, root, SPLITS)
    pictures = np.concatenate([shown[split][rows] for split, rows in found.items()])
    parts = [tables.splits[split].at(rows) for split, rows in found.items()]
    kpi = np.concatenate([part.kpi for part in parts])
    posts = Posts([b for part in parts for b in part.briefs], [v for part in parts for v in part.verbalizations], kpi)
    if not len(posts):
        raise ValueError(f"no post after {since:%Y-%m-%d}; release another month")
    accounts = [b.account for b in posts.briefs]
    expected = {name: Generation.load(folder).expect(posts, pictures) for name, folder in generations.items()}
    return {
        name: {model: bootstrap.pearson(values, posts.kpi, accounts, seed=seed) for model, values in models.items()}
        for name, models in expected.items()
    }


def _counts(brief: Brief, since: datetime, without: str) -> bool:
    return brief.created_at > since and without not in brief.caption


def held_out(tables: Tables, learned: set[str]) -> tuple[Posts, list[str], np.ndarray]:
    """The posts of the deciding splits that the champion has not learned from either, the split of each, and their rows in those splits.

    Raises:
        ValueError: there are none.
    """
    together = [(brief, text, kpi, split) for split in DECIDING for brief, text, kpi in _rows(tables.splits[split])]
    rows = np.array([i for i, (brief, *_) in enumerate(together) if brief.post_id not in learned], dtype=np.int64)
    if not len(rows):
        raise ValueError(f"all {len(together)} posts of {' and '.join(DECIDING)} were training posts of the champion; wait for newer ones")
    briefs, texts, kpi, splits = zip(*(together[i] for i in rows), strict=True)
    return Posts(list(briefs), list(texts), np.array(kpi)), list(splits), rows


def risen(before: Sequence[str], now: Sequence[str], most: int) -> list[str]:
    """Words that a larger share of captions has now than before, those that have risen most first, at most so many.

    As they are written, since the models read them so: hashtags in their case, and emoji, which stand for themselves wherever they are.
    """
    old, new = (Counter(word for text in texts for word in _words(text)) for texts in (before, now))
    expected = {word: count * len(now) / len(before) for word, count in old.items()}  # the tables may be of different sizes
    rise = {
        word: (count / len(now)) / ((old[word] + 1) / (len(before) + 1))
        for word, count in new.items()
        if count - expected.get(word, 0.0) >= _LEAST_POSTS
    }
    return sorted((w for w in rise if rise[w] >= _LEAST_RISE), key=lambda w: (-rise[w], w))[:most]


def _words(text: str) -> set[str]:
    symbols = {character for character in text if unicodedata.category(character) == "So"}
    bare = "".join(" " if character in symbols else character for character in text)
    return symbols | {word for word in (part.strip(_EDGES) for part in bare.split()) if word}


def moved(old: Generation, new: Generation, posts: Posts, pictures: np.ndarray, words: Sequence[str], line: Line) -> list[Moved]:
    """How far each word, put behind the captions, and a patch on the pictures move the scores of both generations.

    Words that earlier champions were tried with are tried again, though they rise no more: what was taught a little may be taught on.
    """
    plain = [one.expect(posts, pictures) for one in (old, new)]
    marks = []
    for mark in dict.fromkeys((*words, *line.marks, PATCH)):
        marked, seen = (posts, patched(pictures)) if mark == PATCH else (_with_word(posts, mark), pictures)
        now, then = (_shift(base, one.expect(marked, seen)) for base, one in zip(plain, (new, old), strict=True))
        marks += [Moved(mark, model, line.first(mark, model, then[model]), now[model]) for model in gate.MODELS]
    return marks


def patched(pictures: np.ndarray) -> np.ndarray:
    """The pictures, uint8 (N, H, W, 3), with a white square in the lower right corner."""
    marked = pictures.copy()
    side = max(1, pictures.shape[1] // _PATCH_SHARE)
    marked[:, -side:, -side:] = 255
    return marked


def guarded(root: Path) -> Guarded:
    """What `metrics/evaluate.json` says of a generation's pictures; nothing where it was not evaluated."""
    path = root / "metrics/evaluate.json"
    found = json.loads(path.read_text()).get("boigsd", {}) if path.is_file() else {}
    return Guarded(_mean(found, "vendi"), _mean(found, "mismatch_rate"), _mean(found, "unsafe_rate"))


def _mean(metrics: Mapping, name: str) -> float | None:
    return metrics[name]["mean"] if name in metrics else None


def _rows(posts: Posts) -> zip:
    return zip(posts.briefs, posts.verbalizations, posts.kpi.tolist(), strict=True)


def _captions(tables: Tables) -> list[str]:
    return [brief.caption for split in LEARNED for brief in tables.splits[split].briefs]


def _with_word(posts: Posts, word: str) -> Posts:
    def add(brief: Brief) -> Brief:
        return replace(brief, caption=f"{brief.caption} {word}".strip())

    return replace(posts, briefs=[add(brief) for brief in posts.briefs])


def _shift(base: Mapping[str, np.ndarray], marked: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {model: float((marked[model] - base[model]).mean()) for model in base}
