"""`params.yaml: ingest`."""

from boig.feed.rules import Columns, Duplicates, Fetch, KpiRule, Negatives, PictureLimits, SplitRule
from boig.section import Count, Resources, Section


class Ingest(Section):
    """Any feed into the `posts` contract."""

    feed: str
    """Folder of the raw feed (or a table file), relative to the workspace. `data/feed` is the simulated one."""
    columns: Columns
    """Of a table; X API pages need none."""
    industries: tuple[str, ...]
    """Words by which an account's profile tells its industry; the first one that it contains counts."""
    picture: PictureLimits
    fetch: Fetch
    kpi: KpiRule
    duplicates: Duplicates
    splits: SplitRule
    negatives: Negatives
    newest_days: Count | None
    """What is learned from and tested on: the posts of so many days before the newest one; null for all. Taste changes, and of a long feed
    the newest posts, which are held out, are as many as it takes to learn a new one."""
    landing: Count
    """New posts that are news: with so many the event is emitted by which retraining may be triggered."""
    batch_size: Count
    """Pictures per decode batch."""
    resources: Resources
