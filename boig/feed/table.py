"""Reader of any table, CSV or Parquet: one picture per row, columns by name."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from boig.feed.rows import Failed, Item, Row, parse_kpi, parse_time
from boig.feed.rules import Columns

SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet")
_NEEDED = ("id", "account", "time", "picture", "kpi")
_CHUNK_ROWS = 50_000


def is_table(path: Path) -> bool:
    """Whether the name is that of a table that `read` understands."""
    return path.name.endswith(SUFFIXES)


def read(path: Path, columns: Columns) -> Iterator[Item]:
    """All rows of the table.

    Raises:
        ValueError: a named column is not there, or a needed one has no name.
    """
    names = {field: name for field, name in columns.model_dump().items() if name}
    for field in _NEEDED:
        if field not in names:
            raise ValueError(f"ingest.columns.{field} is empty; name the table's column that holds it")
    for frame in _frames(path):
        missing = [f"{name!r} (ingest.columns.{field})" for field, name in names.items() if name not in frame.columns]
        optional = [field for field in ("caption", "industry", "observed") if field in names and names[field] not in frame.columns]
        if missing:
            hint = f"; set {', '.join(f'ingest.columns.{f}' for f in optional)} to '' if it has none" if optional else ""
            raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}{hint}")
        fields = [frame[name].tolist() for name in names.values()]
        for index, values in zip(frame.index, zip(*fields, strict=True), strict=True):
            yield _row(f"{path.name}:{index + 2}", dict(zip(names, values, strict=True)))


def _frames(path: Path) -> Iterator[pd.DataFrame]:
    if path.suffix == ".parquet":
        yield pd.read_parquet(path)
        return
    try:
        with pd.read_csv(path, dtype=str, keep_default_na=False, chunksize=_CHUNK_ROWS, encoding_errors="replace") as reader:
            yield from reader
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path} is not a CSV table: {' '.join(str(error).split())}; mend it, and land files whole") from error


def _row(source: str, values: dict[str, object]) -> Row | Failed:
    said = {field: "" if value is None or value != value else value for field, value in values.items()}
    origin = str(said["id"]).strip()
    for field in ("id", "account", "picture"):
        if not str(said[field]).strip():
            return Failed(source, origin, "bad_row", f"{field} is empty")
    try:
        created_at = parse_time(said["time"])
        observed_at = parse_time(said["observed"]) if said.get("observed") else created_at
    except ValueError as error:
        return Failed(source, origin, "bad_time", str(error))
    try:
        kpi_raw = parse_kpi(said["kpi"])
    except ValueError as error:
        return Failed(source, origin, "bad_kpi", str(error))
    account, picture = str(said["account"]).strip(), str(said["picture"]).strip()
    industry, caption = str(said.get("industry", "")).strip(), str(said.get("caption", ""))
    return Row(source, origin, account, industry, created_at, observed_at, caption, kpi_raw, picture)
