"""Open a feed: find out its shape, read it, settle it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR

from boig.feed import table, v2
from boig.feed.rows import Intake, Item, Row, settle
from boig.feed.rules import Columns


def feed_root(path: Path) -> Path:
    """The folder that picture paths are relative to.

    Raises:
        FileNotFoundError: no such file or folder.
    """
    if not path.exists():
        raise FileNotFoundError(f"ingest.feed is {str(path)!r}, which does not exist; give a folder with pages/*.jsonl or a table")
    return path if path.is_dir() else path.parent


def read(path: Path, columns: Columns, industries: tuple[str, ...]) -> Intake:
    """Read a feed of any known shape: a folder of X API v2 pages, a table, or a folder with one table.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: the shape is unknown, or there is not one usable row in it.
    """
    intake = settle(_items(path, feed_root(path), columns, industries))
    if not intake.rows:
        reasons = sorted({f.reason for f in intake.failed} | set(intake.skipped))
        why = f"none of its {intake.rows_in} rows can be used ({', '.join(reasons)})" if intake.rows_in else "it is empty"
        raise ValueError(f"ingest.feed {str(path)!r}: {why}; give a feed with posts that have pictures and a KPI")
    return intake


def _items(path: Path, root: Path, columns: Columns, industries: tuple[str, ...]) -> Iterator[Item]:
    if path.is_file():
        if table.is_table(path):
            return table.read(path, columns)
        raise ValueError(f"ingest.feed {str(path)!r} is no table; give a file that ends in {', '.join(table.SUFFIXES)} or a folder")
    pages = v2.page_files(path / "pages") or v2.page_files(path)
    tables = sorted(p for p in path.iterdir() if p.is_file() and table.is_table(p))
    if (path / "pages").is_dir() or (pages and not tables):
        return v2.read(root, pages, industries)
    if len(tables) == 1:
        return table.read(tables[0], columns)
    found = f"{len(tables)} tables ({', '.join(p.name for p in tables[:4])})" if tables else "neither pages/*.jsonl nor a table"
    raise ValueError(f"ingest.feed {str(path)!r} holds {found}; name one table file, or a folder with pages")


def picture_keys(rows: tuple[Row, ...]) -> list[str]:
    """The distinct pictures of the rows, in order of first mention: what has to be decoded, once each."""
    return list(dict.fromkeys(row.picture for row in rows))


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """The feed must lie still while the body reads it.

    DVC notes down what a stage has read as it lies there when the stage is done: posts that land meanwhile would pass for ingested, and be
    left out until the next ones land.

    Raises:
        ValueError: files of the feed were added, removed or written meanwhile.
    """
    before = _files(path)
    yield
    changed = sorted(name for name, _ in before.items() ^ _files(path).items())
    if changed:
        raise ValueError(
            f"ingest.feed {str(path)!r} was written to while it was read ({', '.join(list(dict.fromkeys(changed))[:3])}); "
            "run again once nothing is written there, or land posts elsewhere and move them in"
        )


def _files(path: Path) -> dict[str, tuple[int, int]]:
    """Bytes and time of change of each file, by its path within the feed."""
    root, found = feed_root(path), {}
    for file in [path] if path.is_file() else path.rglob("*"):
        with suppress(FileNotFoundError):  # moved away just now
            stat = file.stat()
            if not S_ISDIR(stat.st_mode):
                found[file.relative_to(root).as_posix()] = (stat.st_size, stat.st_mtime_ns)
    return found
