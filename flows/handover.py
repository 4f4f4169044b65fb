"""Files of a stage between nodes that share no file system, by S3.

Workers on Ray read and write the driver's files by paths relative to the workspace. Nodes that mount it need nothing of this. With
`BOIG_HANDOVER=s3` a worker that does not see the workspace has a folder of its own, and driver and workers follow one log under
`BOIG_S3_URL`: each entry says in which object the content of changed files is, and is written once, under the next number
(`If-None-Match`). So a change, say of a checkpoint, is seen whole or not at all, and who writes has read what others wrote before.
"""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from boig import owner

if TYPE_CHECKING:
    from boig.store import Store

SETTING = "BOIG_HANDOVER"
"""`files`: all nodes mount the workspace. `s3`: some do not."""
PUSH_S = 30.0
"""Between two looks for what a training on a node of its own has written: a checkpoint is lost with the node for as long."""
SETTLE_S = 60.0
"""Within which files stop changing once their writer has ended."""

Stamp = tuple[int, int, int]
"""Inode, bytes and time of change: a file that was written to has another one."""
UNKNOWN: Stamp = (0, 0, 0)


@dataclass
class Handover:
    """One end of a stage's log. Picklable: on another node it begins with nothing."""

    url: str
    """Of the log and its objects."""
    root: Path
    """The workspace."""
    inputs: tuple[str, ...]
    """Files and folders in it that the stage reads; they go from the driver to workers."""
    progress: str
    """The folder in it that both write in."""
    mark: str
    """A file of the workspace, by which a node that mounts it is known."""
    away: bool = field(default=False, compare=False)
    """Whether `root` is a folder of this process, not the workspace."""
    _seen: int = field(default=0, repr=False, compare=False)
    _known: dict[str, Stamp] = field(default_factory=dict, repr=False, compare=False)
    _turn: AbstractContextManager = field(default_factory=threading.RLock, repr=False, compare=False)  # threads share what is known

    def __getstate__(self) -> dict:
        return {"url": self.url, "root": self.root, "inputs": self.inputs, "progress": self.progress, "mark": self.mark}

    def __setstate__(self, state: dict) -> None:
        type(self).__init__(self, **state)

    def arrive(self) -> Path:
        """The workspace; where this node does not mount it, a folder with all that was handed over.

        Raises:
            ConnectionError: the store does not answer, or has something else than what was handed over.
        """
        with suppress(OSError):
            if (self.root / self.mark).read_text() == self.url:
                return self.root
        self.root, self.away = _own_folder(), True
        self.pull()
        return self.root

    def pull(self, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Take up what others have written since the last look, as far as it is wanted.

        Raises:
            ConnectionError: the store does not answer, or has something else than what was handed over.
            ValueError: the log names a file outside of the workspace.
        """
        with self._turn:
            changes, log, seen = dict[str, str | None](), _store(f"{self.url}/log"), self._seen
            for key in sorted(entry.key for entry in log.entries()):
                if (number := int(Path(key).stem)) > self._seen:
                    with tempfile.TemporaryDirectory() as place:
                        log.fetch(key, Path(place, "entry"))
                        changes |= json.loads(Path(place, "entry").read_text())
                    seen = number
            for name, thing in changes.items():
                if wanted(name):
                    self._take(name, thing)
                else:
                    self._known[name] = UNKNOWN
            self._seen = seen  # not before: what fails half-way is taken up again

    def push(self, *, settled: bool = True) -> None:
        """Hand over what has changed here since the last look.

        Args:
            settled: nobody writes here any more. Else what changes while it is looked at is left for the next time.

        Raises:
            ConnectionError: the store does not answer.
            RuntimeError: files change on and on.
        """
        end = time.monotonic() + SETTLE_S
        while True:
            with self._turn:
                if self._push() or not settled:
                    return
            if time.monotonic() > end:
                raise RuntimeError(f"files under {self.root} still change a minute after their writer has ended")
            time.sleep(0.2)

    def _push(self) -> bool:
        """Whether all was handed over."""
        now = self._stamps()
        files: dict[str, str | None] = dict.fromkeys(name for name in self._known if name not in now and self._ours(name))
        try:
            files |= {name: self._send(name) for name, stamp in now.items() if self._known.get(name) != stamp}
        except FileNotFoundError:
            return False
        if not files:
            return True
        if self._stamps() != now:
            return False
        log = _store(f"{self.url}/log")
        while not log.put_once(f"{self._seen + 1:09d}.json", files):  # another was first: its change comes before ours
            self.pull(lambda name: name not in files)
        self._seen += 1
        for name, thing in files.items():
            if thing is None:
                self._known.pop(name, None)
            else:
                self._known[name] = now[name]
        return True

    def _send(self, name: str) -> str:
        """Name of the object: the hash of its content, and something of its own, since the file may change on the way."""
        thing = f"{_digest(self.root / name)}-{secrets.token_hex(4)}"
        store = _store(f"{self.url}/objects")
        store.send(self.root / name, store.key(thing))
        return thing

    def _take(self, name: str, thing: str | None) -> None:
        path = self.root / name
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ValueError(f"the log {self.url} names {name!r}, which would be outside of {self.root}; remove it from the bucket")
        if thing is None:
            path.unlink(missing_ok=True)
            self._known.pop(name, None)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        store = _store(f"{self.url}/objects")
        try:
            store.fetch(store.key(thing), draft)
            if _digest(draft) != thing.partition("-")[0]:
                raise ConnectionError(f"{self.url}: {name} has other content than was handed over; remove that address, and start anew")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        self._known[name] = _stamp(path)

    def _stamps(self) -> dict[str, Stamp]:
        """Of all files that this end may hand over."""
        found: dict[str, Stamp] = {}
        for top in (self.root / name for name in self._scope()):
            folders = os.walk(top) if top.is_dir() else [(str(top.parent), [], [top.name])]
            for path in (Path(folder, name) for folder, _, names in folders for name in names):
                with suppress(FileNotFoundError):
                    found[path.relative_to(self.root).as_posix()] = _stamp(path)
        return found

    def _scope(self) -> tuple[str, ...]:
        return (self.progress,) if self.away else (*self.inputs, self.progress)

    def _ours(self, name: str) -> bool:
        return any(name == top or name.startswith(f"{top}/") for top in self._scope())


_current: Handover | None = None


def current() -> Handover | None:
    """Of the stage that this process runs; None where nodes mount the workspace."""
    return _current


def collect() -> None:
    """Have in the workspace what workers have written.

    Raises:
        ConnectionError: the store does not answer.
    """
    if _current:
        _current.pull()


@contextmanager
def stage(name: str, read_by: Callable[[], list[str]]) -> Iterator[None]:
    """While the body runs, what the stage reads and `scratch/<name>` are handed over. A run that was cut off has what its workers wrote.

    Args:
        name: the stage.
        read_by: tells the files and folders that it reads, relative to the workspace.

    Raises:
        ValueError: `BOIG_HANDOVER` is something else, there is no `BOIG_S3_URL`, or an input is outside of the workspace.
        ConnectionError: the store does not answer.
    """
    global _current
    place = _place()
    if not place:
        yield
        return
    mark, progress, inputs = Path("scratch") / f"{name}.handover", f"scratch/{name}", read_by()
    if outside := [path for path in inputs if path.startswith(("/", ".."))]:
        raise ValueError(f"{SETTING}=s3: {outside[0]} is outside of the workspace, where nodes of their own cannot get it; put it inside")
    if not mark.is_file():
        mark.write_text(f"{place}/handover/{time.strftime('%Y%m%d')}-{secrets.token_hex(8)}/{name}")
    _current = Handover(mark.read_text(), Path.cwd(), tuple(inputs), progress, mark.as_posix())
    try:
        _current.pull(lambda path: path.startswith(f"{progress}/"))
        yield
    finally:
        _current = None
    mark.unlink()


def _place() -> str:
    """Of the store, where files are to be handed over; else empty."""
    value = os.environ.get(SETTING) or "files"
    if value == "files":
        return ""
    if value != "s3":
        raise ValueError(f"{SETTING}={value!r} must be files or s3")
    from boig.store import SETTING as STORE

    if not os.environ.get(STORE):
        raise ValueError(f"{SETTING}=s3 needs {STORE}, s3://bucket/prefix; set it, or mount the workspace on every node")
    return os.environ[STORE].rstrip("/")


@contextmanager
def pushing(handover: Handover | None) -> Iterator[None]:
    """While the body runs on a node of its own, hand over what it writes, every `PUSH_S` and at its end."""
    if handover is None or not handover.away:
        yield
        return
    ended = threading.Event()

    def push() -> None:
        while not ended.wait(PUSH_S):
            with suppress(ConnectionError):  # the next look comes; the last one, below, tells
                handover.push(settled=False)

    thread = threading.Thread(target=push, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        handover.push()


@lru_cache
def _store(url: str) -> "Store":
    from boig.store import Store  # boto3 takes a while to import, here and in each worker: not where nobody asks for it

    return Store.from_url(url)


def _own_folder() -> Path:
    """A folder for this process; those of processes that have ended go."""
    place = Path(tempfile.gettempdir()) / f"boig-handover-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    for other in place.iterdir():
        if owner.gone(other.name.replace("~", "/")):
            shutil.rmtree(other, ignore_errors=True)
    folder = place / owner.me().replace("/", "~")
    folder.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(dir=folder))


def _stamp(path: Path) -> Stamp:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
