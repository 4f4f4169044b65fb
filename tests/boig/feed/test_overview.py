"""The data report's tables and sheet, on a small feed that is written here."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boig.contracts import PICTURES, POSTS, QUARANTINE
from boig.feed import overview

START = datetime(2026, 1, 1, tzinfo=UTC)
COLORS = {"low": (255, 0, 0), "medium": (0, 255, 0), "high": (0, 0, 255)}


def png(color: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 30), color).save(stream, "PNG")
    return stream.getvalue()


def post(number: int, account: str, bucket: str, split: str) -> dict:
    day = START + timedelta(days=number)
    return {
        "post_id": f"{number:03d}", "account": account, "industry": "food", "created_at": day, "observed_at": day, "caption": "new",
        "kpi_raw": float(number), "kpi": 50.0, "bucket": bucket, "picture_id": bucket, "group": f"{number:03d}", "split": split,
    }  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    kept = [post(n, "ann", "low" if n % 2 else "high", "train") for n in range(30)]
    POSTS.write([*kept, post(40, "bob", "medium", "test_account"), post(41, "bob", "low", "test_account")], tmp_path)
    row = {"width": 20, "height": 30, "phash": "0"}
    PICTURES.write([{"picture_id": bucket, "png": png(color)} | row for bucket, color in sorted(COLORS.items())], tmp_path)
    bad = [("a:1", "broken_line", "x"), ("a:2", "missing_picture", "y"), ("a:3", "missing_picture", "z")]
    QUARANTINE.write([{"source": s, "post_id": "", "reason": r, "detail": d} for s, r, d in bad], tmp_path)
    return tmp_path


def test_accounts_have_their_posts_days_and_quartiles(root: Path):
    ann, bob = overview.accounts(root)
    assert (ann["account"], ann["posts"], ann["train"], ann["test_account"]) == ("ann", 30, 30, 0)
    assert (ann["first"], ann["last"], ann["kpi_raw_50"]) == ("2026-01-01", "2026-01-30", 14.5)
    assert (bob["account"], bob["posts"], bob["test_account"], bob["kpi_raw_25"], bob["kpi_raw_75"]) == ("bob", 2, 2, 40.25, 40.75)


def test_what_was_refused_is_counted_with_an_example(root: Path):
    assert overview.refused(root) == [
        {"reason": "missing_picture", "rows": 2, "for example": "a:2", "detail": "y"},
        {"reason": "broken_line", "rows": 1, "for example": "a:1", "detail": "x"},
    ]
    QUARANTINE.write([], root)
    assert overview.refused(root) == []


def test_the_sheet_has_a_row_per_bucket_of_train_alone(root: Path):
    seen = overview.sheet(root)
    assert (seen.shape, seen.dtype) == ((288, 960, 3), np.uint8)
    assert (seen[:96] == COLORS["low"]).all()
    assert (seen[96:192] == 255).all()  # the only medium post is held out
    assert (seen[192:] == COLORS["high"]).all()
