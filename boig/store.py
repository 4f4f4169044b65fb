"""The only door to S3: folders up and down, and what a run publishes. Any endpoint, by one setting.

`BOIG_S3_URL=s3://bucket/prefix` names the place; `AWS_ENDPOINT_URL` the endpoint where it is not AWS; keys come by boto3's own ways
(environment, profile, role) and are never read or printed here.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

SETTING = "BOIG_S3_URL"
PUBLISHED = ("metrics", "models/boigsd", "reports", "dvc.lock", "params.yaml")
"""What a run publishes, relative to its workspace. Data and all models go with `dvc push`."""
MANIFEST = "manifest.json"
"""Of a run, beside what it published; written last."""
PART_BYTES = 8 * 2**20
TRANSFER = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=8, num_download_attempts=5)
"""Larger files go in parts, several at once, and a part that fails is sent or asked for again by itself."""
TRIES = 6
"""Of a request that is not answered, or is answered with "later"; waits in between grow."""
MENDS = {
    "RequestTimeTooSkewed": "this machine's clock is off; set it by NTP (`timedatectl set-ntp true`)",
    "NoSuchBucket": f"make the bucket, or name another in {SETTING}",
    "404": f"it is not there; check the address, and the bucket in {SETTING}",
    "InvalidAccessKeyId": "the server does not know AWS_ACCESS_KEY_ID; set keys of this server, or AWS_ENDPOINT_URL to theirs",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is not the secret of AWS_ACCESS_KEY_ID; set both to one pair",
    "AccessDenied": "these keys may not do that; take those of a component that may (`python -m infra.policies` prints the rights)",
    "403": "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, what they may do, and this machine's clock",
    "ExpiredToken": "the session is over; sign in again, or set AWS_SESSION_TOKEN anew",
    "PermanentRedirect": "the bucket is in another region; set AWS_DEFAULT_REGION to it",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_DEFAULT_REGION to it",
    "BadDigest": "the content was damaged on its way; start again",
    "FlexibleChecksumError": "the content was damaged on its way or in its place; start again, then put it there anew",
    "ClientError": "start again later; if it stays, the server's log has the reason",
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "PartialCredentialsError": "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "ProfileNotFound": "name a profile of ~/.aws/config in AWS_PROFILE",
    "SSLError": "name the authority of the server's certificate in AWS_CA_BUNDLE, or check AWS_ENDPOINT_URL",
    "ConnectionError": "see whether the server runs, and check AWS_ENDPOINT_URL",
    "HTTPClientError": "see whether the server runs, and check AWS_ENDPOINT_URL",
    "Boto3Error": "see whether the server runs, and check AWS_ENDPOINT_URL",
    "BotoCoreError": f"check {SETTING} and AWS_ENDPOINT_URL",
}
"""What to do, by the server's code of error, or else by the kind of error, the narrowest first. 403 and 404 are all that a HEAD tells."""


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
        client = _told("connect", lambda: boto3.Session().client("s3", config=_config()))
        return cls(client, bucket, prefix.strip("/"))

    def key(self, name: str) -> str:
        """The object key of a name under the prefix."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def entries(self) -> list[Entry]:
        """All objects under the prefix.

        Raises:
            ConnectionError: the endpoint does not answer or refuses.
        """
        return _told(f"list s3://{self.bucket}/{self.prefix}", lambda: list(self._entries(f"{self.prefix}/" if self.prefix else "")))

    def fetch(self, key: str, path: Path, sha256: str = "") -> None:
        """One object, by its whole key, to a file: the whole of it, or nothing.

        Args:
            key: of the object.
            path: of the file.
            sha256: what the content's must be, where that is known.

        Raises:
            ConnectionError: the endpoint does not answer or refuses, or has other content.
        """
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            _told(f"download s3://{self.bucket}/{key}", self.client.download_file, self.bucket, key, str(draft), Config=TRANSFER)
            if sha256 and (found := _digest(draft)) != sha256:
                told = f"s3://{self.bucket}/{key} has sha256 {found[:12]}… where {sha256[:12]}… was published"
                raise ConnectionError(f"{told}; publish it again, and find out who has written there")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def send(self, path: Path, key: str) -> None:
        """A file to one object, by its whole key.

        Raises:
            ConnectionError: the endpoint does not answer or refuses.
        """
        _told(f"upload to s3://{self.bucket}/{key}", self.client.upload_file, str(path), self.bucket, key, Config=TRANSFER)

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
    session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1")
    client = session.client("s3", endpoint_url=endpoint, config=_config())
    present = {bucket["Name"] for bucket in _told(f"list the buckets of {endpoint}", client.list_buckets)["Buckets"]}
    for name in names:
        if name not in present:
            _told(f"make bucket {name}", _make_bucket, client, name)


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
        "s3", endpoint_url=environment.get("AWS_ENDPOINT_URL"), region_name=environment.get("AWS_DEFAULT_REGION"), config=_config(tries=2)
    )
    _told(f"list s3://{store.bucket}", client.list_objects_v2, Bucket=store.bucket, MaxKeys=1)


def publish(workspace: Path, profile: str) -> str:
    """Upload what a run made and publish its manifest; the manifest's address. The same results are published once.

    Files lie under a hash of their contents, so a manifest never points at something that a later run has replaced.

    Raises:
        ValueError: `BOIG_S3_URL` is no S3 address.
        ConnectionError: the endpoint does not answer or refuses.
    """
    store = Store.from_url(os.environ[SETTING])
    files = [file for name in PUBLISHED if (workspace / name).exists() for file in _files(workspace / name)]
    hashes = {file.relative_to(workspace).as_posix(): _digest(file) for file in files}
    name = f"runs/{profile}/{run_id(hashes)}"
    entries = []
    for file, (path, sha256) in zip(files, hashes.items(), strict=True):
        store.send(file, store.key(f"{name}/{path}"))
        entries.append({"name": f"{name}/{path}", "bytes": file.stat().st_size, "sha256": sha256})
    store.put_once(f"{name}/{MANIFEST}", {"profile": profile, "files": entries})
    return f"s3://{store.bucket}/{store.key(name)}/{MANIFEST}"


def run_id(hashes: Mapping[str, str]) -> str:
    """Name of a run: a hash of its files' paths and sha256, so that a manifest can be compared with its address."""
    return hashlib.sha256(b"".join(path.encode() + bytes.fromhex(sha256) for path, sha256 in hashes.items())).hexdigest()[:16]


def _files(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _config(tries: int = TRIES) -> Config:
    """Each content goes with its checksum, which the server compares; and comes with it, and is compared here.

    AWS's own settings turn that off for a server that knows no checksums.
    """
    return Config(
        retries={"mode": "standard", "total_max_attempts": tries},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=16,
        request_checksum_calculation=os.environ.get("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported"),
        response_checksum_validation=os.environ.get("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_supported"),
    )


def _told(what: str, call, *arguments, **named):
    """Call, and tell a failure and its mend in one line without anything secret."""
    try:
        return call(*arguments, **named)
    except (BotoCoreError, ClientError, Boto3Error) as error:
        met = error.__context__ if isinstance(error.__context__, ClientError) else error  # boto3 wraps what an upload has met
        code = met.response["Error"]["Code"] if isinstance(met, ClientError) else ""
        mend = next(MENDS[name] for name in (code, *(kind.__name__ for kind in type(met).__mro__)) if name in MENDS)
        raise ConnectionError(" ".join(f"cannot {what}: {type(met).__name__}: {met}; {mend}".split())) from None
