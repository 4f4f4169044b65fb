"""Bring back what a run has published: `python -m infra.published s3://bucket/…/manifest.json FOLDER`.

The address is told by the run: `repro: published as …`. Endpoint and keys are those of the environment; the key `reader` is enough.
"""

import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import typer

from boig.store import MANIFEST, Store, run_id


def download(address: str, target: Path) -> int:
    """All files that a manifest names, or none of them; how many.

    Each is compared with its hash in the manifest, and the manifest with its address, which holds a hash of all of them.

    Args:
        address: of the manifest, as `boig.store.publish` gave it.
        target: a folder that is not there yet.

    Raises:
        ValueError: not such an address, or a file would lie outside of the folder.
        FileExistsError: the folder is there.
        ConnectionError: the endpoint does not answer or refuses, or has other content than was published.
    """
    folder, _, last = address.rpartition("/")
    if last != MANIFEST:
        raise ValueError(f"{address!r} must end with /{MANIFEST}; the run's log has it, in the line `repro: published as`")
    if target.exists():
        raise FileExistsError(f"{target} is there already; name a new folder")
    store = Store.from_url(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as place:
        draft = Path(place, "files")
        hashes = _hashes(store, address, Path(place, MANIFEST))
        for name, sha256 in hashes.items():
            path = draft / name
            if not path.resolve().is_relative_to(draft.resolve()):
                raise ValueError(f"{address} names {name!r}, which would be outside of {target}; remove it from the bucket")
            path.parent.mkdir(parents=True, exist_ok=True)
            store.fetch(store.key(name), path, sha256)
        draft.replace(target)
    return len(hashes)


def _hashes(store: Store, address: str, path: Path) -> dict[str, str]:
    """Path to sha256, of the files that a manifest names."""
    store.fetch(store.key(MANIFEST), path)
    run = store.prefix.rpartition("/")[2]
    with suppress(ValueError, KeyError, TypeError, AttributeError):  # it is no manifest of ours
        found = {file["name"].partition(f"/{run}/")[2]: file["sha256"] for file in json.loads(path.read_text())["files"]}
        if run_id(found) == run:
            return found
    raise ConnectionError(f"{address} is not what was published there; publish it again, and find out who has written there")


def main(address: str, folder: Path) -> None:
    """Bring back what a run has published into a new folder, each file compared with its hash."""
    try:
        print(f"published: {download(address, folder)} files are in {folder}")
    except (ValueError, OSError) as error:
        print(f"published: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
