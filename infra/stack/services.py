"""What the stack is made of: per part its command, its environment, and the address that answers when it is well."""

import os
import shutil
import sys
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from infra import remote
from infra.stack import database, weed
from infra.stack.keys import Keys, write_private
from infra.stack.settings import HOST, Stack

REGION = "us-east-1"
QUIET = {"DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Keeps Ray, head and clients, from putting this machine's outer address in the loopback's place, as it does where clusters are allowed."""

SESSIONS = 3
"""Sessions of Ray whose logs are kept."""


@dataclass(frozen=True)
class Service:
    """One part of the stack."""

    name: str
    command: tuple[str, ...]
    health: str
    """Address that answers with 200 when the part is well."""
    env: dict[str, str] = field(default_factory=dict, repr=False)
    """Beside the environment of whoever starts the stack; holds secrets."""
    needs: tuple[str, ...] = ()
    """Parts that must be well before this one is started."""
    folder: Path | None = None
    """Where it runs; None: the project's root."""


def services(stack: Stack, keys: Keys) -> dict[str, Service]:
    """All parts by name, in the order of their start."""
    parts = (_s3(stack), _ray(stack, keys), _mlflow(stack, keys), _prefect(stack, keys), _worker(stack, keys))
    return {part.name: part for part in parts}


def environment(stack: Stack, keys: Keys) -> dict[str, str]:
    """What a client of the stack needs: `dvc repro`, `dvc push`, a notebook. With it the pipeline uses the stack, by nothing else."""
    user, secret = keys.s3["pipeline"]
    return {
        "AWS_ENDPOINT_URL": stack.url("s3"),
        "AWS_ACCESS_KEY_ID": user,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": REGION,
        "BOIG_S3_URL": f"s3://{stack.buckets.published}",
        "BOIG_DVC_URL": f"s3://{stack.buckets.data}",
        "DVC_SYSTEM_CONFIG_DIR": str(stack.folder / "dvc"),  # where `dvc push` finds the remote, unless a workspace names another
        "MLFLOW_TRACKING_URI": stack.url("mlflow"),
        "MLFLOW_TRACKING_USERNAME": keys.mlflow_user,
        "MLFLOW_TRACKING_PASSWORD": keys.mlflow_password,
        "PREFECT_API_URL": f"{stack.url('prefect')}/api",
        "PREFECT_API_AUTH_STRING": keys.prefect,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the least; a run that falls silent is known to be dead (infra/deploy.py)
        "BOIG_WORK_POOL": stack.work_pool,
        "RAY_ADDRESS": f"{HOST}:{stack.ports.ray}",
        **_ray_access(keys),
    }


def prepare(stack: Stack, keys: Keys) -> None:
    """The parts' own settings files, in the stack's folder; some hold secrets."""
    for name in ("logs", "logs/ray", "run", "weed", "mlflow", "prefect", "dvc"):
        (stack.folder / name).mkdir(mode=0o700, exist_ok=True)
    write_private(stack.folder / "weed" / "security.toml", weed.security(keys, stack.folder / "tls"))
    write_private(stack.folder / "weed" / "s3.json", weed.identities(keys, stack.buckets.model_dump()))
    write_private(stack.folder / "mlflow" / "auth.ini", mlflow_auth(database.users(stack)))
    remote.write(f"s3://{stack.buckets.data}", stack.folder / "dvc" / "config")
    clear_ray(stack)
    _link(ray_folder(stack), ray_logs(stack))
    exports = "".join(f"export {name}={value!r}\n" for name, value in environment(stack, keys).items())
    write_private(stack.folder / "env", exports)


def clear_ray(stack: Stack) -> None:
    """Of Ray's sessions, keep the newest ones' logs. No Ray of the stack may run."""
    link = ray_folder(stack)
    if link.is_symlink():
        link.unlink()
    else:  # a folder: of a version before
        shutil.rmtree(link, ignore_errors=True)
    sessions = sorted(ray_logs(stack).glob("session_2*"))
    for session in sessions[:-SESSIONS]:
        shutil.rmtree(session)
    for left in [path for session in sessions[-SESSIONS:] for path in session.iterdir() if path.name != "logs"]:
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()


def _link(link: Path, target: Path) -> None:
    """Make a link in a folder that others write to as well.

    Raises:
        FileExistsError: something else is there; says whose.
    """
    try:
        link.symlink_to(target)
    except FileExistsError:
        raise FileExistsError(f"{link} is there, of user {link.lstat().st_uid}; remove it: Ray's sockets are to be found by it") from None


def mlflow_auth(address: str) -> str:
    """MLflow's settings of who may do what: nothing that nobody has granted.

    Args:
        address: SQLAlchemy's, of the database of users.
    """
    return (
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = {address.replace('%', '%%')}\nauth_cache_ttl_seconds = 60\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )


def ray_folder(stack: Stack) -> Path:
    """Where Ray finds its sessions: a link, since a socket's path has at most 107 characters and the stack's folder may be deep."""
    return Path("/tmp") / f"boig-ray-{sha256(str(stack.folder).encode()).hexdigest()[:8]}"


def ray_logs(stack: Stack) -> Path:
    """Where Ray's sessions are in truth: `session_*/logs` stays when the stack is stopped."""
    return stack.logs / "ray"


def _s3(stack: Stack) -> Service:
    """Filer and master answer gRPC with a certificate of the stack alone (`-disableHttp`), volumes want signed tokens."""
    ports = stack.ports
    command = (
        *(*weed.program(), "server", f"-dir={stack.folder / 'weed'}", f"-ip={HOST}", f"-ip.bind={HOST}"),
        *(f"-master.port={ports.s3_master}", f"-volume.port={ports.s3_volume}", f"-filer.port={ports.s3_filer}", f"-s3.port={ports.s3}"),
        *(f"-s3.config={stack.folder / 'weed' / 's3.json'}", *weed.OPTIONS),
    )
    return Service("s3", command, f"{stack.url('s3')}/healthz", folder=stack.folder / "weed")  # it reads security.toml where it runs


def _ray(stack: Stack, keys: Keys) -> Service:
    ports = stack.ports
    first = ports.ray_inner
    inner = ("node-manager", "object-manager", "dashboard-agent-grpc", "dashboard-agent-listen", "runtime-env-agent", "metrics-export")
    command = (
        *(sys.executable, "-m", "infra.stack.head", "--disable-usage-stats", f"--node-ip-address={HOST}"),
        *(f"--port={ports.ray}", f"--ray-client-server-port={ports.ray_client}", f"--temp-dir={ray_folder(stack)}"),
        "--no-monitor",  # there is no node to add
        *(f"--include-dashboard={stack.ray.dashboard}", f"--dashboard-host={HOST}", f"--dashboard-port={ports.ray_dashboard}"),
        *(f"--{name}-port={first + number}" for number, name in enumerate(inner)),
        *(f"--min-worker-port={ports.workers.start}", f"--max-worker-port={ports.workers.stop - 1}"),
        *(f"--num-cpus={len(os.sched_getaffinity(0)) + 2}", f"--object-store-memory={stack.ray.object_store_mb * 2**20}"),
    )
    # What its workers compute is reported to MLflow, and published, as a client would. Idle workers end: Ray would keep one per CPU.
    env = environment(stack, keys) | QUIET | {"RAY_num_workers_soft_limit": "0"}
    return Service("ray", command, f"http://{HOST}:{first + inner.index('dashboard-agent-listen')}/api/local_raylet_healthz", env)


def _ray_access(keys: Keys) -> dict[str, str]:
    """The token itself, which Ray takes before that of any file."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": keys.ray, **LOOPBACK}


def _mlflow(stack: Stack, keys: Keys) -> Service:
    user, secret = keys.s3["mlflow"]
    runs = database.runs(stack)
    # What `mlflow server --app-name basic-auth --workers 1` starts, without the process that waits for it: 250 MB and half the start.
    command = (
        sys.executable,
        "-m",
        "uvicorn",
        f"--host={HOST}",
        f"--port={stack.ports.mlflow}",
        "--factory",
        "mlflow.server.auth:create_app",
    )
    env = {
        "_MLFLOW_SERVER_FILE_STORE": runs,
        "_MLFLOW_SERVER_REGISTRY_STORE": runs,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"s3://{stack.buckets.runs}/artifacts",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"localhost:{stack.ports.mlflow},{HOST}:{stack.ports.mlflow}",
        "MLFLOW_AUTH_CONFIG_PATH": str(stack.folder / "mlflow" / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": keys.mlflow_user,
        "MLFLOW_AUTH_ADMIN_PASSWORD": keys.mlflow_password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": keys.mlflow_session,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_S3_ENDPOINT_URL": stack.url("s3"),
        "AWS_ACCESS_KEY_ID": user,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": REGION,
        **QUIET,
    }
    return Service("mlflow", command, f"{stack.url('mlflow')}/health", env, needs=("s3",))


def _prefect(stack: Stack, keys: Keys) -> Service:
    command = (sys.executable, "-m", "prefect", "server", "start", f"--host={HOST}", f"--port={stack.ports.prefect}", "--analytics-off")
    env = {
        "PREFECT_HOME": str(stack.folder / "prefect"),
        "PREFECT_SERVER_API_AUTH_STRING": keys.prefect,
        "PREFECT_API_URL": f"{stack.url('prefect')}/api",
        "PREFECT_API_AUTH_STRING": keys.prefect,
        **QUIET,
    }
    return Service("prefect", command, f"{stack.url('prefect')}/api/health", env)


def _worker(stack: Stack, keys: Keys) -> Service:
    """A process worker: what it runs has the environment of a client of the stack."""
    command = (sys.executable, "-m", "prefect", "worker", "start", f"--pool={stack.work_pool}", "--type=process", "--name=local")
    env = environment(stack, keys) | {
        "PREFECT_HOME": str(stack.folder / "prefect-worker"),
        "PREFECT_WORKER_WEBSERVER_HOST": HOST,
        "PREFECT_WORKER_WEBSERVER_PORT": str(stack.ports.prefect_worker),
        **QUIET,
    }
    return Service("worker", (*command, "--with-healthcheck"), f"{stack.url('prefect_worker')}/health", env, needs=("prefect",))
