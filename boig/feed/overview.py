"""What a person looks at before anything is trained on a feed: who posted what, what was refused, how the pictures look."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from boig.contracts import PICTURES, POSTS, QUARANTINE, SPLITS

BUCKETS = ("low", "medium", "high")
_CELL, _ACROSS = 96, 10  # px, pictures


def accounts(root: Path = Path(".")) -> list[dict]:
    """A row per account, most posts first: industry, posts in all and per split, first and last day, quartiles of the raw KPI."""
    posts = POSTS.read(root)
    rows = []
    for entry in pc.value_counts(posts["account"]).to_pylist():
        own = posts.filter(pc.equal(posts["account"], entry["values"]))
        days = pc.min_max(own["created_at"]).as_py()
        low, median, high = (float(value) for value in np.quantile(own["kpi_raw"].to_numpy(), (0.25, 0.5, 0.75)))
        splits = Counter(own["split"].to_pylist())
        rows.append(
            {"account": entry["values"], "industry": own["industry"][0].as_py(), "posts": own.num_rows}
            | {split: splits[split] for split in SPLITS}
            | {"first": f"{days['min']:%Y-%m-%d}", "last": f"{days['max']:%Y-%m-%d}"}
            | {"kpi_raw_25": low, "kpi_raw_50": median, "kpi_raw_75": high}
        )
    return sorted(rows, key=lambda row: (-row["posts"], row["account"]))


def refused(root: Path = Path(".")) -> list[dict]:
    """A row per reason of the quarantine, most frequent first: how many rows of the feed, and what was wrong with the first."""
    table = QUARANTINE.read(root)
    counts = Counter(table["reason"].to_pylist())
    first: dict[str, dict] = {}
    for row in table.to_pylist():
        first.setdefault(row["reason"], row)
    return [
        {"reason": reason, "rows": n, "for example": first[reason]["source"], "detail": first[reason]["detail"]}
        for reason, n in counts.most_common()
    ]


def sheet(root: Path = Path(".")) -> np.ndarray:
    """Pictures of split train as uint8 (288, 960, 3): a row per bucket, low to high, evenly over time: what wins is seen, or not."""
    posts, pictures = POSTS.read(root), PICTURES.read(root)
    page = Image.new("RGB", (_ACROSS * _CELL, len(BUCKETS) * _CELL), (255, 255, 255))
    train = posts.filter(pc.equal(posts["split"], "train")).sort_by([("created_at", "ascending"), ("post_id", "ascending")])
    for down, bucket in enumerate(BUCKETS):
        names = train.filter(pc.equal(train["bucket"], bucket))["picture_id"]
        chosen = np.unique(np.linspace(0, len(names) - 1, min(_ACROSS, len(names))).astype(int))
        wanted = pa.array([names[int(i)].as_py() for i in chosen], pa.string())
        for across, row in enumerate(pc.index_in(wanted, pictures["picture_id"]).to_pylist()):
            picture = Image.open(io.BytesIO(pictures["png"][row].as_py())).convert("RGB").resize((_CELL, _CELL))
            page.paste(picture, (across * _CELL, down * _CELL))
    return np.asarray(page)
