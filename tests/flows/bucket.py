"""A stand-in for S3 in the tests of the hand-over."""

import json
from pathlib import Path

from boig.store import Entry


class Bucket:
    """Stands in for S3: one store of names to bytes for all addresses."""

    def __init__(self):
        self.objects: dict[str, bytes] = {}

    def at(self, url: str) -> "Prefix":
        return Prefix(self, url)


class Prefix:
    def __init__(self, bucket: Bucket, url: str):
        self.bucket, self.url = bucket, url

    def key(self, name: str) -> str:
        return f"{self.url}/{name}"

    def entries(self) -> list[Entry]:
        return [Entry(key, len(body), "") for key, body in self.bucket.objects.items() if key.startswith(f"{self.url}/")]

    def fetch(self, key: str, path: Path) -> None:
        path.write_bytes(self.bucket.objects[key])

    def send(self, path: Path, key: str) -> None:
        self.bucket.objects[key] = path.read_bytes()

    def put_once(self, name: str, content: dict) -> bool:
        if self.key(name) in self.bucket.objects:
            return False
        self.bucket.objects[self.key(name)] = json.dumps(content).encode()
        return True
