"""The compose file as this project uses it: every key that is allowed, and the file itself."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from infra.compose import init
from infra.stack import keys as stack_keys

ROOT = Path(__file__).parents[2]


FOLDER = ROOT / "infra" / "compose"


TEXT = (FOLDER / "compose.yaml").read_text()


GIVEN = {"BOIG_DOMAIN": "example.org", "BOIG_EMAIL": "ops@example.org", "BOIG_TAG": "abc1234"}


class Strict(BaseModel):
    """A part of the compose specification, as far as the file uses it."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Mount(Strict):
    source: str
    target: str


class Condition(Strict):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Healthcheck(Strict):
    test: list[str]
    interval: str
    timeout: str
    retries: int
    start_period: str


class Logging(Strict):
    driver: Literal["json-file"]
    options: dict[Literal["max-size", "max-file"], str]


class Build(Strict):
    context: str
    dockerfile: str


class ComposeService(Strict):
    image: str
    restart: Literal["unless-stopped", "no"]
    user: str
    read_only: Literal[True]
    cap_drop: list[Literal["ALL"]]
    security_opt: list[Literal["no-new-privileges:true"]]
    pids_limit: int
    networks: list[Literal["inner", "outer"]]
    logging: Logging
    mem_limit: str
    healthcheck: Healthcheck | None = None
    build: Build | None = None
    pull_policy: Literal["never"] | None = None
    init: bool = False
    working_dir: str = ""
    entrypoint: list[str] = []
    command: list[str] = []
    environment: dict[str, str] = {}
    secrets: list[str | Mount] = []
    volumes: list[str] = []
    tmpfs: list[str] = []
    ports: list[str] = []
    cap_add: list[str] = []
    depends_on: dict[str, Condition] = {}
    shm_size: str = ""
    stop_grace_period: str = ""


class Secret(Strict):
    file: str


class Network(Strict):
    internal: bool = False


class Compose(Strict):
    name: str
    services: dict[str, ComposeService]
    networks: dict[str, Network]
    volumes: dict[str, dict]
    secrets: dict[str, Secret]


COMPOSE = Compose.model_validate({name: part for name, part in yaml.safe_load(TEXT).items() if not name.startswith("x-")})


SERVICES = COMPOSE.services


OURS = sorted(name for name, service in SERVICES.items() if service.image.startswith("boig:"))


def sources(service: ComposeService) -> set[str]:
    """Names of the secrets that a service sees."""
    return {mount if isinstance(mount, str) else mount.source for mount in service.secrets}


def read_env(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def keys_of(folder: Path) -> tuple:
    place = folder / "secrets"
    return stack_keys.ensure(place), init.Passwords.model_validate_json((place / "passwords.json").read_text())


def fresh() -> tuple[stack_keys.Keys, init.Passwords]:
    return stack_keys.made(), init._made()
