"""What a user decides about a feed: the typed parts of the `simulate` and `ingest` sections of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from boig.section import Count, Positive, Section, Seed, Share


class KpiRule(Section):
    """From likes, or any KPI, to 0–100 and low / medium / high. `simulate.kpi` must equal `ingest.kpi`: the ceiling is computed by it."""

    scale: Literal["percentile", "given"]
    """`percentile`: rank within the account's window. `given`: the feed's KPI is on 0–100 and compares between accounts already."""
    window_days: Count
    """Days before a post in which it is ranked."""
    window_posts: Count
    """A window holds at least so many posts of the account."""
    medium_percentile: Annotated[float, Field(ge=0, le=100)]
    """From here on a post is medium."""
    high_percentile: Annotated[float, Field(ge=0, le=100)]
    """From here on a post is high."""
    floor_low: Annotated[float, Field(ge=0)]
    """A post whose KPI is not above it is left out; in the KPI's own unit, 0 for none."""
    floor_medium: Annotated[float, Field(ge=0)]
    """A medium post's KPI is above it; 0 for none."""
    floor_high: Annotated[float, Field(ge=0)]
    """A high post's KPI is above it; 0 for none."""
    min_account_posts: Count
    """Accounts with fewer pictures are left out."""


class SplitRule(Section):
    """The splits. `simulate.splits` must equal `ingest.splits`."""

    seed: Seed
    test_accounts: Annotated[int, Field(ge=0)]
    """Accounts never seen in training; 0 for a feed of one account, of which nothing can be said about strangers."""
    test_time_share: Annotated[float, Field(gt=0, lt=1)]
    """Newest share of the other accounts' posts."""
    judge_share: Share
    """Of the rest, the judge's own share."""
    val_share: Share
    """Of the rest, the validation share."""


class Columns(Section):
    """Names of a table's columns; empty where the table has none and the field may be absent."""

    id: str
    """Of the post; several rows with one id are several pictures of one post."""
    account: str
    time: str
    """ISO 8601, or seconds since 1970."""
    picture: str
    """Path relative to the feed's folder, or https URL."""
    kpi: str
    caption: str
    """May be empty."""
    industry: str
    """May be empty."""
    observed: str
    """When the KPI was read; may be empty."""


class PictureLimits(Section):
    """What a picture may be, checked before it is decoded."""

    store_px: Annotated[int, Field(ge=16)]
    """Longer side of the stored picture at most; larger ones are reduced."""
    min_side_px: Count
    max_megapixels: Positive
    max_bytes: Count


class Fetch(Section):
    """How pictures are downloaded, where the feed gives URLs and no files."""

    hosts: tuple[str, ...]
    """Allowed hosts, exact names or `*.domain`; empty forbids all downloads."""
    timeout_s: Positive
    """Per request, connect and each read; the whole download may take four times as long."""
    redirects: Annotated[int, Field(ge=0, le=10)]


class Duplicates(Section):
    """When two pictures are near-duplicates: both distances must be small."""

    phash_bits: Annotated[int, Field(ge=0, le=16)]
    """Hamming distance of the 64-bit perceptual hashes at most."""
    thumbnail_levels: Annotated[float, Field(ge=0, le=255)]
    """Mean absolute difference of the 16 × 16 thumbnails at most, in levels of 0–255."""


class Negatives(Section):
    """Posts with another post's picture, for training only."""

    seed: Seed
    share: Annotated[float, Field(ge=0, lt=1)]
    """Of train and negatives together."""
    kpi: Annotated[float, Field(ge=0, le=100)]
    """KPI that they get."""
