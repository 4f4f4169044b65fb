"""A checkout of its own for a retraining: a git worktree with the root's DVC cache and remote, and parameters with nothing left to look up.

Under `.retrain/<name>/`, on branch `retrain/<name>`. What is committed there needs no profile: plain `dvc pull` works. A worktree that
a killed run has left is taken up again, with all that its stages keep in `scratch/`.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

from boig.params import SECTIONS
from flows import workspace
from infra.remote import address, configure, configured

FOLDER = ".retrain"
AUTHOR = ("-c", "user.name=boig retraining", "-c", "user.email=retraining@boig.invalid")
CONFIG = ".dvc/config"
PAPERS = ("params.yaml", "dvc.yaml", "dvc.lock", CONFIG)
"""What makes a folder a workspace of DVC."""
TEXTS = (".yaml", ".lock", ".json")
SETTLED = ("params.yaml", "dvc.yaml")
"""What a retraining fills in."""
ERRORS = ("ERROR: ", "fatal: ", "error: ")
"""How DVC and Git begin the line that says what is wrong."""
REFUSED = re.compile(r"\b(Forbidden|403|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch)\b")
"""What a store says of keys that it does not take."""
RESULTS = ("params.yaml", "dvc.yaml", "dvc.lock", "metrics")


def git(root: Path, *arguments: str) -> str:
    """What a git command says.

    Raises:
        ValueError: it failed; with its complaint.
    """
    env = os.environ | {"GIT_TERMINAL_PROMPT": "0"}  # nobody is there to be asked for a password
    done = subprocess.run(["git", *arguments], cwd=root, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"git {arguments[0]}: {complaint(done)}")
    return done.stdout.strip()


def dvc(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A DVC command in a workspace, with what it says. Not a quiet one: that would keep its error to itself."""
    command = [sys.executable, "-m", "dvc", workspace.WAITING, *arguments]
    return subprocess.run(command, cwd=place, env=environment(place), capture_output=True, text=True, check=False)


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Of a command of DVC or Git that failed: the line of its error. The last one is often advice."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return next((line.removeprefix("ERROR: ") for line in lines if line.startswith(ERRORS)), lines[-1] if lines else "failed")


@contextmanager
def opened(root: Path, name: str) -> Iterator[Path]:
    """The worktree of that name at the root's commit; removed when the body ends well, kept to be taken up again when not.

    Raises:
        ValueError: git refuses, or another process works in it.
    """
    place = root / FOLDER / name
    place.parent.mkdir(exist_ok=True)
    if url := address(os.environ):
        configure(url, root)
    with (place.parent / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another retraining works in {place}; wait for it") from None
        if not _whole(place):
            _discard(root, place)
            git(root, "worktree", "add", "--force", "-B", f"retrain/{name}", str(place), "HEAD")
        _unlock(place)
        workspace.share_cache(root, place, scm=True)
        yield place
        remove(root, place)


def _whole(place: Path) -> bool:
    """Whether `git worktree add` has come to its end there: the index is what it writes last. What was cut off may lack any file."""
    try:
        return (place / ".git").exists() and Path(git(place, "rev-parse", "--absolute-git-dir", "HEAD").split("\n")[0], "index").is_file()
    except ValueError:
        return False


def _unlock(place: Path) -> None:
    """Remove Git's lock of a worktree, which a killed process has left: nobody else works here."""
    Path(git(place, "rev-parse", "--absolute-git-dir"), "index.lock").unlink(missing_ok=True)


def remove(root: Path, place: Path) -> None:
    """Remove a worktree; its branch stays."""
    _discard(root, place)
    with suppress(FileNotFoundError):
        place.with_name(f"{place.name}.lock").unlink()


def _discard(root: Path, place: Path) -> None:
    """Remove a worktree in whatever state it is: Git refuses one that is broken, but not one whose folder is gone."""
    (place / ".git").unlink(missing_ok=True)  # first: who is killed from here on does not leave what looks whole
    shutil.rmtree(place, ignore_errors=True)
    with suppress(ValueError):  # Git knows of none there
        git(root, "worktree", "remove", "--force", "--force", str(place))  # twice: Git locks what it has not made to its end


def clear(root: Path, old: Callable[[Path], bool]) -> list[Path]:
    """Remove worktrees that are `old`, or were half made, and that no process works in, nor may begin to meanwhile; those removed."""
    removed = []
    for place in sorted(path for path in (root / FOLDER).glob("*") if path.is_dir()):
        with place.with_name(f"{place.name}.lock").open("w") as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _whole(place) or old(place):
                remove(root, place)
                removed.append(place)
    return removed


def settle(root: Path, place: Path, profile: str, feed: str, until: str, changes: dict[str, dict]) -> None:
    """Write the worktree's params.yaml and dvc.yaml: the profile, the feed and the changes worked in.

    What the root's commit knows of stages that this retraining does not run would pass for its own results: it goes.

    Args:
        root: where a relative feed is seen from.
        place: the worktree.
        profile: a name of `profiles/`, or nothing.
        feed: of the posts, or nothing to take the profile's.
        until: the last stage to run, or nothing for all.
        changes: keys to set, by section.

    Raises:
        ValueError: no such profile, or wrong parameters.
        FileNotFoundError: the feed does not exist.
    """
    workspace.mend(place)
    git(place, "checkout", "--quiet", git(root, "rev-parse", "HEAD"), "--", *SETTLED)
    params = workspace.overlay(place, profile) if profile else yaml.safe_load((place / "params.yaml").read_text())
    if feed:
        params["ingest"]["feed"] = feed
    for section, keys in changes.items():
        params[section] |= keys
    dag = yaml.safe_load((place / "dvc.yaml").read_text())
    params, dag = workspace.with_feed(root, place, params, dag)
    workspace.check(params, f"profiles/{profile}.yaml" if profile else "params.yaml")
    for name, content in zip(SETTLED, (params, dag), strict=True):
        workspace.write(place / name, yaml.safe_dump(content, sort_keys=False))
    order = list(SECTIONS)
    _forget(place, set(dag["stages"]) & set(order[: order.index(until) + 1] if until else order))


def _forget(place: Path, own: set[str]) -> None:
    """Drop from dvc.lock and metrics what is not of these stages."""
    if (place / "dvc.lock").is_file():
        lock = yaml.safe_load((place / "dvc.lock").read_text())
        if foreign := lock["stages"].keys() - own:  # else the file stays as DVC has written it, and nothing is new to commit
            lock["stages"] = {name: stage for name, stage in lock["stages"].items() if name not in foreign}
            workspace.write(place / "dvc.lock", yaml.safe_dump(lock, sort_keys=False))
    kept = {place / "metrics" / f"{name}.json" for name in own}
    for path in (place / "metrics").rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()


def fetch(root: Path, at: str) -> None:
    """Have a commit here, which another machine may have pushed.

    Raises:
        ValueError: neither here nor at a remote.
    """
    if _known(root, at):
        return
    with suppress(ValueError):  # no remote, or it is away
        git(root, "fetch", "--quiet", "--all")
    if not _known(root, at):
        raise ValueError(f"commit {at[:12]} is not in this checkout, nor at its Git remotes; `push_to` of retraining has it pushed")


def _known(root: Path, at: str) -> bool:
    return subprocess.run(["git", "cat-file", "-e", f"{at}^{{commit}}"], cwd=root, capture_output=True, check=False).returncode == 0


def papers(root: Path, at: str, kept: Callable[[], Path] | None = None) -> dict[str, str]:
    """What a generation's commit says of it: the texts of `PAPERS` and of its metrics, by path.

    Args:
        root: of the project.
        at: the commit.
        kept: a folder that holds the same, asked for where the commit is lost, with a disk or where branches are not pushed, or broken.

    Raises:
        ValueError: no such commit, or not all of them in it, and nothing kept.
    """
    try:
        fetch(root, at)
        names = (*PAPERS, *git(root, "ls-tree", "-r", "--name-only", at, "metrics").splitlines())
        return {name: git(root, "show", f"{at}:{name}") + "\n" for name in names}
    except ValueError:
        if kept is None:
            raise
    folder = kept()
    found = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.suffix in TEXTS}
    return found | {CONFIG: (root / CONFIG).read_text()}


