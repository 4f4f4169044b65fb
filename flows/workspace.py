"""A profile's workspace: a copy of the tracked files under `.profiles/<name>/`, with merged parameters and the root's DVC cache.

A profile overlays single keys of params.yaml. Its runs happen in the copy, so they never touch the default's outputs, and since the cache
is shared, stages that the profile does not change are restored, not run again.
"""

import configparser
import filecmp
import io
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

from boig.params import SECTIONS, load, read

SIMULATED = "data/feed"
"""The feed that stage `simulate` makes; with any other one that stage is dropped."""
OWN = ("params.yaml", "dvc.yaml", "dvc.lock", "metrics/", "reports/", "profiles/")
"""What a workspace has for itself; all other tracked files are copied."""
COPIED = ".copied.json"
WAITING = "--wait-for-lock"
"""Has DVC wait where another DVC is at work in the folder, a person's or one that a killed retraining has left. Its lock ends with it."""


def names(root: Path) -> list[str]:
    """The profiles there are."""
    return sorted(path.stem for path in (root / "profiles").glob("*.yaml"))


def overlay(root: Path, name: str) -> dict[str, dict]:
    """params.yaml with a profile's keys laid over it.

    Raises:
        ValueError: no such profile, or it has a key that params.yaml has not.
    """
    if name not in names(root):
        raise ValueError(f"no profile {name!r}; profiles/ has {', '.join(names(root)) or 'none'}")
    path = root / "profiles" / f"{name}.yaml"
    return _merged(read(root / "params.yaml"), read(path), path.relative_to(root).as_posix(), "")


def _merged(base: dict, over: dict, source: str, prefix: str) -> dict:
    """`base` with `over` on top: mappings key by key, everything else whole."""
    result = dict(base)
    for key, value in over.items():
        if key not in base:
            raise ValueError(f"{source}: {prefix}{key}: params.yaml has no such key; it has {', '.join(map(str, base))}")
        if isinstance(base[key], dict):
            if not isinstance(value, dict):
                raise ValueError(f"{source}: {prefix}{key} must map keys to values, is {value!r}")
            result[key] = _merged(base[key], value, source, f"{prefix}{key}.")
        else:
            result[key] = value
    return result


def prepare(root: Path, name: str) -> Path:
    """Make a profile's workspace, or bring it up to date; where it is. Files that have not changed keep their time stamps.

    Raises:
        ValueError: wrong profile, or wrong parameters; nothing has been written then.
        FileNotFoundError: the profile's feed does not exist.
    """
    params = overlay(root, name)
    workspace = root / ".profiles" / name
    params, dag = with_feed(root, workspace, params, yaml.safe_load((root / "dvc.yaml").read_text()))
    check(params, f"profiles/{name}.yaml")
    _copy_tracked(root, workspace)
    write(workspace / "params.yaml", yaml.safe_dump(params, sort_keys=False))
    write(workspace / "dvc.yaml", yaml.safe_dump(dag, sort_keys=False))
    share_cache(root, workspace, scm=False)
    lock = next((path for path in (workspace / "dvc.lock", root / "profiles" / f"{name}.lock", root / "dvc.lock") if path.is_file()), None)
    if lock and lock != workspace / "dvc.lock":
        shutil.copy(lock, workspace / "dvc.lock")
    return workspace


def mend(place: Path) -> None:
    """Remove what a DVC that was killed while writing has left, and every later one stops at: files that are empty or cut off.

    Nothing is lost: results that dvc.lock does not name come back from DVC's run cache.
    """
    lock = place / ".dvc" / "tmp" / "rwlock"
    if lock.is_file() and not _json(lock):
        lock.unlink()
    if (place / "dvc.lock").is_file() and not _whole(place / "dvc.lock"):
        (place / "dvc.lock").unlink()


def _json(lock: Path) -> bool:
    """Whether it is JSON to its end."""
    try:
        json.loads(lock.read_text())
    except ValueError:
        return False
    return True


def _whole(lock: Path) -> bool:
    """Whether a dvc.lock has what DVC wants of it."""
    try:
        stages = yaml.safe_load(lock.read_text())["stages"].values()
        entries = [entry for stage in stages for kind in ("deps", "outs") for entry in stage.get(kind, [])]
        return all(stage["cmd"] for stage in stages) and all(entry["path"] for entry in entries)
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError):
        return False


def collect(root: Path, name: str) -> list[Path]:
    """Copy metrics, reports and dvc.lock of a profile back beside the default's; what was written."""
    workspace = root / ".profiles" / name
    written = []
    for folder in ("metrics", "reports"):
        source, target = workspace / folder, root / folder / name
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(".gitignore"))
            written.append(target)
    if (workspace / "dvc.lock").is_file():
        written.append(Path(shutil.copy(workspace / "dvc.lock", root / "profiles" / f"{name}.lock")))
    return written


def with_feed(root: Path, workspace: Path, params: dict, dag: dict) -> tuple[dict, dict]:
    """Parameters and DAG for the profile's feed: a relative path is seen from the workspace."""
    feed = params["ingest"]["feed"]
    if feed == SIMULATED:
        return params, dag
    if not (root / feed).exists():
        raise FileNotFoundError(f"ingest.feed: {feed} does not exist; put the feed there or name another folder")
    seen = feed if Path(feed).is_absolute() else os.path.relpath((root / feed).resolve(), workspace.resolve())
    # Other stages that read the feed follow, unless the profile says otherwise.
    moved = {
        name: {key: seen if key == "feed" and value in (feed, SIMULATED) else value for key, value in keys.items()}
        for name, keys in params.items()
    }
    gone = (SIMULATED, *(path for metric in dag["stages"]["simulate"]["metrics"] for path in metric))
    stages = {
        name: {**stage, "deps": [dep for dep in stage["deps"] if not dep.startswith(gone)]}
        for name, stage in dag["stages"].items()
        if name != "simulate"
    }
    return moved, {**dag, "stages": stages}


def check(params: dict, source: str) -> None:
    """All sections of the merged parameters, before anything is written."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "params.yaml"
        trial.write_text(yaml.safe_dump(params, sort_keys=False))
        try:
            for section in SECTIONS:
                load(section, trial)
        except ValueError as error:
            raise ValueError(str(error).replace(str(trial), f"{source} over params.yaml")) from None


def _copy_tracked(root: Path, workspace: Path) -> None:
    """Copy what git knows or would know, where it differs; remove what an earlier copy had and this one has not."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=root, capture_output=True, text=True, check=True
    )
    files = [name for name in listed.stdout.split("\0") if name and not name.startswith(OWN) and (root / name).is_file()]
    record = workspace / COPIED
    for name in set(json.loads(record.read_text()) if record.is_file() else []) - set(files):
        (workspace / name).unlink(missing_ok=True)
    for name in files:
        source, target = root / name, workspace / name
        if target.is_file() and filecmp.cmp(source, target, shallow=False):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    record.write_text(json.dumps(files))


def share_cache(root: Path, workspace: Path, *, scm: bool) -> None:
    """Give a workspace the root's local settings (its remote) and its cache; `scm` says whether Git knows the workspace."""
    config = configparser.ConfigParser()
    config.read(root / ".dvc" / "config.local")
    config.read_dict({"cache": {"dir": os.path.relpath(root / ".dvc" / "cache", workspace / ".dvc")}})
    if not scm:
        config.read_dict({"core": {"no_scm": "true"}})
    text = io.StringIO()
    config.write(text)
    write(workspace / ".dvc" / "config.local", text.getvalue())


def write(path: Path, text: str) -> None:
    """Write, but leave an equal file alone."""
    if path.is_file() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
