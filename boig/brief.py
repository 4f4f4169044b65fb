"""A brief: everything about a post but its picture. What a model is told before it sees or makes a picture."""

from dataclasses import dataclass
from datetime import datetime

BUCKETS: tuple[str, str, str] = ("low", "medium", "high")


@dataclass(frozen=True)
class Brief:
    """Account, time and caption of a post that has, or is to have, a picture."""

    post_id: str
    account: str
    industry: str
    """From the account's profile; empty where the feed does not say."""
    created_at: datetime
    """UTC."""
    caption: str
    """Cleaned text of the post (see `boig.feed`); may be empty."""
