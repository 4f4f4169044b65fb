"""Reader of X API v2: pages `{data: [...], includes, meta}`, single posts `{data: {...}, includes}`, flattened lines, deletion events.

One JSON object per line in `*.jsonl`, `*.json`, plain, gzip or zstandard. Media files, where they were saved, lie in `media/` beside the
pages under the last part of their URL. `meta.observed_at`, which collectors may add, says when the likes were read.
"""

import gzip
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast
from urllib.parse import urlsplit

import zstandard

from boig.feed.rows import Deleted, Failed, Item, Row, Skipped, parse_kpi, parse_time

MEDIA = "media"
MAX_LINE_CHARS = 64 * 2**20
"""A longer line is not parsed: no page is that long."""
_SUFFIX = re.compile(r"\.(jsonl|json|ndjson)(\.gz|\.zst)?$")


def page_files(folder: Path) -> list[Path]:
    """The page files of a feed's folder, by name; empty where it has none."""
    return sorted(p for p in folder.iterdir() if p.is_file() and _SUFFIX.search(p.name)) if folder.is_dir() else []


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """A text file, plain, gzip or zstandard by its name; bytes that are not UTF-8 become replacement characters."""
    with path.open("rb") as raw:
        if path.suffix == ".gz":
            binary = cast(IO[bytes], gzip.GzipFile(fileobj=raw))
        elif path.suffix == ".zst":
            binary = zstandard.ZstdDecompressor().stream_reader(raw)
        else:
            binary = raw
        with io.TextIOWrapper(binary, encoding="utf-8", errors="replace") as text:
            yield text


def read(root: Path, files: list[Path], industries: tuple[str, ...]) -> Iterator[Item]:
    """All rows and events of the files.

    Args:
        root: the feed's folder; pictures are looked up in its `media/`.
        files: page files.
        industries: words by which an author's profile tells the industry.
    """
    saved = {p.name for p in (root / MEDIA).iterdir()} if (root / MEDIA).is_dir() else set()
    for path in files:
        with open_text(path) as lines:
            try:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield from _line(line, f"{path.name}:{number}", saved, industries)
            except (OSError, EOFError, zstandard.ZstdError) as error:  # the archive ends early: what came before it is kept
                yield Failed(path.name, "", "broken_line", f"{type(error).__name__}: {error}"[:200])


def _line(line: str, source: str, saved: set[str], industries: tuple[str, ...]) -> Iterator[Item]:
    try:
        if len(line) > MAX_LINE_CHARS:
            raise ValueError(f"{len(line)} characters, more than {MAX_LINE_CHARS}")
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        yield Failed(source, "", "broken_line", str(error)[:200])
        return
    posts = _posts(value)
    if posts is None:
        yield Failed(source, "", "broken_line", f"no page, post or event of X API v2: {line[:80]!r}"[:200])
        return
    for post, includes, observed in posts:
        event = _deletion(post)
        yield from [Deleted(event)] if event else _rows(post, includes, observed, source, saved, industries)


def _posts(value: object) -> list[tuple[dict, dict, object]] | None:
    """(post, includes, observed_at) of each post of a line; None for an unknown shape."""
    if not isinstance(value, dict):
        return None
    data, meta, includes = value.get("data"), value.get("meta"), value.get("includes")
    includes = includes if isinstance(includes, dict) else {}
    observed = meta.get("observed_at") if isinstance(meta, dict) else None
    if isinstance(data, list):
        return [(post if isinstance(post, dict) else {}, includes, observed) for post in data]
    if isinstance(data, dict):
        return [(data, includes, observed)]
    if data is None and isinstance(meta, dict) and meta.get("result_count") == 0:
        return []  # a page without results is written without `data`
    if "id" in value and "text" in value:  # flattened: author and media objects lie in the post itself
        flat = {"media": _attached(value).get("media"), "users": [value.get("author")]}
        return [(value, flat, value.get("observed_at"))]
    return [(value, {}, None)] if _deletion(value) else None


def _deletion(post: dict) -> str:
    """Id of the post that an event says was deleted; empty if it is no such event."""
    event = post.get("delete")
    if not isinstance(event, dict):
        return ""
    target = event.get("tweet") or event.get("post") or event.get("status")
    return str(target.get("id_str") or target.get("id") or "") if isinstance(target, dict) else ""


def _rows(post: dict, includes: dict, observed: object, source: str, saved: set[str], industries: tuple[str, ...]) -> Iterator[Item]:
    origin = str(post.get("id") or "")
    references = post.get("referenced_tweets")
    if isinstance(references, list) and any(isinstance(r, dict) and r.get("type") == "retweeted" for r in references):
        yield Skipped(origin, "retweet")
        return
    media = _media(post, includes)
    photos = [m for m in media if m.get("type") == "photo"]
    if not photos:
        yield Skipped(origin, "video" if media else "no_picture")
        return
    for photo in photos:
        yield _row(post, photo, includes, observed, source, saved, industries)


def _media(post: dict, includes: dict) -> list[dict]:
    attached, known = _attached(post), _by("media_key", includes.get("media"))
    keys = attached.get("media_keys")
    keys = keys if isinstance(keys, list) and keys else [media.get("media_key") for media in _objects(attached.get("media"))]
    return [known[key] for key in map(_name, keys) if key in known]


def _attached(post: dict) -> dict:
    attached = post.get("attachments")
    return attached if isinstance(attached, dict) else {}


def _by(field: str, value: object) -> dict[str | int | None, dict]:
    """The objects of a list by one of their fields."""
    return {_name(item.get(field)): item for item in _objects(value)}


def _objects(value: object) -> list[dict]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _name(value: object) -> str | int | None:
    """A value that can name something."""
    return value if isinstance(value, str | int) else None


def _row(
    post: dict, photo: dict, includes: dict, observed: object, source: str, saved: set[str], industries: tuple[str, ...]
) -> Row | Failed:
    origin = str(post.get("id") or "")
    users = _by("id", includes.get("users"))
    author = users.get(_name(post.get("author_id"))) or (users.get(None) if len(users) == 1 else None) or {}
    account = str(author.get("username") or "")
    metrics, url = post.get("public_metrics"), str(photo.get("url") or "")
    if not origin or not account or not url:
        lacking = "id" if not origin else "author" if not account else "media url"
        return Failed(source, origin, "bad_row", f"the post has no {lacking}")
    try:
        created_at = parse_time(post.get("created_at"))
        observed_at = created_at if observed is None else parse_time(observed)
    except ValueError as error:
        return Failed(source, origin, "bad_time", str(error))
    try:
        likes = parse_kpi(metrics.get("like_count") if isinstance(metrics, dict) else None)
    except ValueError as error:
        return Failed(source, origin, "bad_kpi", f"like_count: {error}")
    try:
        name = PurePosixPath(urlsplit(url).path).name
    except ValueError as error:
        return Failed(source, origin, "bad_row", f"media url: {error}")
    industry = industry_of(str(author.get("description") or ""), industries)
    # A feed that comes with a media folder is meant to be complete: what is not in it is missing, not to be downloaded.
    picture = f"{MEDIA}/{name}" if saved else url
    return Row(source, origin, account, industry, created_at, observed_at, str(post.get("text") or ""), likes, picture)


def industry_of(description: str, industries: tuple[str, ...]) -> str:
    """The first of the words that a profile contains, as a word; empty if none."""
    words = set(re.findall(r"\w+", description.lower()))
    return next((industry for industry in industries if industry.lower() in words), "")
