"""From scored pictures to estimates: which candidate each method keeps, and each row of the generation table."""

import itertools
from dataclasses import dataclass

import numpy as np

from boig.brief import BUCKETS
from boig.evaluation import arena
from boig.evaluation.bootstrap import Estimate, difference, estimate, spearman
from boig.evaluation.distances import compare
from tasks.evaluate.held_out import SPLITS, Held
from tasks.evaluate.methods import STEERED, WANTED, Method
from tasks.evaluate.prompts import picture_key

Scores = dict[str, dict]
"""Per picture key what `score.Scorer` found, and `unet_forwards` where it was drawn."""
_LEAST_LIKES = 1.0  # under the law; keeps a ratio to nothing finite


@dataclass(frozen=True)
class Kept:
    """One method's pictures, one per brief, in the order of the briefs."""

    keys: tuple[str, ...]
    unet_forwards: float
    """Spent per brief."""
    reward_calls: float
    """Spent per brief: choosing among candidates takes one each."""


def real_key(brief: int) -> str:
    """Name of the post's own picture."""
    return f"real/{brief:05d}"


def keep(method: Method, bucket: str, count: int, scores: Scores) -> Kept:
    """The candidate with the highest reward of each brief; the first of equals."""
    if not method.candidates:
        return Kept(tuple(real_key(i) for i in range(count)), 0.0, 0.0)
    keys, forwards = [], 0.0
    for i in range(count):
        options = [picture_key(method.adapter, method.prompt, bucket, i, k) for k in range(method.candidates)]
        keys.append(max(options, key=lambda key: (scores[key]["reward"], -options.index(key))))
        forwards += sum(scores[key]["unet_forwards"] for key in options)
    return Kept(tuple(keys), forwards / count, float(method.candidates if method.candidates > 1 else 0))


