"""The store without a server: addresses and what leaves the machine. Real servers are in tests/infra."""

from pathlib import Path

import pytest
from botocore.client import BaseClient

from boig.store import Store, ensure_buckets, publish


class Bucket:
    """A client that remembers what was uploaded."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def upload_file(self, source: str, bucket: str, key: str) -> None:
        self.keys.append(key)

    def put_object(self, **arguments: object) -> None:
        assert arguments["IfNoneMatch"] == "*"
        self.keys.append(str(arguments["Key"]))


@pytest.mark.parametrize("url", ["", "bucket/x", "https://bucket/x", "s3:///x"])
def test_an_address_of_another_kind_is_refused(url: str):
    with pytest.raises(ValueError, match="must look like s3://bucket/prefix"):
        Store.from_url(url)


def test_the_prefix_is_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store = Store.from_url("s3://bucket/a/b/")
    assert (store.bucket, store.key("c")) == ("bucket", "a/b/c")
    assert Store.from_url("s3://bucket").key("c") == "c"


def test_only_results_leave_the_machine_and_the_manifest_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bucket = Bucket()
    monkeypatch.setattr(Store, "from_url", lambda url: Store(bucket, "b", "p"))
    monkeypatch.setenv("BOIG_S3_URL", "s3://b/p")
    for name in ("metrics/a.json", "reports/report.html", "data/posts/posts.parquet", ".env", "mlflow.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    publish(tmp_path, "smoke")
    assert [key.split("/", 4)[-1] for key in bucket.keys] == ["metrics/a.json", "reports/report.html", "manifest.json"]


def test_an_object_name_cannot_leave_the_folder(tmp_path: Path):
    class Listing:
        def get_paginator(self, _: str) -> "Listing":
            return self

        def paginate(self, **_: object) -> list[dict]:
            return [{"Contents": [{"Key": "p/x/../../../evil", "Size": 1, "ETag": '"e"'}]}]

    with pytest.raises(ValueError, match="outside"):
        Store(Listing(), "b", "p").download("x", tmp_path / "target")


def test_a_bucket_that_another_made_meanwhile_is_taken_as_made(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def answer(self: BaseClient, name: str, arguments: dict) -> dict:
        if name == "ListBuckets":
            return {"Buckets": [{"Name": "old"}]}
        asked.append((name, arguments["Bucket"]))
        if arguments["Bucket"] == "raced":
            raise self.exceptions.BucketAlreadyOwnedByYou({"Error": {"Code": "BucketAlreadyOwnedByYou"}}, name)
        return {}

    monkeypatch.setattr(BaseClient, "_make_api_call", answer)
    ensure_buckets("http://127.0.0.1:1", "key", "secret", ["old", "raced", "new"])
    assert asked == [("CreateBucket", "raced"), ("CreateBucket", "new")]
