"""Small made-up metrics and pictures in the shape that the stages write, for tests of what is shown."""

import io

import numpy as np
from PIL import Image

from boig.evaluation.report import GridBlock
from boig.evaluation.story import Findings
from boig.evaluation.tables import BOIGLLM, BOIGLLM_COLUMNS, HONESTY_COLUMNS, METHODS, REWARD, REWARD_COLUMNS


def estimate(mean: float, half: float = 0.05, n: int = 240) -> dict:
    return {"mean": mean, "lo": mean - half, "hi": mean + half, "n": n}


def method_row(rank: int, name: str) -> dict:
    """A row whose numbers rise with its rank."""
    lift = 0.0 if name == "base" else 0.08 * rank
    row = {
        "reward": estimate(0.31 + 0.2 * rank), "judge": estimate(44 + 2.1 * rank, 1.8), "true_uplift": estimate(lift, 0.06),
        "judge_win_rate": None if name == "base" else estimate(0.5 + 0.03 * rank, 0.04), "judge_win_rate_over": {},
        "prompt_agreement": estimate(0.91 - 0.004 * rank, 0.03), "mismatch_rate": estimate(0.04 + 0.003 * rank, 0.02),
        "fid": estimate(12.3 + rank, 1.4), "kid": estimate(0.021 + 0.002 * rank, 0.006), "mmd": estimate(0.0031 + 0.0002 * rank, 0.0006),
        "unsafe_rate": estimate(0.0, 0.01), "text_score": estimate(0.84, 0.03),
        "vendi": estimate(14.2 - 0.4 * rank, 0.9), "unet_forwards": 40.0, "reward_calls": 0.0,
        "rating": estimate(930 + 18 * rank, 14), "by_split": {},
    }  # fmt: skip
    if name in ("boigllm_prompt", "kpi_guided"):
        row["by_bucket"] = {
            b: {"reward": estimate(0.1), "judge": estimate(40 + 5 * i), "true_uplift": estimate(-0.05 + 0.12 * i, 0.06)}
            for i, b in enumerate(("low", "medium", "high"))
        }
    return row


def metrics(methods: tuple[str, ...] = tuple(METHODS)) -> dict[str, dict]:
    """All metrics files of a simulated run."""
    boigllm = {name: {c: estimate(0.4 + 0.02 * i, 0.02) for c in BOIGLLM_COLUMNS} for i, name in enumerate(list(BOIGLLM)[:3])}
    boigllm["ahead"] = {name: {c: estimate(0.02, 0.01) for c in BOIGLLM_COLUMNS} for name in list(BOIGLLM)[1:3]}
    reward = {
        name: {c: estimate(0.7 - 0.06 * i, 0.03) for c in REWARD_COLUMNS}
        | ({c: estimate(20.0 if c == "interval_width" else 0.9 - 0.06 * i, 0.03) for c in HONESTY_COLUMNS} if i < 3 else {})
        for i, name in enumerate(REWARD)
    }
    reward["reward"]["spearman_ahead"] = {name: estimate(0.2) for name in ("account_mean", "picture_ridge")}
    reward["reward"]["coverage_by_group"] = {
        f"known {name}": {"coverage_90": estimate(0.85 + 0.04 * i, 0.03, 120), "interval_width": estimate(60.0)}
        for i, name in enumerate(("food", "tech"))
    }
    return {
        "simulate": {"posts": 6000, "law_seed": 7, "variance_share": {"picture": 0.45, "context": 0.2, "noise": 0.35}},
        "ingest": {
            "rows_in": 6400, "ok": 5800, "skipped": 420, "failed": 180, "failed_by_reason": {"picture_missing": 96, "broken_line": 84},
            "split_sizes": {"train": 2900, "judge": 1450, "val": 300, "test_time": 650, "test_account": 500},
        },
        "verbalize": {"rows_in": 5800, "ok": 5797, "failed": 3, "label_accuracy": 0.98, "mean_iou": 0.83},
        "train_boigllm": dict.fromkeys(("test_time", "test_account"), boigllm),
        "train_reward": {split: reward | {"ceiling": 0.78, "ceiling_pairs": 0.8} for split in ("test_time", "test_account")},
        "align_boigsd": {
            name: {
                "wall_s": 212.4, "pictures": 3200, "unet_forwards": 64000, "reward_calls": 3200, "start_ratio_error": 0.0,
                "reward_first": 0.02, "reward_last": 1.31, "kl_last": 0.012,
            } for name in ("pft", "boigsd")
        },
        "evaluate": {
            "briefs": 240, **{name: method_row(i, name) for i, name in enumerate(methods)}, "steering": {"described": estimate(0.61, 0.04)},
            "described": {
                "by_bucket": {"low": estimate(-0.21), "medium": estimate(0.02), "high": estimate(0.19)},
                "rises": {"low_to_medium": estimate(0.23, 0.03), "medium_to_high": estimate(0.17, 0.03)},
            },
        },
    }  # fmt: skip


def png(seed: int, side: int = 64) -> bytes:
    """A plain square with a smaller one inside."""
    rng = np.random.default_rng(seed)
    picture = np.empty((side, side, 3), np.uint8)
    picture[:] = rng.integers(60, 255, 3)
    picture[side // 4 : side // 2, side // 4 : 3 * side // 4] = rng.integers(0, 200, 3)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def findings(methods: tuple[str, ...] = tuple(METHODS), *, simulated: bool = True) -> Findings:
    """A whole report's content."""
    captions = [f"The perfume is back. Made for gift and summer. ({i})" for i in range(4)]
    rows = tuple((caption, tuple(png(10 * i + j) for j in range(len(methods)))) for i, caption in enumerate(captions))
    grid = GridBlock(("Caption", *(METHODS[m] for m in methods)), rows)
    buckets = GridBlock(("Caption", "low", "medium", "high"), tuple((label, pictures[:3]) for label, pictures in rows))
    looks = {
        name: [
            {"unet_forwards": 8000 * i, "reward": gain * i, "judge": 45 + i, "diversity": 9 - 0.3 * i, "likes": 1 + 0.05 * i}
            for i in range(6)
        ]
        for name, gain in (("pft", 0.1), ("boigsd", 0.24))
    }
    return Findings(
        metrics=metrics(methods), looks=looks, grid=grid, buckets=buckets, simulated=simulated,
        features="penultimate features of the simulator’s reference classifier", text_score="share of the caption’s checkable words seen",
        safety="Unsafe: the classifier scores it above 0.8.",
        picture_px=64, reference_pictures=600, accounts=24,
    )  # fmt: skip
