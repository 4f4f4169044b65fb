"""`python -m infra.compose.objects save|load <folder> <name>`: all objects of all buckets, to a backup's folder and back.

`infra.compose.backup` runs it in a container, where S3 and its keys are. Only what is not in the folder yet travels.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from boig.store import Store, ensure_buckets
from infra.compose.backup import DONE, OBJECTS, blob_path, complete, listed, sha256
from infra.stack import settings


def save(stores: list[Store], folder: Path, name: str) -> int:
    """Copy what is new into `blobs/` and write the list of all objects; how many there are.

    Raises:
        ConnectionError: S3 does not answer or refuses.
    """
    earlier = sorted(path.parent for path in folder.glob(f"*/{DONE}"))
    known = {(row["bucket"], row["key"], row["etag"], row["bytes"]): row["sha256"] for row in (listed(earlier[-1]) if earlier else [])}
    rows = []
    for store in stores:
        for entry in store.entries():
            digest = known.get((store.bucket, entry.key, entry.etag, entry.bytes), "")
            if not digest or not _is_whole(blob_path(folder, digest), entry.bytes):
                digest = _copied(store, entry.key, folder)
            size = blob_path(folder, digest).stat().st_size
            rows.append({"bucket": store.bucket, "key": entry.key, "bytes": size, "etag": entry.etag, "sha256": digest})
    (folder / name / OBJECTS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return len(rows)


def load(stores: list[Store], folder: Path, name: str) -> int:
    """Bring back what is missing or differs; how many objects.

    Raises:
        ValueError: no such backup, or a copy of it is damaged: then nothing is written over by it.
        ConnectionError: S3 does not answer or refuses.
    """
    rows, sent = listed(complete(folder, name)), 0
    for store in stores:
        present = {entry.key: (entry.bytes, entry.etag) for entry in store.entries()}
        for row in (row for row in rows if row["bucket"] == store.bucket):
            if present.get(row["key"]) == (row["bytes"], row["etag"]):
                continue
            blob = blob_path(folder, row["sha256"])
            if not blob.is_file() or sha256(blob) != row["sha256"]:
                raise ValueError(f"the copy of s3://{store.bucket}/{row['key']} is missing or damaged: {blob}; take another backup")
            store.send(blob, row["key"])
            sent += 1
    return sent


def _is_whole(blob: Path, size: int) -> bool:
    return blob.is_file() and blob.stat().st_size == size


def _copied(store: Store, key: str, folder: Path) -> str:
    """Download one object to its place among the contents, all at once; its hash."""
    (folder / "blobs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder / "blobs", prefix=".new-") as new:
        path = Path(new) / "object"
        store.fetch(key, path)
        digest = sha256(path)
        blob_path(folder, digest).parent.mkdir(exist_ok=True)
        path.replace(blob_path(folder, digest))
    return digest


def main(verb: str, folder: Path, name: str) -> str:
    """Do what is asked; a line that says what was done."""
    buckets = settings.load(settings.DEFAULT).buckets.model_dump().values()
    stores = [Store.from_url(f"s3://{bucket}") for bucket in buckets]
    if verb == "save":
        return f"{save(stores, folder, name)} objects are in {folder}"
    ensure_buckets(os.environ["AWS_ENDPOINT_URL"], os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], buckets)
    return f"{load(stores, folder, name)} objects were brought back"


if __name__ == "__main__":
    try:
        print(f"objects: {main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])}")
    except (ValueError, OSError) as error:
        sys.exit(f"objects: {' '.join(str(error).split())}")
