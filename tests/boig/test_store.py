"""The store without a server: addresses and what leaves the machine. Real servers are in tests/infra."""

from pathlib import Path

import pytest
from botocore.client import BaseClient
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    FlexibleChecksumError,
    NoCredentialsError,
    NoRegionError,
    SSLError,
)

from boig.store import Store, ensure_buckets, publish


class Bucket:
    """A client that remembers what was uploaded."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def upload_file(self, source: str, bucket: str, key: str, **_: object) -> None:
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


REFUSALS = {
    "RequestTimeTooSkewed": "this machine's clock is off; set it by NTP (`timedatectl set-ntp true`)",
    "NoSuchBucket": "make the bucket, or name another in BOIG_S3_URL",
    "InvalidAccessKeyId": "the server does not know AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is not the secret of AWS_ACCESS_KEY_ID",
    "AccessDenied": "these keys may not do that",
    "ExpiredToken": "the session is over",
    "PermanentRedirect": "set AWS_DEFAULT_REGION",
    "SlowDown": "start again later",
}


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("verb", ["list", "upload"])
def test_a_refusal_has_its_own_mend(code: str, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(self: BaseClient, name: str, arguments: dict) -> dict:
        raise ClientError({"Error": {"Code": code, "Message": "two\nlines"}}, name)

    monkeypatch.setattr(BaseClient, "_make_api_call", refuse)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    (tmp_path / "file").write_text("x")
    store = Store.from_url("s3://boig/team")
    with pytest.raises(ConnectionError) as raised:
        store.entries() if verb == "list" else store.send(tmp_path / "file", "team/file")
    told = str(raised.value)
    assert told.startswith(f"cannot {verb} ")
    assert code in told
    assert REFUSALS[code] in told.split("; ", 1)[1]
    assert "\n" not in told


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), "see whether the server runs, and check AWS_ENDPOINT_URL"),
        (SSLError(endpoint_url="https://x", error="self-signed"), "AWS_CA_BUNDLE"),
        (NoCredentialsError(), "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (FlexibleChecksumError(error_msg="no match"), "damaged"),
        (NoRegionError(), "check BOIG_S3_URL and AWS_ENDPOINT_URL"),
    ],
)
def test_what_never_reached_a_server_has_its_own_mend(error: BotoCoreError, mend: str, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> dict:
        raise error

    monkeypatch.setattr(BaseClient, "_make_api_call", fail)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(ConnectionError, match=f"^cannot list s3://boig/team: {type(error).__name__}: .*; .*{mend}"):
        Store.from_url("s3://boig/team").entries()


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