def outputs(texts: Mapping[str, str]) -> set[str]:
    """Paths that the dvc.lock of `papers` names."""
    lock = yaml.safe_load(texts["dvc.lock"])
    return {out["path"] for stage in lock["stages"].values() for out in stage.get("outs", [])}


def restore(root: Path, at: str, texts: Mapping[str, str], names: Sequence[str], target: Path) -> None:
    """Outputs and metrics of another commit, in a DVC workspace of its own; from the cache, or from the remote where there is one.

    Args:
        root: of the project.
        at: the commit.
        texts: its `papers`.
        names: outputs of its dvc.lock.
        target: a folder, made.

    Raises:
        FileNotFoundError: an output is neither in the cache nor in the remote.
    """
    for name, text in texts.items():
        workspace.write(target / name, text)
    workspace.share_cache(root, target, scm=False)
    verb = "pull" if configured(target) else "checkout"
    done = dvc(target, verb, "--force", *names)
    missing = [name for name in names if not (target / name).exists()]
    if done.returncode or missing:
        said = complaint(done) if done.stderr.strip() else f"{', '.join(missing)} missing"
        keys = "the store refuses the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, see `make doctor`"
        mend = keys if REFUSED.search(said) else "is the remote the one they were pushed to?"
        raise FileNotFoundError(f"models of commit {at[:12]}: dvc {verb}: {said}; {mend}")


def commit(place: Path, message: str) -> str:
    """Commit parameters, lock and metrics; the commit. Nothing new to commit is the commit that is there."""
    git(place, "add", "--force", *(name for name in RESULTS if (place / name).exists()))
    if git(place, "status", "--porcelain", "--untracked-files=no"):
        git(place, *AUTHOR, "commit", "--quiet", "--no-verify", "-m", message)
    return git(place, "rev-parse", "HEAD")


def push(place: Path, remote: str) -> None:
    """Push the worktree's branch; what an earlier try of the same retraining has pushed is replaced.

    Raises:
        ConnectionError: the remote does not take it.
    """
    try:
        git(place, "push", "--quiet", "--force", remote, "HEAD")
    except ValueError as error:
        raise ConnectionError(f"{error}; `push_to: {remote}` must be a Git remote that this user may push to without being asked") from None


def environment(place: Path) -> dict[str, str]:
    """For processes that run the worktree's own code."""
    return os.environ | {"PYTHONPATH": str(place)}
