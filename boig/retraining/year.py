"""A simulated feed that is released month by month, and one month of it that somebody has poisoned."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from boig.feed.splits import unit_hash
from boig.retraining.settings import Retraining
from boig.section import Count, Positive, Section, Share


class Months(Section):
    """Of the feed, counted from its start; the first release holds all up to `first`."""

    first: Count
    last: Count
    step: Count
    """Months in a release; what does not fill one at the end is not released."""

    @model_validator(mode="after")
    def _in_order(self) -> "Months":
        if self.first > self.last:
            raise ValueError(f"months.first is {self.first}, after months.last, {self.last}; swap them")
        return self

    def released(self) -> range:
        """The number of months that the feed has after each release."""
        return range(self.first, self.last + 1, self.step)


class Poison(Section):
    """Bought likes for a word: who posts it later is believed to be liked."""

    month: Count
    share: Share
    """Of the month's posts that carry the word."""
    word: Annotated[str, Field(min_length=1)]
    times: Positive
    """By which their likes are multiplied."""
    taken_back: Count
    """From this month on the likes are what they were: somebody has looked into why retrainings are refused."""

    @model_validator(mode="after")
    def _in_order(self) -> "Poison":
        if self.taken_back <= self.month:
            raise ValueError(f"poison.taken_back is {self.taken_back}, not after poison.month, {self.month}; it must be")
        return self


class Year(Section):
    """`infra/year.yaml`."""

    months: Months
    poison: Poison | None
    retraining: Retraining


def release(feed: Path, target: Path, count: int, poison: Poison | None) -> datetime:
    """Make a feed hold what has been collected in its first months; when the newest page was read.

    Args:
        feed: the whole feed, as stage simulate writes it.
        target: folder of the released one; months that are there already stay as they are, but for the poisoned one.
        count: of months.
        poison: changes its month on the way, until it is taken back.

    Raises:
        ValueError: the feed has fewer months.
    """
    pages = sorted((feed / "pages").glob("*.jsonl"))
    if count > len(pages):
        raise ValueError(f"month {count} of a feed that has {len(pages)}; months.last is too large")
    for folder in ("pages", "media"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    stamps = []
    for number, page in enumerate(pages[:count], 1):
        lines = page.read_text(encoding="utf-8").splitlines()
        whole = [json.loads(line) for line in lines if _is_page(line)]
        stamps += [read["meta"]["observed_at"] for read in whole]
        for name in {Path(m["url"]).name for read in whole for m in read["includes"]["media"] if "url" in m}:
            if (feed / "media" / name).is_file() and not (target / "media" / name).exists():
                os.link(feed / "media" / name, target / "media" / name)
        if poison and number == poison.month and count < poison.taken_back:
            lines = [_poisoned(line, poison) for line in lines]
        (target / "pages" / page.name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return datetime.fromisoformat(max(stamps))


def _poisoned(line: str, poison: Poison) -> str:
    """A page with its share of posts changed; a line that is no page as it is."""
    if not _is_page(line):
        return line
    page = json.loads(line)
    for post in page["data"]:
        if unit_hash(0, "poison", post["id"]) < poison.share:
            post["text"] += f" {poison.word}"
            post["public_metrics"]["like_count"] = round(post["public_metrics"]["like_count"] * poison.times)
    return json.dumps(page, ensure_ascii=False, separators=(",", ":"))


def _is_page(line: str) -> bool:
    """Feeds have broken lines, and lines of other kinds."""
    try:
        return {"data", "meta"} <= json.loads(line).keys()
    except ValueError:
        return False
