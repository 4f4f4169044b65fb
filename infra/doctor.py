"""`make doctor`: what is installed, what runs, who may get in, what is full; a line per finding, and the mend where something is wrong.

Looks at the local stack where one runs here, else at whatever the environment names: the tracking server, the store and the Prefect
API that a run would use. Exit code 1 where something is broken. Secrets are neither read aloud nor printed.
"""

import http.client
import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import unquote

from boig.store import SETTING, check
from infra.stack import health, launch, ports, supervisor
from infra.stack import keys as secrets
from infra.stack.services import environment, services
from infra.stack.settings import Stack, load

ROOT = Path(__file__).parents[1]
LOW_DISK_GB = 5.0
CLOCK_S = 60.0
"""S3 refuses signatures that are a quarter of an hour off; a minute already mixes up runs."""
CLOCK_MEND = "set it (`timedatectl set-ntp true`): S3 refuses signatures"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor."""

    what: str
    told: str
    mend: str = ""
    """What to do; empty where nothing is wrong."""
    broken: bool = False
    """Whether a run would fail of it."""

    def __str__(self) -> str:
        mark = "✗" if self.broken else "!" if self.mend else "✓"
        return f"{mark} {self.what:<10} {self.told}" + (f" → {self.mend}" if self.mend else "")


def main() -> int:
    """Print all findings; the exit code."""
    worst = 0
    for finding in examine(Path.cwd(), dict(os.environ)):
        print(finding, flush=True)
        worst = max(worst, int(finding.broken))
    return worst


def examine(root: Path, env: dict[str, str]) -> Iterator[Finding]:
    """All findings, the quick ones first.

    Args:
        root: the project.
        env: whose services are looked at where no local stack runs.
    """
    yield from _versions(root)
    yield _disk("disk", root)
    yield _gpu()
    try:
        stack = load()
    except (ValueError, OSError) as error:
        yield Finding("stack", str(error), "mend infra/stack.yaml", broken=True)
        return
    if (stack.folder / secrets.FILE).is_file():
        try:
            keys = secrets.ensure(stack.folder)
        except (ValueError, OSError) as error:
            yield Finding("stack", str(error), "", broken=True)
            return
        yield from _parts(stack, keys)
        if supervisor.running(stack):
            env = env | environment(stack, keys)
    else:
        named = [name for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "RAY_ADDRESS") if env.get(name)]
        told = f"the environment has {', '.join(named)}" if named else "runs use SQLite and start their own Prefect and Ray"
        yield Finding("stack", f"none in {stack.folder}; {told}")
    yield from _clients(env)


def _versions(root: Path) -> Iterator[Finding]:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
    ).stdout.strip()
    yield Finding(
        "project", f"commit {commit or 'unknown'}, Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (root / "requirements.lock").read_text(), flags=re.MULTILINE))
    other = {}
    for name, wanted in locked.items():
        try:
            if version(name).partition("+")[0] != wanted:
                other[name] = f"{name} {version(name)} instead of {wanted}"
        except PackageNotFoundError:
            other[name] = f"{name} is missing"
    told = ", ".join(f"{name} {version(name)}" for name in ("prefect", "dvc", "ray", "mlflow", "torch") if name not in other)
    if other:
        yield Finding(
            "packages", "; ".join(list(other.values())[:3]) + (f" and {len(other) - 3} more" if len(other) > 3 else ""), "make setup"
        )
    else:
        yield Finding("packages", f"{len(locked)} as locked: {told}")


def _disk(what: str, folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 1e9
    low = free < LOW_DISK_GB
    return Finding(
        what,
        f"{free:.0f} GB free at {folder}",
        "`dvc gc --workspace --all-branches` frees outputs that no branch names; `make clean` scratch" if low else "",
        broken=free < 1,
    )


def _gpu() -> Finding:
    if not shutil.which("nvidia-smi"):
        return Finding("gpu", "none: training runs on the CPU")
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    if done.returncode:
        return Finding("gpu", f"nvidia-smi fails: {(done.stderr or done.stdout).strip()[:120]}", "install the driver that fits the kernel")
    return Finding("gpu", "; ".join(done.stdout.strip().splitlines()))


def _parts(stack: Stack, keys: secrets.Keys) -> Iterator[Finding]:
    if not supervisor.running(stack):
        own = [process.pid for name in services(stack, keys) for process in launch.processes(stack, name)]  # `make stack` ends those
        if taken := ports.taken(stack, own):
            yield Finding("stack", f"is down, and ports are taken: {taken}", f"{ports.MEND}; then `make stack`")
        else:
            yield Finding("stack", f"is down; its data are in {stack.folder}", "make stack")
        return
    states = supervisor.states(stack)
    for name, part in services(stack, keys).items():
        state = states.get(name, {})
        log = stack.logs / f"{name}.log"
        if state.get("statename") != "RUNNING":
            yield Finding(name, f"is {state.get('statename', 'missing').lower()}", f"see {log}", broken=True)
        elif not health.answers(part.health):
            yield Finding(name, f"runs but does not answer at {part.health}", f"wait a little, then see {log}", broken=True)
        else:
            yield Finding(name, state.get("description", "runs"))


def _clients(env: dict[str, str]) -> Iterator[Finding]:
    """What the environment names answers, lets us in, and nobody else."""
    if uri := env.get("MLFLOW_TRACKING_URI", ""):
        yield _door("mlflow", "MLFLOW_TRACKING", uri, "/api/2.0/mlflow/experiments/search?max_results=1", _mlflow_login(env))
    if api := env.get("PREFECT_API_URL", ""):
        yield _door("prefect", "PREFECT_API", api, "/admin/version", _basic(env.get("PREFECT_API_AUTH_STRING", "")))
    if env.get("RAY_ADDRESS"):
        yield _ray(env)
    if env.get("BOIG_S3_URL") or env.get("BOIG_DVC_URL"):
        yield from _stores(env)


def _door(what: str, setting: str, address: str, path: str, login: dict[str, str]) -> Finding:
    """Whether a server lets us in, and refuses whoever has no key."""
    if not address.startswith(("http://", "https://")):
        return Finding(what, f"no server: {address.partition('://')[0]}")
    address, login = _split(address, login)
    ours, strangers = _status(address + path, login), _status(address + path, {})
    if ours == 0:
        return Finding(what, f"{address} does not answer", f"start it, or unset {setting}_*", broken=True)
    if ours in (401, 403):
        return Finding(what, f"{address} refuses our key ({ours})", f"`. .stack/env`, or set {setting}_* anew", broken=True)
    if ours != 200:
        return Finding(what, f"{address} answers {ours}", "look at its log", broken=True)
    if login and strangers == 200:
        return Finding(what, f"{address} lets anybody in", "switch its authentication on")
    return Finding(what, f"{address} lets us in" + (", and nobody without a key" if strangers in (401, 403) else ""))


def _split(address: str, login: dict[str, str]) -> tuple[str, dict[str, str]]:
    """An address that can be shown and asked, and its own login where no other is given."""
    scheme, _, rest = address.partition("://")
    own, at, place = rest.rpartition("@")
    return (f"{scheme}://{place}", login or _basic(unquote(own))) if at else (address, login)


def _ray(env: dict[str, str]) -> Finding:
    """Whether a cluster can be used from here with our token, and not without."""
    address = env["RAY_ADDRESS"]
    strangers = {name: value for name, value in env.items() if not name.startswith("RAY_AUTH_")} | {"RAY_AUTH_MODE": "disabled"}
    if refused := _looked(env):
        told, _, mend = refused.removeprefix(f"RAY_ADDRESS={address}: ").partition("; ")
        return Finding("ray", f"{address}: {told}", mend, broken=True)
    if not _looked(strangers):
        return Finding("ray", f"{address} lets anybody in", "start it with RAY_AUTH_MODE=token")
    return Finding("ray", f"{address} lets us in, and nobody without a key")


def _looked(env: dict[str, str]) -> str:
    """Why a cluster cannot be used; empty where it can. A process of its own: Ray reads its token once in one."""
    done = subprocess.run([sys.executable, "-m", "boig.gcs"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return (done.stderr.strip() or "cannot be asked").splitlines()[-1] if done.returncode else ""


def _stores(env: dict[str, str]) -> Iterator[Finding]:
    """The clock of whoever has the buckets, and each bucket that the environment names."""
    address = env.get("AWS_ENDPOINT_URL") or f"https://s3.{env.get('AWS_DEFAULT_REGION', 'us-east-1')}.amazonaws.com"
    if (drift := _clock_drift(address)) is not None and abs(drift) > CLOCK_S:
        yield Finding("clock", f"is {drift:+.0f} s off {address}'s", CLOCK_MEND, broken=abs(drift) > 900)
    for name in ("BOIG_S3_URL", "BOIG_DVC_URL"):
        if env.get(name):
            yield _bucket(name, env[name], address, env)


def _bucket(name: str, url: str, address: str, env: dict[str, str]) -> Finding:
    """Whether our keys may list a bucket, and a stranger may not."""
    try:
        check(url, env)
    except ValueError:
        return Finding("s3", f"{name}={url!r}", "must look like s3://bucket/prefix", broken=True)
    except ConnectionError as error:
        told, _, mend = str(error).rpartition("; ")
        return Finding("s3", f"{name}: {told}", mend.replace(SETTING, name), broken=True)
    bucket = url.removeprefix("s3://").partition("/")[0]
    strangers = _status(f"{address}/{bucket}?list-type=2&max-keys=1", {})
    if strangers == 200:
        return Finding("s3", f"{url} at {address} can be listed by anybody", "give it keys, and its buckets no public policy")
    return Finding("s3", f"{url} at {address} can be listed" + (", and not without a key" if strangers in (401, 403) else ""))


def _clock_drift(endpoint: str) -> float | None:
    """Seconds by which this clock is ahead of the server's, or None where the server does not say."""
    try:
        answer = urllib.request.urlopen(endpoint, timeout=5)
    except urllib.error.HTTPError as error:
        answer = error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return None
    with answer:
        told = answer.headers.get("Date")
    return (datetime.now(UTC) - parsedate_to_datetime(told)).total_seconds() if told else None


def _mlflow_login(env: dict[str, str]) -> dict[str, str]:
    user, password = env.get("MLFLOW_TRACKING_USERNAME", ""), env.get("MLFLOW_TRACKING_PASSWORD", "")
    return _basic(f"{user}:{password}") if user else {}


def _basic(pair: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"} if pair else {}


def _status(address: str, headers: dict[str, str]) -> int:
    """HTTP status of a GET; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
