"""What has landed in the feed since the last generation of models, and whether it is enough for another one."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from prefect import task

from boig.params import read
from boig.registry import AGAINST, FEED_NEWEST, FEED_POSTS, PROMOTED_AT, Version
from boig.retraining.settings import Retraining
from boig.sections.ingest import Ingest
from flows import workspace

DEPLOYMENTS = Path("infra/prefect.yaml")


@dataclass(frozen=True)
class Landed:
    """What is in the feed."""

    posts: int
    newest: datetime
    new: int = 0
    """Posts that the last generation has not seen."""


@task(name="look at the feed")
def look(settings: Retraining, root: Path, last: Version | None) -> Landed:
    """Read the feed, without its pictures, and count what has come since a generation.

    Posts may be deleted, or land late: what counts is the larger of what is younger than all that it has seen, and of what there is more.

    Raises:
        ValueError: retraining is on the simulated feed, which does not grow.
        FileNotFoundError: no feed.
    """
    from boig.feed.reading import read as read_feed

    params = read_params(settings, root)
    rules, feed = Ingest.model_validate(params["ingest"]), settings.feed or params["ingest"]["feed"]
    if feed == workspace.SIMULATED:
        raise ValueError(
            f"retraining on {feed}, which stage simulate makes and which does not grow; name a profile of your feed, or the feed itself: "
            f"`profile` or `feed` in {DEPLOYMENTS}"
        )
    rows = read_feed(root / feed, rules.columns, rules.industries).rows
    if last is None:
        return Landed(len(rows), max(row.created_at for row in rows), len(rows))
    since = datetime.fromisoformat(last.tags[FEED_NEWEST])
    new = max(sum(row.created_at > since for row in rows), len(rows) - int(last.tags[FEED_POSTS]))
    return Landed(len(rows), max(row.created_at for row in rows), new)


def last_of(versions: list[Version], champion: Version | None) -> Version | None:
    """The newest generation on which something was decided, or still can be: in use, refused, or waiting for approval.

    One that was compared with a champion that is no longer in use can never be promoted: what it has seen counts as new.
    """
    used = str(champion.number) if champion else ""
    return next((v for v in reversed(versions) if not v.passed or v.tags.get(PROMOTED_AT) or v.tags.get(AGAINST, "") == used), None)


def nothing_new(landed: Landed, last: Version | None, least: int) -> str:
    """Why there is nothing to do; empty where there is."""
    if last is None or landed.new >= least:
        return ""
    waits = ", which waits for approval," if last.passed and not last.tags.get(PROMOTED_AT) else ""
    return f"nothing new: {landed.new} posts since version {last.number}{waits} ({last.tags[FEED_POSTS]} posts), {least} asked"


def read_params(settings: Retraining, root: Path) -> dict[str, dict]:
    """params.yaml, with the profile laid over it."""
    return workspace.overlay(root, settings.profile) if settings.profile else read(root / "params.yaml")
