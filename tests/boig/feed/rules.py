"""Rules for tests, small enough to reason about by hand."""

from boig.feed.rules import Columns, Duplicates, Fetch, KpiRule, Negatives, PictureLimits, SplitRule

KPI = KpiRule(
    scale="percentile", window_days=100, window_posts=5, medium_percentile=60, high_percentile=90, floor_low=0, floor_medium=0,
    floor_high=0, min_account_posts=1,
)  # fmt: skip
SPLITS = SplitRule(seed=1, test_accounts=2, test_time_share=0.2, judge_share=0.3, val_share=0.1)
LIMITS = PictureLimits(store_px=64, min_side_px=16, max_megapixels=1, max_bytes=200_000)
DUPLICATES = Duplicates(phash_bits=8, thumbnail_levels=5)
NEGATIVES = Negatives(seed=3, share=0.2, kpi=5)
FETCH = Fetch(hosts=("pbs.example.com", "*.cdn.example.com"), timeout_s=1, redirects=2)
COLUMNS = Columns(id="id", account="account", time="time", picture="picture", kpi="kpi", caption="caption", industry="", observed="")
