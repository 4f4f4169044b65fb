"""Any feed into the `posts` contract: read, decode pictures in shards, normalize the KPI, find near-duplicates, split, draw negatives."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from boig.contracts import NEGATIVES, PICTURES, POSTS, QUARANTINE, SPLITS
from boig.feed import duplicates, kpi, negatives, reading
from boig.feed.fetch import Fetcher
from boig.feed.picture import Picture, Unusable, decode
from boig.feed.rows import Failed, Intake, Row, post_ids
from boig.feed.rules import Fetch, PictureLimits
from boig.feed.splits import NEAR_DUPLICATE, assign
from boig.feed.text import clean
from boig.sections.ingest import Ingest

TOO_OLD = "too_old"
"""In place of a split: a post from before the days that are learned from."""
DAY_US = 86_400_000_000


def read(section: Ingest) -> Intake:
    """Read the feed's rows; pictures are only named.

    Raises:
        FileNotFoundError: no feed there.
        ValueError: unknown shape, missing columns, or no usable row.
    """
    return reading.read(Path(section.feed), section.columns, section.industries)


class PictureReader:
    """Callable for decode shards: `picture` (path or URL) in; `found`, a Picture or a (reason, detail), out."""

    def __init__(self, root: str, limits: PictureLimits, fetch: Fetch) -> None:
        self.root = Path(root).resolve()
        self.limits = limits
        self.fetcher = Fetcher(fetch, limits.max_bytes)

    def __call__(self, rows: list[dict]) -> list[dict]:
        return [{"picture": row["picture"], "found": self._found(row["picture"])} for row in rows]

    def _found(self, picture: str) -> Picture | tuple[str, str]:
        try:
            return decode(self._bytes(picture), self.limits)
        except Unusable as error:
            return error.reason, error.detail

    def _bytes(self, picture: str) -> bytes:
        if "://" in picture:
            return self.fetcher(picture)
        path = (self.root / picture).resolve()
        if not path.is_relative_to(self.root):
            raise Unusable("missing_picture", f"{picture[:80]!r} points outside of the feed's folder")
        try:
            size = path.stat().st_size
            if size > self.limits.max_bytes:
                raise Unusable("picture_too_large", f"{size} bytes, at most {self.limits.max_bytes} are allowed")
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
            raise Unusable("missing_picture", f"{picture[:120]}: {type(error).__name__}") from error


@dataclass
class _Work:
    """Rows on their way; each that drops out is counted."""

    rows: list[Row]
    pictures: list[Picture]
    """One per row."""
    failed: list[Failed]
    skipped: Counter[str]
    kpi: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def keep(self, mask: np.ndarray, reason: str) -> None:
        """Drop the rows where the mask is false."""
        self.skipped[reason] += int((~mask).sum())
        kept = np.flatnonzero(mask).tolist()
        self.rows = [self.rows[i] for i in kept]
        self.pictures = [self.pictures[i] for i in kept]
        self.kpi = self.kpi[kept] if len(self.kpi) else self.kpi


def assemble(section: Ingest, intake: Intake, found: list[dict], root: Path = Path(".")) -> dict:
    """Everything after the pictures are decoded, and the four tables written under `root`.

    Args:
        section: parameters.
        intake: the feed's rows.
        found: what `PictureReader` made of the distinct pictures.
        root: the workspace.

    Returns:
        The metrics.

    Raises:
        ValueError: no row is left, the KPI is constant, or there are too few accounts.
    """
    work = _with_pictures(intake, {f["picture"]: f["found"] for f in found})
    _drop_copies(section, work)
    raw = np.array([r.kpi_raw for r in work.rows], dtype=np.float64)
    work.keep(kpi.above_floor(raw, section.kpi), "below_floor")
    counts = Counter(r.account for r in work.rows)
    work.keep(np.array([counts[r.account] >= section.kpi.min_account_posts for r in work.rows], dtype=bool), "small_account")
    if not work.rows:
        mend = "lower ingest.kpi's floors or min_account_posts, or mend the feed"
        raise ValueError(f"ingest.feed {section.feed!r}: no row is left ({_reasons(work)}); {mend}")
    posts = _posts(section, work)
    foreign = negatives.draw([p for p in posts if p["split"] == "train"], section.negatives)
    stored = {p.picture_id: p for p in work.pictures}
    POSTS.write(posts, root)
    NEGATIVES.write(foreign, root)
    PICTURES.write([_picture_row(stored[name]) for name in sorted({p["picture_id"] for p in posts})], root)
    QUARANTINE.write([{"source": f.source, "post_id": f.post_id, "reason": f.reason, "detail": f.detail[:200]} for f in work.failed], root)
    return _metrics(intake, work, posts)


def _with_pictures(intake: Intake, found: dict[str, Picture | tuple[str, str]]) -> _Work:
    rows, pictures, failed = [], [], list(intake.failed)
    for row in intake.rows:
        picture = found[row.picture]
        if isinstance(picture, Picture):
            rows.append(row)
            pictures.append(picture)
        else:
            failed.append(Failed(row.source, row.origin, *picture))
    return _Work(rows, pictures, failed, Counter(intake.skipped))


def _drop_copies(section: Ingest, work: _Work) -> None:
    """Of near-duplicates within one post (preview and full size) the largest stays."""
    by_post: dict[str, list[int]] = {}
    for i, row in enumerate(work.rows):
        by_post.setdefault(row.origin, []).append(i)
    pictures, keep = work.pictures, np.ones(len(work.rows), dtype=bool)
    for members in by_post.values():
        largest_first = sorted(members, key=lambda i: (-pictures[i].width * pictures[i].height, i))
        for place, i in enumerate(largest_first):
            larger = [pictures[j] for j in largest_first[:place] if keep[j]]
            keep[i] = not any(duplicates.alike(pictures[i], other, section.duplicates) for other in larger)
    work.keep(keep, "duplicate")


def _posts(section: Ingest, work: _Work) -> list[dict]:
    """Rows of the `posts` contract; test posts that give way to their near-duplicates are dropped."""
    time_us = np.array([round(r.created_at.timestamp() * 1e6) for r in work.rows], dtype=np.int64)
    raw = np.array([r.kpi_raw for r in work.rows], dtype=np.float64)
    ids = post_ids([r.origin for r in work.rows])
    group = _groups(section, work, ids)
    split = _splits(section, work, time_us, group)
    work.kpi = _normalized(section, work, time_us, raw, np.array([place == "test_time" for place in split], dtype=bool))
    columns = zip(work.rows, work.pictures, work.kpi.tolist(), kpi.buckets(work.kpi, raw, section.kpi), ids, group, split, strict=True)
    rows = [
        {
            "post_id": post_id, "account": row.account, "industry": row.industry, "created_at": row.created_at,
            "observed_at": row.observed_at, "caption": clean(row.caption), "kpi_raw": row.kpi_raw, "kpi": value, "bucket": bucket,
            "picture_id": picture.picture_id, "group": name, "split": place,
        }
        for row, picture, value, bucket, post_id, name, place in columns
    ]  # fmt: skip
    work.keep(np.array([place != TOO_OLD for place in split], dtype=bool), TOO_OLD)
    work.keep(np.array([place != NEAR_DUPLICATE for place in split if place != TOO_OLD], dtype=bool), "near_duplicate")
    return sorted((r for r in rows if r["split"] not in (TOO_OLD, NEAR_DUPLICATE)), key=lambda r: (r["created_at"], r["post_id"]))


def _splits(section: Ingest, work: _Work, time_us: np.ndarray, group: list[str]) -> list[str]:
    """The split of each row, `NEAR_DUPLICATE`, or `TOO_OLD`, with which nothing is split."""
    days = section.newest_days
    recent = np.flatnonzero(time_us >= time_us.max() - days * DAY_US if days else np.ones(len(time_us), dtype=bool)).tolist()
    rows = [work.rows[i] for i in recent]
    found = assign([r.account for r in rows], [r.industry for r in rows], time_us[recent], [group[i] for i in recent], section.splits)
    place = dict(zip(recent, found, strict=True))
    return [place.get(i, TOO_OLD) for i in range(len(work.rows))]


def _normalized(section: Ingest, work: _Work, time_us: np.ndarray, raw: np.ndarray, newest: np.ndarray) -> np.ndarray:
    """The KPI on 0–100, (N,); a post with several pictures counts once in its account's window."""
    seen: dict[tuple[str, float], int] = {}
    for i, row in enumerate(work.rows):
        seen.setdefault((row.origin, row.kpi_raw), i)
    firsts = np.array(list(seen.values()))
    account = np.array([work.rows[i].account for i in firsts], dtype=object)
    ranked = kpi.normalize(account, time_us[firsts], raw[firsts], section.kpi, newest[firsts])
    of = dict(zip(seen, ranked.tolist(), strict=True))
    return np.array([of[row.origin, row.kpi_raw] for row in work.rows])


