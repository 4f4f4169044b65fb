"""What readers make of a feed, whatever its shape: rows, failures, and events; and which row of several is the one to use."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Row:
    """One picture of one post, as observed once."""

    source: str
    """File and line, or row, of the feed."""
    origin: str
    """Id of the post at its source; several rows may share it."""
    account: str
    industry: str
    created_at: datetime
    """UTC."""
    observed_at: datetime
    """UTC; the posting time where the feed does not say."""
    caption: str
    """As it came."""
    kpi_raw: float
    picture: str
    """Path relative to the feed's folder, or https URL."""


@dataclass(frozen=True)
class Failed:
    """A row that cannot be used, and why."""

    source: str
    post_id: str
    reason: str
    """One of `boig.feed.REASONS`."""
    detail: str


@dataclass(frozen=True)
class Skipped:
    """A row left out on purpose."""

    origin: str
    reason: str
    """One of `boig.feed.SKIPS`."""


@dataclass(frozen=True)
class Deleted:
    """News that a post was deleted by its author. Not a row itself."""

    origin: str


Item = Row | Failed | Skipped | Deleted


@dataclass(frozen=True)
class Intake:
    """A feed that was read: each of its `rows_in` rows is in exactly one of the three."""

    rows: tuple[Row, ...]
    """By posting time, id, and place in the feed."""
    failed: tuple[Failed, ...]
    skipped: Counter[str]
    """By reason."""

    @property
    def rows_in(self) -> int:
        return len(self.rows) + len(self.failed) + sum(self.skipped.values())


def settle(items: Iterable[Item]) -> Intake:
    """Sort out deletions, repeats and re-observations: of each picture of each post the latest observation stays.

    Items that are skipped for what they are (retweets, videos) count every time they are seen.
    """
    rows: dict[tuple[str, str], Row] = {}
    failed: list[Failed] = []
    skipped: Counter[str] = Counter()
    deleted: set[str] = set()
    for item in items:
        match item:
            case Row():
                key = (item.origin, item.picture)
                other = rows.get(key)
                if other is not None:
                    skipped["duplicate" if other.observed_at == item.observed_at else "superseded"] += 1
                if other is None or item.observed_at > other.observed_at:
                    rows[key] = item
            case Failed():
                failed.append(item)
            case Skipped():
                skipped[item.reason] += 1
            case Deleted():
                deleted.add(item.origin)
    gone = [key for key, row in rows.items() if row.origin in deleted]
    skipped["deleted"] += len(gone)
    for key in gone:
        del rows[key]
    # sorted() is stable: pictures of one post keep their place in the feed
    return Intake(tuple(sorted(rows.values(), key=lambda r: (r.created_at, r.origin))), tuple(failed), +skipped)


def post_ids(origins: list[str]) -> list[str]:
    """A unique id per row: the source's id, or `<id>_<n>` where a post has several pictures; n counts from 1 in the given order."""
    counts = Counter(origins)
    seen: Counter[str] = Counter()
    ids = []
    for origin in origins:
        seen[origin] += 1
        ids.append(origin if counts[origin] == 1 else f"{origin}_{seen[origin]}")
    return ids


def parse_time(value: object) -> datetime:
    """A moment in UTC from ISO 8601 text, seconds since 1970, or a datetime. A moment without zone is taken as UTC.

    Raises:
        ValueError: none of these, or outside the years 1–9999.
    """
    try:
        if isinstance(value, datetime):
            when = value
        elif isinstance(value, (int, float)) or (isinstance(value, str) and value.replace(".", "", 1).isdigit() and len(value) > 8):
            when = datetime.fromtimestamp(float(value), UTC)
        else:
            when = datetime.fromisoformat(str(value).strip())
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{str(value)[:40]!r} is not a time; write ISO 8601 or seconds since 1970") from error


def parse_kpi(value: object) -> float:
    """A finite number.

    Raises:
        ValueError: it is none.
    """
    try:
        number = float(str(value)) if not isinstance(value, bool) else float("nan")
    except ValueError:
        number = float("nan")
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(f"{str(value)[:40]!r} is not a finite number")
    return number
