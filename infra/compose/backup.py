"""`python3 -m infra.compose.backup make|list|verify|restore|prune <folder>`: the server's databases and objects, to a folder and back.

Runs on the host, beside docker, with Python 3.11 and nothing else installed. The folder holds a folder per backup, named by its UTC time,
with a dump per database and the list of all objects, and `blobs/`, where equal contents are kept once for all backups.

Databases are dumped first, objects copied after: objects are added, hardly ever removed, so all that a dumped row points at is still there
when the objects are copied. The other way round a row could point at an object that came too late. `done.json` is written last: a backup
without it is none.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

DATABASES = {"mlflow": "mlflow", "mlflow_auth": "mlflow", "prefect": "prefect"}
"""Database to its owner."""
COMPOSE = ("docker", "compose", "--file", str(Path(__file__).parent / "compose.yaml"))
CLIENTS = ("proxy", "worker", "prefect", "mlflow")
"""What must not write while a backup is restored, in the order in which it is stopped."""
FORMAT = "%Y%m%dT%H%M%SZ"
DONE = "done.json"
OBJECTS = "objects.jsonl"


def make(folder: Path, now: datetime) -> str:
    """Back everything up; the backup's name.

    Raises:
        ConnectionError: a server is down or refuses; what was written so far stays without `done.json`.
    """
    name = now.strftime(FORMAT)
    place = folder / name
    place.mkdir(mode=0o700)
    for database in DATABASES:
        with (place / f"{database}.dump").open("wb") as stream:
            _postgres("pg_dump", "--format=custom", database, stdout=stream)
    _objects("save", folder, name)
    sizes = {file.name: file.stat().st_size for file in sorted(place.iterdir())}
    (place / DONE).write_text(json.dumps({"made": now.isoformat(), "bytes": sizes, "objects": len(listed(place))}) + "\n")
    return name


def verify(folder: Path, name: str) -> str:
    """Restore each dump into a database of its own, and read every object's copy; a line that says what was seen.

    Raises:
        ValueError: a copy is missing or damaged, or a dump is empty.
        ConnectionError: a dump cannot be restored.
    """
    place = complete(folder, name)
    tables = {}
    for database in DATABASES:
        scratch = f"verify_{database}"
        try:
            _recreate(scratch, "postgres")
            _load(place / f"{database}.dump", scratch, "postgres")
            count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
            tables[database] = int(_postgres("psql", "--tuples-only", "--no-align", "--command", count, scratch) or 0)
        finally:
            _postgres("dropdb", "--if-exists", "--force", scratch)
        if not tables[database]:
            raise ValueError(f"{place / database}.dump has no tables; make another backup and look at the log of mlflow or prefect")
    digests = {row["sha256"] for row in listed(place)}
    for digest in sorted(digests):
        blob = blob_path(folder, digest)
        if not blob.is_file() or sha256(blob) != digest:
            raise ValueError(f"{blob} is missing or damaged; make another backup, which copies it anew, and look at the disk")
    return f"{name}: tables {', '.join(f'{database} {number}' for database, number in tables.items())}; {len(digests)} contents as hashed"


def restore(folder: Path, name: str) -> None:
    """Put a backup's databases in place of what there is, and bring back the objects that are missing or differ. Clients are stopped first.

    Objects that have come since then stay: nothing points at them.

    Raises:
        ValueError: no such backup.
        ConnectionError: a server is down or refuses; call it again after the cause is mended.
    """
    place = complete(folder, name)
    _run(*COMPOSE, "stop", *CLIENTS)
    _run(*COMPOSE, "up", "--detach", "--wait", "postgres", "s3")
    _objects("load", folder, name)  # before the rows that point at them
    for database, owner in DATABASES.items():
        _recreate(database, owner)
        _load(place / f"{database}.dump", database, owner)
        _postgres("psql", "--command", f"REVOKE ALL ON DATABASE {database} FROM PUBLIC", "postgres")
    _run(*COMPOSE, "up", "--detach", "--wait")


def prune(folder: Path, keep_days: int, now: datetime) -> int:
    """Remove backups that are older, but for the newest complete one, and contents that no backup lists; how many backups.

    Unfinished ones are removed after a day.
    """
    names = sorted(path.name for path in folder.iterdir() if _time(path.name))
    done = [name for name in names if (folder / name / DONE).is_file()]
    ages = {name: now - (_time(name) or now) for name in names}
    old = [name for name in names if ages[name] > timedelta(days=keep_days if name in done else 1) and name not in done[-1:]]
    for name in old:
        shutil.rmtree(folder / name)
    kept = {row["sha256"] for name in names if name not in old for row in listed(folder / name)}
    for blob in (folder / "blobs").glob("*/*"):
        if blob.name not in kept:
            blob.unlink()
    return len(old)


def listed(place: Path) -> list[dict]:
    """The objects of one backup: `bucket`, `key`, `bytes`, `etag`, `sha256`."""
    path = place / OBJECTS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def complete(folder: Path, name: str) -> Path:
    """The folder of a backup that has ended well.

    Raises:
        ValueError: there is none of that name.
    """
    done = sorted(path.parent.name for path in folder.glob(f"*/{DONE}"))
    if name not in done:
        raise ValueError(f"{folder} has no complete backup {name!r}; there are {', '.join(done[-3:]) or 'none'}")
    return folder / name


def blob_path(folder: Path, digest: str) -> Path:
    """Where a content is kept."""
    return folder / "blobs" / digest[:2] / digest


def sha256(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _time(name: str) -> datetime | None:
    try:
        return datetime.strptime(name, FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def _recreate(database: str, owner: str) -> None:
    _postgres("dropdb", "--if-exists", "--force", database)
    _postgres("createdb", f"--owner={owner}", database)


def _load(dump: Path, database: str, owner: str) -> None:
    restore = ("pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", "--no-comments", f"--role={owner}")
    with dump.open("rb") as stream:
        _postgres(*restore, f"--dbname={database}", stdin=stream)


def _postgres(program: str, *arguments: str, **streams) -> str:
    """Run one of PostgreSQL's programs in its container, over its socket, as its superuser: no password takes part."""
    return _run(*COMPOSE, "exec", "--no-TTY", "postgres", program, "--username=postgres", *arguments, **streams)


