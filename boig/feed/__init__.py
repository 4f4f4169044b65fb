"""Feeds: their shapes, text cleaning, pictures, KPI normalization, near-duplicates, splits, negatives.

Every row of a feed ends as exactly one of: a post, a failed row in quarantine with one of `REASONS`, or a skipped row counted under one of
`SKIPS`.
"""

REASONS: dict[str, str] = {
    "broken_line": "a line that is not JSON, or not of any known shape",
    "bad_row": "a needed field is missing, empty or of the wrong type",
    "bad_time": "the posting time cannot be read",
    "bad_kpi": "the KPI is missing, not a number, or not finite",
    "missing_picture": "the picture file is not there",
    "unreadable_picture": "not a JPEG, PNG or WebP, or cut short",
    "picture_too_large": "more bytes or pixels than allowed",
    "picture_too_small": "a side below the smallest allowed",
    "fetch_refused": "the URL is not https, its host is not on the list, or its address is not public",
    "fetch_failed": "the server did not answer in time, or answered with an error",
}
"""Why a row failed: short stable names, with their meaning."""

SKIPS: dict[str, str] = {
    "retweet": "another account's post, or no own content",
    "video": "its only media are videos or animations",
    "no_picture": "text only",
    "duplicate": "the same observation of the same picture of the same post again, or a smaller copy of it",
    "superseded": "observed again later",
    "deleted": "the author deleted it",
    "below_floor": "KPI not above the lowest floor",
    "small_account": "its account has too few posts to be ranked",
    "too_old": "posted longer before the newest post than ingest.newest_days; other posts are ranked beside it",
    "near_duplicate": "a test post whose picture nearly equals one outside its test split",
}
"""Why a row was left out on purpose."""