def _groups(section: Ingest, work: _Work, ids: list[str]) -> list[str]:
    """Per row the id of the first row, by time, of its group: joined by post, or by near-duplicate pictures."""
    distinct = {p.picture_id: p for p in work.pictures}
    component = dict(zip(distinct, duplicates.components(list(distinct.values()), section.duplicates).tolist(), strict=True))
    links: dict[object, int] = {}
    edges = []
    for i, (row, picture) in enumerate(zip(work.rows, work.pictures, strict=True)):
        for key in (("post", row.origin), ("picture", component[picture.picture_id])):
            edges.append((links.setdefault(key, i), i))
    member_of = duplicates.joined(len(work.rows), np.array(edges)).tolist()
    first: dict[int, str] = {}
    for i in sorted(range(len(work.rows)), key=lambda i: (work.rows[i].created_at, ids[i])):
        first.setdefault(member_of[i], ids[i])
    return [first[m] for m in member_of]


def _picture_row(picture: Picture) -> dict:
    return {
        "picture_id": picture.picture_id,
        "png": picture.png,
        "width": picture.width,
        "height": picture.height,
        "phash": f"{picture.phash:016x}",
    }


def _reasons(work: _Work) -> str:
    counts = Counter(f.reason for f in work.failed) + work.skipped
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))


def _metrics(intake: Intake, work: _Work, posts: list[dict]) -> dict:
    by_reason = Counter(f.reason for f in work.failed)
    sizes = Counter(p["split"] for p in posts)
    skipped = +work.skipped
    assert intake.rows_in == len(posts) + len(work.failed) + sum(skipped.values())
    return {
        "rows_in": intake.rows_in,
        "ok": len(posts),
        "failed": len(work.failed),
        "skipped": sum(skipped.values()),
        "failed_by_reason": dict(sorted(by_reason.items())),
        "skipped_by_reason": dict(sorted(skipped.items())),
        "pictures": len({p["picture_id"] for p in posts}),
        "accounts": len({p["account"] for p in posts}),
        "split_sizes": {split: sizes[split] for split in SPLITS},
    }