def _objects(verb: str, folder: Path, name: str) -> None:
    mount = ("--volume", f"{folder}:/backup")
    _run(
        *COMPOSE, "run", "--rm", "--no-deps", "--no-TTY", *mount, "prepare", "python", "-m", "infra.compose.objects", verb, "/backup", name
    )


def _run(*command: str, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) -> str:
    done = subprocess.run(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines()
        raise ConnectionError(f"`{' '.join(command[4:])}` fails: {told[-1] if told else f'exit code {done.returncode}'}")
    return done.stdout.decode().strip() if done.stdout else ""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse to work beside another call in the same folder."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another backup works in {folder}; wait for it") from None
        yield


def main(arguments: list[str] | None = None) -> int:
    """Do what is asked; the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m infra.compose.backup", description="Backup and restore; docs/production.md.")
    parser.add_argument("verb", choices=("make", "list", "verify", "restore", "prune"))
    parser.add_argument("folder", type=Path, help="on another disk than docker's volumes")
    parser.add_argument("name", nargs="?", default="", help="of a backup; the newest where `verify` is given none")
    parser.add_argument("--keep-days", type=int, default=30, help="for prune; 30 by default")
    asked = parser.parse_args(arguments)
    folder, now = asked.folder.resolve(), datetime.now(UTC)
    os.umask(0o077)
    try:
        with _alone(folder):
            names = sorted(path.parent.name for path in folder.glob(f"*/{DONE}"))
            if asked.verb == "make":
                print(f"backup: {make(folder, now)} is complete")
            elif asked.verb == "verify":
                print(f"backup: {verify(folder, asked.name or (names or [''])[-1])}")
            elif asked.verb == "restore":
                restore(folder, asked.name)
                print(f"backup: {asked.name} is restored")
            elif asked.verb == "prune":
                print(f"backup: {prune(folder, asked.keep_days, now)} removed")
            else:
                print("\n".join(names))
    except (ValueError, OSError) as error:
        print(f"backup: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
