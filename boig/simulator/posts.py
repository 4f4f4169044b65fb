"""What the accounts post: time, caption and scene of each post, before any likes, files or dirt."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from boig.brief import Brief
from boig.feed.text import clean
from boig.simulator.accounts import Account
from boig.simulator.captions import VOICES, post_caption
from boig.simulator.catalog import BACKGROUND_COLORS, INDUSTRIES, KINDS, OCCASION_COLORS, OCCASIONS, SEASONS
from boig.simulator.render import Scene
from boig.simulator.scenes import sample_scene

_PARTNERS = ("partner", "studio_nine", "dailypicks", "friends_of_us")
_TAGS = ("new", "love", "style", "today", "shop", "inspiration")
_CLOSERS = (" Style &amp; comfort.", " Only &lt;3 for you.", " Say &quot;yes&quot;.", " Quality &amp; care.")
_WEEKDAYS = np.array([1.2, 1.2, 1.1, 1.2, 1.2, 0.7, 0.6])  # posts per weekday, Monday first, relative


@dataclass(frozen=True)
class Post:
    """One post as its account planned it."""

    post_id: str
    """Decimal, grows with time, 19 digits, as on the platform."""
    account: str
    created_at: datetime
    """UTC."""
    text: str
    """The raw caption, with entities, tags, mentions and links."""
    advertised: tuple[str, ...]
    """Kinds that the caption names."""
    scene: Scene


def season_of(when: datetime) -> str:
    """Northern season of a time."""
    return SEASONS[when.month % 12 // 3]


def brief_of(post: Post, industry: str) -> Brief:
    """The post without its picture, with its caption as ingest cleans it."""
    return Brief(post.post_id, post.account, industry, post.created_at, clean(post.text))


def draw_posts(seed: int, accounts: tuple[Account, ...], count: int, start: datetime, months: int, mismatch_share: float) -> list[Post]:
    """All posts of all accounts, by time.

    Args:
        seed: of the feed; each post has its own stream, so that no post depends on another one's draws.
        accounts: who posts.
        count: posts in all.
        start: first moment, UTC.
        months: length, 30.4 days each.
        mismatch_share: share of posts whose picture does not show what the caption names.
    """
    activity = np.array([a.activity for a in accounts])
    per_account = np.floor(count * activity / activity.sum()).astype(int)
    per_account[: count - per_account.sum()] += 1
    end = start + timedelta(days=30.4 * months)
    drafts = []
    for number, account in enumerate(accounts):
        for i in range(per_account[number]):
            rng = np.random.default_rng([seed, number, i])
            when = _time(rng, account, start, end)
            drafts.append((when, number, i, _draft(rng, account, when, mismatch_share)))
    drafts.sort(key=lambda d: d[:3])
    return [Post(snowflake(when, n % 4096), accounts[a].name, when, *draft) for n, (when, a, _, draft) in enumerate(drafts)]


def snowflake(when: datetime, sequence: int) -> str:
    """An id in the platform's form: milliseconds since its epoch, then 22 bits of machine and sequence."""
    return str((round(when.timestamp() * 1000) - 1288834974657) << 22 | sequence)


def _time(rng: np.random.Generator, account: Account, start: datetime, end: datetime) -> datetime:
    while True:
        day = start + timedelta(days=int(rng.integers((end - start).days)))
        if rng.random() < _WEEKDAYS[day.weekday()] / _WEEKDAYS.max():
            break
    hour = int(rng.choice(account.hours)) if rng.random() < 0.85 else int(rng.integers(24))
    return datetime(day.year, day.month, day.day, hour, int(rng.integers(60)), int(rng.integers(60)), tzinfo=UTC)


def _draft(rng: np.random.Generator, account: Account, when: datetime, mismatch_share: float) -> tuple[str, tuple[str, ...], Scene]:
    """Raw text, advertised kinds and scene of one post."""
    own = INDUSTRIES[account.industry]
    first = str(rng.choice(own)) if rng.random() < account.own_share else str(rng.choice(KINDS))
    advertised: tuple[str, ...] = (first,)
    if rng.random() < 0.12:
        advertised += (str(rng.choice([k for k in own if k != first])),)
    shown = advertised
    if rng.random() < mismatch_share:
        others = [k for k in KINDS if k not in advertised]
        shown = () if rng.random() < 0.25 else (str(rng.choice(others)),)
    elif len(shown) == 1 and rng.random() < 0.08:
        shown += (str(rng.choice(own)),)
    occasion = str(rng.choice(OCCASIONS)) if rng.random() < 0.5 else None
    scene = sample_scene(rng, shown, _color_weights(rng, account, occasion), account.slogan_rate)
    return _caption(rng, account, when, advertised, occasion), advertised, scene


def _color_weights(rng: np.random.Generator, account: Account, occasion: str | None) -> np.ndarray:
    """(14,) preference over `BACKGROUND_COLORS` for one picture: the account's own, or the occasion's."""
    if occasion is None or rng.random() >= account.dressed_share:
        return np.array(account.color_weights)
    return np.isin(BACKGROUND_COLORS, OCCASION_COLORS[occasion]).astype(float)


def _caption(rng: np.random.Generator, account: Account, when: datetime, advertised: tuple[str, ...], occasion: str | None) -> str:
    voice = account.voice if rng.random() < 0.6 else VOICES[int(rng.integers(len(VOICES)))]
    text = post_caption(rng, advertised, voice, season_of(when) if occasion else None, occasion)
    if rng.random() < 0.2:
        text += str(rng.choice(_CLOSERS))
    if rng.random() < 0.2:
        text += f" With @{rng.choice(_PARTNERS)}"
    tags = rng.choice(_TAGS, size=int(rng.integers(0, 4)), replace=False)
    text += "".join(f" #{tag}" for tag in tags)
    if rng.random() < 0.3:
        text += " https://t.co/" + "".join(rng.choice(list("abcdefghkmnpqrstuvwxyz23456789"), size=10))
    return text
