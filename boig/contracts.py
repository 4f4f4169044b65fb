"""Each data set that crosses a stage, declared once: path, columns, units. Checked at each write and each read."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SPLITS = ("train", "judge", "val", "test_time", "test_account")


@dataclass(frozen=True)
class Column:
    """A column of a data set."""

    name: str
    type: pa.DataType
    doc: str
    """What it holds, with its unit."""
    nullable: bool = False


@dataclass(frozen=True)
class Contract:
    """A table that one stage writes and others read."""

    name: str
    path: str
    """Relative to the workspace; one Parquet file."""
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])

    def check(self, table: pa.Table) -> pa.Table:
        """The table itself, if it keeps the contract.

        Raises:
            ValueError: a column is missing, unknown, of another type, or null where it must not be.
        """
        if table.schema.names != self.schema.names:
            missing, unknown = set(self.schema.names) - set(table.schema.names), set(table.schema.names) - set(self.schema.names)
            raise ValueError(f"{self.name}: columns missing {sorted(missing)}, unknown {sorted(unknown)}; see boig/contracts.py")
        for column in self.columns:
            field = table.schema.field(column.name)
            if field.type != column.type:
                raise ValueError(f"{self.name}.{column.name} is {field.type}, must be {column.type}; cast it before writing")
            if not column.nullable and table.column(column.name).null_count:
                raise ValueError(f"{self.name}.{column.name} holds {table.column(column.name).null_count} nulls; fill or drop those rows")
        return table

    def write(self, rows: pa.Table | list[dict], root: Path = Path(".")) -> Path:
        """Write atomically; equal rows give equal bytes."""
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=self.schema)
        complete = set(self.schema.names) <= set(table.schema.names)
        table = self.check(table.select(self.schema.names) if complete else table)
        table = pa.Table.from_arrays([c.combine_chunks() for c in table.columns], schema=self.schema)
        path = Path(root) / self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            pq.write_table(table, temporary, compression="zstd")
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return path

    def read(self, root: Path = Path(".")) -> pa.Table:
        """Read and check.

        Raises:
            FileNotFoundError: not written yet; names the stage's output.
            ValueError: the file does not keep the contract.
        """
        path = Path(root) / self.path
        if not path.exists():
            raise FileNotFoundError(f"{self.name}: {path} is missing; run `dvc repro` up to the stage that writes it")
        table = pq.read_table(path)
        return self.check(table.cast(self.schema) if table.schema.names == self.schema.names else table)


def _columns(*rows: tuple) -> tuple[Column, ...]:
    return tuple(Column(*row) for row in rows)


_TIME = pa.timestamp("us", tz="UTC")
_COLOR = pa.list_(pa.struct([("name", pa.string()), ("coverage", pa.float64())]))
_OBJECT = pa.list_(pa.struct([("label", pa.string()), ("box", pa.list_(pa.float64())), ("score", pa.float64())]))
_TRUE_OBJECT = pa.list_(pa.struct([("label", pa.string()), ("box", pa.list_(pa.float64()))]))

POSTS = Contract("posts", "data/posts/posts.parquet", _columns(
    ("post_id", pa.string(), "id of the post at its source"),
    ("account", pa.string(), "user name of the posting account"),
    ("industry", pa.string(), "from the account's profile; empty where unknown"),
    ("created_at", _TIME, "posting time, UTC"),
    ("observed_at", _TIME, "when the KPI was read, UTC"),
    ("caption", pa.string(), "cleaned text: entities decoded, links and mentions masked, control and template tokens removed"),
    ("kpi_raw", pa.float64(), "the KPI as observed, in its own unit (likes by default)"),
    ("kpi", pa.float64(), "percentile rank of kpi_raw within the account's rolling window, 0–100"),
    ("bucket", pa.string(), "low, medium or high: account percentiles 60 and 90 with the absolute floors"),
    ("picture_id", pa.string(), "first 16 hex digits of the SHA-256 of the stored picture"),
    ("group", pa.string(), "post_id of the first post of the near-duplicate group"),
    ("split", pa.string(), "train, judge, val, test_time or test_account"),
))  # fmt: skip
NEGATIVES = Contract("negatives", "data/posts/negatives.parquet", _columns(
    ("post_id", pa.string(), "a post of split train"),
    ("picture_id", pa.string(), "the picture of another post, of another product or account"),
    ("kpi", pa.float64(), "low by construction, 0–100"),
    ("bucket", pa.string(), "always low"),
))  # fmt: skip
PICTURES = Contract("pictures", "data/posts/pictures.parquet", _columns(
    ("picture_id", pa.string(), "first 16 hex digits of the SHA-256 of `png`"),
    ("png", pa.binary(), "the picture, RGB, re-encoded losslessly after decode and limit checks"),
    ("width", pa.int32(), "px"),
    ("height", pa.int32(), "px"),
    ("phash", pa.string(), "64-bit perceptual hash, hex"),
))  # fmt: skip
QUARANTINE = Contract("quarantine", "data/posts/quarantine.parquet", _columns(
    ("source", pa.string(), "file and line, or row, of the feed"),
    ("post_id", pa.string(), "empty where it could not be read"),
    ("reason", pa.string(), "short stable reason, one of boig.feed.REASONS"),
    ("detail", pa.string(), "what was wrong with which value, at most 200 characters"),
))  # fmt: skip
VERBALIZED = Contract("verbalized", "data/verbalized/verbalized.parquet", _columns(
    ("picture_id", pa.string(), "key into pictures"),
    ("version", pa.string(), "hash of picture bytes, model ids, prompt and thresholds"),
    ("text", pa.string(), "canonical JSON of boig.verbalizer.form; empty when `error` is set"),
    ("colors", _COLOR, "palette names and coverage 0–1, largest first"),
    ("warm", pa.float64(), "share of warm pixels, 0–1"),
    ("neutral", pa.float64(), "share of neutral pixels, 0–1"),
    ("cool", pa.float64(), "share of cool pixels, 0–1"),
    ("objects", _OBJECT, "label, box (x0, y0, x1, y1) in 0–1, confidence 0–1"),
    ("caption", pa.string(), "one sentence"),
    ("error", pa.string(), "empty, or why this picture could not be verbalized"),
))  # fmt: skip
TRUTH = Contract("truth", "data/feed/truth/truth.parquet", _columns(
    ("post_id", pa.string(), "id of the post at its source"),
    ("source", pa.string(), "id of the post whose picture this one repeats; its own for an original"),
    ("dirt", pa.string(), "kind of dirt, empty for a clean post"),
    ("course", pa.float64(), "level and trend of the account, log1p(likes)"),
    ("context", pa.float64(), "effect of weekday, hour and caption, log1p(likes)"),
    ("picture", pa.float64(), "effect of the picture, log1p(likes)"),
    ("noise", pa.float64(), "what nothing explains, log1p(likes)"),
    ("likes", pa.float64(), "final likes"),
    ("objects", _TRUE_OBJECT, "products that are drawn: label, box (x0, y0, x1, y1) in 0–1"),
    ("background", pa.string(), "palette name of the background's color"),
    ("has_text", pa.bool_(), "whether a line of text is drawn"),
))  # fmt: skip
CONTRACTS: tuple[Contract, ...] = (POSTS, NEGATIVES, PICTURES, QUARANTINE, VERBALIZED, TRUTH)
