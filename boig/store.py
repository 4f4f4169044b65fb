"""The only door to S3: folders up and down, and what a run publishes. Any endpoint, by one setting.

`BOIG_S3_URL=s3://bucket/prefix` names the place; `AWS_ENDPOINT_URL` the endpoint where it is not AWS; keys come by boto3's own ways
(environment, profile, role) and are never read or printed here.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

SETTING = "BOIG_S3_URL"
PUBLISHED = ("metrics", "models/boigsd", "reports", "dvc.lock", "params.yaml")
"""What a run publishes, relative to its workspace. Data and all models go with `dvc push`."""


@dataclass(frozen=True)
class Entry:
    """An object as a listing tells it."""

    key: str
    """Its whole key, the store's prefix included."""
    bytes: int
    etag: str
    """Changes with the content."""


@dataclass(frozen=True)
class Store:
    """A prefix of a bucket."""

    client: Any
    """boto3 S3 client."""
    bucket: str
    prefix: str

    @classmethod
    def from_url(cls, url: str) -> "Store":
        """Of `s3://bucket/prefix`; connects lazily.

        Raises:
            ValueError: not such a URL.
            ConnectionError: half a pair of keys, or no such profile.
        """
        scheme, _, rest = url.partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme != "s3" or not bucket:
            raise ValueError(f"{SETTING}={url!r} must look like s3://bucket/prefix; the endpoint is AWS_ENDPOINT_URL")
        config = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=10, read_timeout=60, max_pool_connections=16)
        client = _told("connect", lambda: boto3.Session().client("s3", config=config))
        return cls(client, bucket, prefix.strip("/"))

    def key(self, name: str) -> str:
        """The object key of a name under the prefix."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def upload(self, source: Path, name: str) -> list[dict]:
        """A file or a folder to `name`; one entry per object: name, bytes, sha256.

        Raises:
            ConnectionError: the endpoint does not answer or refuses.
        """
        entries = []
        for file in _files(source):
            target = f"{name}/{file.relative_to(source).as_posix()}" if source.is_dir() else name
            self.send(file, self.key(target))
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            entries.append({"name": target, "bytes": file.stat().st_size, "sha256": digest})
        return entries

    def download(self, name: str, target: Path) -> int:
        """All objects under `name` into a folder; how many.

        Raises:
            ConnectionError: the endpoint does not answer or refuses.
            FileNotFoundError: nothing is there.
        """
        entries = _told(f"list s3://{self.bucket}/{self.key(name)}", lambda: list(self._entries(self.key(name) + "/")))
        if not entries:
            raise FileNotFoundError(f"s3://{self.bucket}/{self.key(name)} is empty; check {SETTING}")
        for key in (entry.key for entry in entries):
            path = target / key.removeprefix(self.key(name) + "/")
            if not path.resolve().is_relative_to(target.resolve()):
                raise ValueError(f"object {key!r} would be written outside of {target}; remove it from the bucket")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.fetch(key, path)
        return len(entries)

    def entries(self) -> list[Entry]:
        """All objects under the prefix.

        Raises:
            ConnectionError: the endpoint does not answer or refuses.
        """
        return _told(f"list s3://{self.bucket}/{self.prefix}", lambda: list(self._entries(f"{self.prefix}/" if self.prefix else "")))

    def fetch(self, key: str, path: Path) -> None:
        """One object, by its whole key, to a file.

        Raises:
            ConnectionError: the endpoint does not answer or refuses.
        """
        _told(f"download s3://{self.bucket}/{key}", self.client.download_file, self.bucket, key, str(path))

    def send(self, path: Path, key: str) -> None:
        """A file to one object, by its whole key.

        Raises:
            ConnectionError: the endpoint does not answer or refuses.
        """
        _told(f"upload to s3://{self.bucket}/{key}", self.client.upload_file, str(path), self.bucket, key)

    def put_once(self, name: str, content: dict) -> bool:
        """Write a JSON object unless it exists already (`If-None-Match: *`); whether it was written.

        Raises:
            ConnectionError: the endpoint does not answer or refuses.
        """
        body = json.dumps(content, indent=1).encode()

        def put() -> bool:
            try:
                self.client.put_object(Bucket=self.bucket, Key=self.key(name), Body=body, ContentType="application/json", IfNoneMatch="*")
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                    return False
                raise
            return True

        return _told(f"publish s3://{self.bucket}/{self.key(name)}", put)

    def _entries(self, prefix: str) -> Iterable[Entry]:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            yield from (Entry(entry["Key"], entry["Size"], entry["ETag"].strip('"')) for entry in page.get("Contents", []))


def ensure_buckets(endpoint: str, key: str, secret: str, names: Iterable[str]) -> None:
    """Make the buckets that are missing.

    Args:
        endpoint: address of the S3 server.
        key: access key of who may make buckets.
        secret: its secret.
        names: of the buckets.

    Raises:
        ConnectionError: the endpoint does not answer or refuses.
    """
    client = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1").client("s3", endpoint_url=endpoint)
    present = {bucket["Name"] for bucket in _told(f"list the buckets of {endpoint}", client.list_buckets)["Buckets"]}
    for name in names:
        if name not in present:
            _told(f"make bucket {name}", partial(_make_bucket, client, name))


def _make_bucket(client, name: str) -> None:
    """A request whose answer was lost is sent again by boto3, and another process may be first: both end with the bucket there."""
    with suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=name)


def check(url: str, environment: Mapping[str, str]) -> None:
    """See whether the keys of an environment may list a bucket.

    Args:
        url: `s3://bucket/prefix`.
        environment: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`; what it lacks comes by
            boto3's own ways.

    Raises:
        ValueError: not such a URL.
        ConnectionError: the endpoint does not answer, the keys are wrong, or there is no such bucket.
    """
    store = Store.from_url(url)
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    client = boto3.Session(key, secret, environment.get("AWS_SESSION_TOKEN")).client(
        "s3", endpoint_url=environment.get("AWS_ENDPOINT_URL"), region_name=environment.get("AWS_DEFAULT_REGION")
    )
    _told(f"list s3://{store.bucket}", partial(client.list_objects_v2, Bucket=store.bucket, MaxKeys=1))


def publish(workspace: Path, profile: str) -> str:
    """Upload what a run made and publish its manifest; the manifest's address. The same results are published once.

    Files lie under a hash of their contents, so a manifest never points at something that a later run has replaced.

    Raises:
        ValueError: `BOIG_S3_URL` is no S3 address.
        ConnectionError: the endpoint does not answer or refuses.
    """
    store = Store.from_url(os.environ[SETTING])
    present = [workspace / name for name in PUBLISHED if (workspace / name).exists()]
    digest = hashlib.sha256()
    for file in [file for source in present for file in _files(source)]:
        with file.open("rb") as stream:
            digest.update(file.relative_to(workspace).as_posix().encode() + hashlib.file_digest(stream, "sha256").digest())
    name = f"runs/{profile}/{digest.hexdigest()[:16]}"
    entries = [entry for source in present for entry in store.upload(source, f"{name}/{source.relative_to(workspace).as_posix()}")]
    store.put_once(f"{name}/manifest.json", {"profile": profile, "files": entries})
    return f"s3://{store.bucket}/{store.key(name)}/manifest.json"


def _files(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]


def _told(what: str, call, *arguments):
    """Call, and tell a failure in one line without anything secret."""
    try:
        return call(*arguments)
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise ConnectionError(f"cannot {what}: {type(error).__name__}: {error}; check {SETTING}, AWS_ENDPOINT_URL and the keys") from None
