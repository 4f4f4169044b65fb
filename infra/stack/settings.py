"""infra/stack.yaml as types: where the stack keeps its files, and which ports of the loopback its parts listen on."""

import os
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError, model_validator

from boig.section import Count, Section

SETTING = "BOIG_STACK"
"""Environment variable: another settings file."""
DEFAULT = Path(__file__).parents[1] / "stack.yaml"
HOST = "127.0.0.1"
"""Nothing of the local stack is for other machines."""
TWIN = 10_000
"""SeaweedFS opens a gRPC port this far above each of its HTTP ports."""
INNER = 8
"""Ray's own fixed ports, from `ray_inner` on; its workers take the ones above."""
WORKERS = 201
"""How many those are."""

Port = Annotated[int, Field(ge=1024, le=55_000)]


class Ports(Section):
    """TCP ports on the loopback."""

    s3: Port
    """The S3 API."""
    s3_filer: Port
    """SeaweedFS inside: names of objects. Its gRPC wants a certificate of the stack."""
    s3_master: Port
    """SeaweedFS inside: where volumes are."""
    s3_volume: Port
    """SeaweedFS inside: bytes. Every request wants a signed token."""
    mlflow: Port
    prefect: Port
    prefect_worker: Port
    """Whether the worker still asks for work, and nothing else."""
    ray: Port
    """Ray's GCS: what `RAY_ADDRESS` names."""
    ray_dashboard: Port
    ray_client: Port
    """For `ray://` clients, which stages are not; but a head always has it."""
    ray_inner: Port
    """First of eight fixed ports of Ray's daemons; its workers take those above."""

    def all(self) -> dict[str, int]:
        """Every port that a part binds at its start, by name; Ray's workers bind more as they come."""
        taken = self.model_dump()
        inner = taken.pop("ray_inner")
        twins = {f"{name}_grpc": port + TWIN for name, port in taken.items() if name.startswith("s3")}
        return taken | twins | {f"ray_inner_{number}": inner + number for number in range(INNER)}

    @model_validator(mode="after")
    def _distinct(self) -> "Ports":
        ports = list(self.all().values())
        twice = sorted({port for port in ports if ports.count(port) > 1})
        if twice:
            raise ValueError(f"port {twice[0]} is given twice; SeaweedFS also takes its ports + {TWIN}, and Ray {INNER} from ray_inner on")
        among = [name for name, port in self.all().items() if port in self.workers]
        if among:
            first, last = self.workers.start, self.workers.stop - 1
            raise ValueError(f"{among[0]} is among the ports of Ray's workers, {first} to {last}; move it, or ray_inner")
        return self

    @property
    def workers(self) -> range:
        """Those that Ray's workers may take."""
        return range(self.ray_inner + INNER, self.ray_inner + INNER + WORKERS)


class Buckets(Section):
    """Names of buckets."""

    data: str
    """For DVC (`BOIG_DVC_URL`)."""
    runs: str
    """MLflow's artifacts."""
    published: str
    """What runs publish (`BOIG_S3_URL`)."""


class RayHead(Section):
    """The Ray head."""

    object_store_mb: Count
    """Shared memory for objects, MiB."""
    dashboard: bool
    """Ray's pages, `ray job` and `ray list`: a dozen processes, of which nothing here makes use."""


class Stack(Section):
    """The local stack."""

    folder: Path
    """Data, logs, keys; relative to the working folder."""
    buckets: Buckets
    ports: Ports
    ray: RayHead
    work_pool: str
    """Prefect's work pool, served by the worker."""

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def url(self, port: str) -> str:
        """Address of a part by the name of its port."""
        return f"http://{HOST}:{getattr(self.ports, port)}"


def load(path: Path | None = None) -> Stack:
    """Read the settings: of `path`, else of the file that `BOIG_STACK` names, else the default.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a key is unknown, missing or out of its range; one line.
    """
    path = path or Path(os.environ.get(SETTING, DEFAULT))
    if not path.is_file():
        raise FileNotFoundError(f"{SETTING}={path} does not exist; unset it for {DEFAULT.name}")
    try:
        stack = Stack.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(map(str, detail["loc"]))
        raise ValueError(f"{path}: {where}: {detail['msg'].removeprefix('Value error, ')}, is {str(detail['input'])[:60]}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    return stack.model_copy(update={"folder": stack.folder.resolve()})
