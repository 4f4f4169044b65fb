"""The contracts: checked at each write and read, equal bytes for equal rows, nothing half-written."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boig.contracts import CONTRACTS, NEGATIVES, POSTS, Contract

NEGATIVE = {"post_id": "1", "picture_id": "ab", "kpi": 3.0, "bucket": "low"}
POST = {
    "post_id": "1",
    "account": "a",
    "industry": "",
    "created_at": datetime(2024, 1, 2, tzinfo=UTC),
    "observed_at": datetime(2024, 1, 9, tzinfo=UTC),
    "caption": "c",
    "kpi_raw": 12.0,
    "kpi": 50.0,
    "bucket": "low",
    "picture_id": "ab",
    "group": "1",
    "split": "train",
}


def test_names_and_paths_are_unique():
    assert len({c.name for c in CONTRACTS}) == len({c.path for c in CONTRACTS}) == len(CONTRACTS)


def test_what_was_written_is_read(tmp_path: Path):
    path = POSTS.write([POST], tmp_path)
    assert path == tmp_path / POSTS.path
    assert POSTS.read(tmp_path).to_pylist() == [POST]


@settings(max_examples=30)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "post_id": st.text(max_size=5),
                "picture_id": st.text(max_size=3),
                "kpi": st.floats(0, 100),
                "bucket": st.sampled_from(["low", "high"]),
            }
        ),
        max_size=20,
    )
)
def test_equal_rows_give_equal_bytes_however_they_are_chunked(rows: list[dict]):
    with tempfile.TemporaryDirectory() as folder:
        whole = NEGATIVES.write(rows, Path(folder) / "a").read_bytes()
        half = len(rows) // 2
        parts = [pa.Table.from_pylist(part, schema=NEGATIVES.schema) for part in (rows[:half], rows[half:])]
        assert NEGATIVES.write(pa.concat_tables(parts), Path(folder) / "b").read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["kpi"]), "missing"),
        (lambda t: t.set_column(2, "kpi", pa.array(["x"])), "kpi is string, must be double"),
        (lambda t: t.set_column(2, "kpi", pa.array([None], pa.float64())), "holds 1 nulls"),
    ],
)
def test_a_table_that_breaks_the_contract_is_refused_and_leaves_nothing(change, message: str, tmp_path: Path):
    table = change(pa.Table.from_pylist([NEGATIVE], schema=NEGATIVES.schema))
    with pytest.raises(ValueError, match=message):
        NEGATIVES.write(table, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_reading_what_is_not_there_names_the_mend(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="dvc repro"):
        POSTS.read(tmp_path)


def test_reading_another_table_is_refused(tmp_path: Path):
    other = Contract("other", POSTS.path, NEGATIVES.columns)
    other.write([NEGATIVE], tmp_path)
    with pytest.raises(ValueError, match="columns missing"):
        POSTS.read(tmp_path)