class Table:
    """All estimates over one set of briefs and scores; intervals are clustered by account."""

    def __init__(self, held: list[Held], scores: Scores, reference: tuple[np.ndarray, list[str]], *, seed: int) -> None:
        """Take what was scored.

        Args:
            held: the briefs.
            scores: of all pictures.
            reference: features (N, D) of real pictures of other posts, and their accounts.
            seed: of the intervals.
        """
        self.held, self.scores, self.seed = held, scores, seed
        self._real_features, self._real_accounts = reference
        self.accounts = [h.brief.account for h in held]

    def column(self, kept: Kept, name: str) -> np.ndarray:
        """(N,) float64; NaN where a picture has no such number."""
        return np.array([np.nan if (v := self.scores[k][name]) is None else v for k in kept.keys], np.float64)

    def mean(self, values: np.ndarray, rows: np.ndarray | None = None) -> Estimate | None:
        """Over the rows that have a number; None where no row has."""
        use = np.isfinite(values) & (True if rows is None else rows)
        return estimate(values[use], [a for a, u in zip(self.accounts, use, strict=True) if u], seed=self.seed) if use.any() else None

    def uplift(self, kept: Kept, base: Kept) -> np.ndarray:
        """Expected likes under the law relative to the base's picture of the same brief, − 1; (N,), NaN without a law."""
        ours, theirs = self.column(kept, "likes"), self.column(base, "likes")
        return ours / np.maximum(theirs, _LEAST_LIKES) - 1

    def row(self, name: str, kept: dict[str, Kept]) -> dict:
        """One method against all others."""
        mine, base = kept[name], kept["base"]
        judge = self.column(mine, "judge")
        features = np.stack([self.scores[k]["features"] for k in mine.keys])
        far = compare(self._real_features, features, self._real_accounts, self.accounts)
        uplift = self.uplift(mine, base)
        won = {
            other: arena.win_rate(judge, self.column(k, "judge"), self.accounts, seed=self.seed)
            for other, k in kept.items()
            if other != name
        }
        return {
            "reward": self.mean(self.column(mine, "reward")),
            "judge": self.mean(judge),
            "true_uplift": self.mean(uplift),
            "judge_win_rate": won.get("base"),
            "judge_win_rate_over": won,
            "prompt_agreement": self.mean(self.column(mine, "agreement")),
            "mismatch_rate": self.mean(self.column(mine, "mismatch")),
            "unsafe_rate": self.mean(self.column(mine, "unsafe")),
            "fid": far.fid,
            "kid": far.kid,
            "mmd": far.mmd,
            "text_score": self.mean(self.column(mine, "text_score")),
            "vendi": far.vendi,
            "unet_forwards": round(mine.unet_forwards, 2),
            "reward_calls": mine.reward_calls,
            "by_split": self._by_split(judge, self.column(base, "judge"), uplift),
        }

    def _by_split(self, judge: np.ndarray, base: np.ndarray, uplift: np.ndarray) -> dict:
        parts = {split: np.array([h.split == split for h in self.held]) for split in SPLITS}
        return {
            split: {"judge_win_rate": self.mean(arena.preferred(judge, base), rows), "true_uplift": self.mean(uplift, rows)}
            for split, rows in parts.items()
            if rows.any()
        }

    def steering(self, likes: dict[str, np.ndarray]) -> Estimate | None:
        """Rank correlation of the wanted bucket with the expected likes under the law, within briefs; None without a law.

        Args:
            likes: per bucket (N,), of the same briefs.
        """
        logs = np.log(np.maximum(np.stack([likes[b] for b in BUCKETS]), _LEAST_LIKES))  # (3, N)
        if not np.isfinite(logs).all():
            return None
        inside = (logs - logs.mean(0)).ravel()  # accounts differ by their level, which no bucket can change
        wanted = np.repeat(np.arange(len(BUCKETS)), logs.shape[1])
        return spearman(wanted, inside, self.accounts * len(BUCKETS), seed=self.seed)

    def described(self, likes: dict[str, np.ndarray]) -> dict[str, dict[str, Estimate]]:
        """Expected likes under the law by wanted bucket, relative to the mean over a brief's three buckets, − 1, and their paired rises.

        Within a brief, since accounts differ by their level, which no bucket can change.

        Args:
            likes: per bucket (N,), of the same briefs.
        """
        values = np.maximum(np.stack([likes[b] for b in BUCKETS]), _LEAST_LIKES)  # (3, N)
        shares = dict(zip(BUCKETS, values / values.mean(0) - 1, strict=True))
        return {
            "by_bucket": {b: estimate(share, self.accounts, seed=self.seed) for b, share in shares.items()},
            "rises": {
                f"{a}_to_{b}": difference(shares[b], shares[a], self.accounts, seed=self.seed) for a, b in itertools.pairwise(BUCKETS)
            },
        }


def tabulate(table: Table, methods: list[Method], described: dict[str, np.ndarray]) -> tuple[dict, dict[str, dict[str, Kept]]]:
    """metrics/evaluate.json without its closing line, and the pictures kept per method and bucket.

    Args:
        table: briefs and scores.
        methods: the rows.
        described: per bucket the expected likes (N,) of BoigLLM's descriptions as the simulator draws them; empty without a law.
    """
    count = len(table.held)
    kept = {m.name: {b: keep(m, b, count, table.scores) for b in (BUCKETS if m.name in STEERED else ("",))} for m in methods}
    shown = {name: by_bucket.get(WANTED) or by_bucket[""] for name, by_bucket in kept.items()}
    rows = {name: table.row(name, shown) for name in shown}
    ratings = arena.ratings({name: table.column(k, "judge") for name, k in shown.items()}, table.accounts, seed=table.seed)
    for name, row in rows.items():
        row["rating"] = ratings[name]
    steering = {"described": table.steering(described)} if described else {}
    for name in (n for n in STEERED if n in kept):
        rows[name]["by_bucket"] = {b: _bucket(table, k, shown["base"]) for b, k in kept[name].items()}
        steering[name] = table.steering({b: table.column(k, "likes") for b, k in kept[name].items()})
    told = {"described": table.described(described)} if described else {}
    return {"briefs": count, **rows, **told, "steering": {k: v for k, v in steering.items() if v is not None}}, kept


def _bucket(table: Table, kept: Kept, base: Kept) -> dict:
    return {
        "reward": table.mean(table.column(kept, "reward")),
        "judge": table.mean(table.column(kept, "judge")),
        "true_uplift": table.mean(table.uplift(kept, base)),
    }
