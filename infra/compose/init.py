"""`python -m infra.compose.init --domain example.org --email ops@example.org --tag <commit>`: `.env` and `secrets/` beside compose.yaml.

Safe to call again: keys stay as they are, settings that were changed in `.env` stay too, and what a newer version of the project wants
besides is added. `--rotate <name>` replaces keys by new ones. Nothing secret is printed.
"""

import os
import re
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict

from infra.compose.backup import DATABASES
from infra.stack import keys as stack_keys
from infra.stack import settings, weed
from infra.stack.keys import Keys, write_private
from infra.stack.services import mlflow_auth

FOLDER = Path(__file__).parent
MOUNTED = Path("/run/secrets")
"""Where a container sees its secrets."""
SHAPES = {
    "BOIG_DOMAIN": (r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}", "--domain example.org"),
    "BOIG_EMAIL": (r"[^@\s]+@[^@\s]+\.[^@\s]+", "--email ops@example.org"),
    "BOIG_TAG": (r"(?!latest$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", "--tag $(git rev-parse --short HEAD)"),
}
"""Settings that have no default: what they look like, and the option that gives them."""
DEFAULTS = {
    "BOIG_UID": str(os.getuid()),
    "BOIG_GID": str(os.getgid()),
    "BOIG_MLFLOW_URL": "http://mlflow:5000",
    "BOIG_S3_ENDPOINT": "http://s3:8333",
    "BOIG_WORKER_MEMORY": "8g",
}


class Passwords(BaseModel):
    """What this stack has beside the keys of the local one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    postgres: str
    """Of PostgreSQL's superuser; nothing uses it over the network."""
    mlflow_db: str
    prefect_db: str
    pipeline: str
    """Of the MLflow user that runs report as."""
    mlflow_before: str = ""
    """The MLflow admin's password before it was rotated: `prepare` needs it once, to set the new one."""

    def __repr__(self) -> str:
        return "Passwords(…)"


def main(
    domain: Annotated[str, typer.Option(help="mlflow., prefect. and s3. of it lead to this server")] = "",
    email: Annotated[str, typer.Option(help="whom the certificate authority writes to")] = "",
    tag: Annotated[str, typer.Option(help="of the image boig")] = "",
    rotate: Annotated[list[str] | None, typer.Option(help="name of a key to replace; may be given again")] = None,
) -> None:
    """Write what is missing."""
    ensure(FOLDER, {"BOIG_DOMAIN": domain, "BOIG_EMAIL": email, "BOIG_TAG": tag}, rotate or [])
    print(f"init: {FOLDER / '.env'} and {FOLDER / 'secrets'} are there, for uid {os.getuid()} alone")


def ensure(folder: Path, given: dict[str, str], rotate: list[str] | None = None) -> None:
    """Write `.env` and `secrets/` in the folder, or add what they lack.

    Args:
        folder: of compose.yaml.
        given: settings by name; an empty one is left as it is.
        rotate: names of keys to replace.

    Raises:
        ValueError: a setting is missing or misshapen, a key has no such name, or a file is damaged.
        PermissionError: somebody else could read the keys.
    """
    env = _settings(folder / ".env", given)
    place = folder / "secrets"
    keys, passwords = _rotated(place, stack_keys.ensure(place), _passwords(place), rotate or [])
    for name, text in files(keys, passwords).items():
        write_private(place / name, text)
    write_private(folder / ".env", "".join(f"{name}={value}\n" for name, value in env.items()))
    if (folder / "Caddyfile").is_file():
        (folder / "Caddyfile").chmod(0o644)  # no secret, and the proxy may run as another user than who checked it out


def files(keys: Keys, passwords: Passwords) -> dict[str, str]:
    """The secret files that compose mounts, by name; certificates are `infra.stack.keys`'s."""
    buckets = settings.load(settings.DEFAULT).buckets.model_dump()
    s3 = {name: {"AWS_ACCESS_KEY_ID": user, "AWS_SECRET_ACCESS_KEY": secret} for name, (user, secret) in keys.s3.items()}
    environments = {
        "mlflow": {
            **s3["mlflow"],
            "MLFLOW_AUTH_ADMIN_USERNAME": keys.mlflow_user,
            "MLFLOW_AUTH_ADMIN_PASSWORD": keys.mlflow_password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": keys.mlflow_session,
            "PGPASSWORD": passwords.mlflow_db,
        },
        "prefect": {
            "PREFECT_SERVER_API_AUTH_STRING": keys.prefect,
            "PREFECT_API_AUTH_STRING": keys.prefect,
            "PGPASSWORD": passwords.prefect_db,
        },
        "prepare": {
            **s3["admin"],
            "MLFLOW_TRACKING_USERNAME": keys.mlflow_user,
            "MLFLOW_TRACKING_PASSWORD": keys.mlflow_password,
            "BOIG_PASSWORD_BEFORE": passwords.mlflow_before,
            "BOIG_PIPELINE_PASSWORD": passwords.pipeline,
        },
        "worker": {
            **s3["pipeline"],
            "MLFLOW_TRACKING_USERNAME": "pipeline",
            "MLFLOW_TRACKING_PASSWORD": passwords.pipeline,
            "PREFECT_API_AUTH_STRING": keys.prefect,
            "RAY_AUTH_TOKEN": keys.ray,
        },
    }
    return {name: "".join(f"{key}={value}\n" for key, value in values.items()) for name, values in environments.items()} | {
        "postgres": passwords.postgres,
        "roles.sql": _roles(passwords),
        "security.toml": weed.security(keys, MOUNTED),
        "s3.json": weed.identities(keys, buckets),
        "auth.ini": mlflow_auth("postgresql+psycopg2://mlflow@postgres/mlflow_auth"),
    }


def _settings(path: Path, given: dict[str, str]) -> dict[str, str]:
    """The settings of `.env`: defaults, over them what the file has, over that what is given."""
    present = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line) if path.is_file() else {}
    env = DEFAULTS | present | {name: value for name, value in given.items() if value}
    for name, (shape, option) in SHAPES.items():
        if not re.fullmatch(shape, env.get(name, "")):
            raise ValueError(f"{name}={env.get(name, '')!r} is none; give {option}")
    return env


def _passwords(place: Path) -> Passwords:
    path = place / "passwords.json"
    if not path.is_file():
        write_private(path, _made().model_dump_json(indent=1))
    try:
        return Passwords.model_validate_json(path.read_text())
    except ValueError:
        raise ValueError(f"{path} is damaged; restore it from where its copy is kept") from None


def _made() -> Passwords:
    return Passwords(**{name: secrets.token_urlsafe(24) for name in ("postgres", "mlflow_db", "prefect_db", "pipeline")})


def _rotated(place: Path, keys: Keys, passwords: Passwords, names: list[str]) -> tuple[Keys, Passwords]:
    """Keys and passwords with those of these names new, written."""
    rotatable = {*type(keys).model_fields, *type(passwords).model_fields} - {"mlflow_user", "mlflow_before"}
    if unknown := sorted(set(names) - rotatable):
        raise ValueError(f"--rotate {unknown[0]}: no such key; there are {', '.join(sorted(rotatable))}")
    if "mlflow_password" in names:
        passwords = passwords.model_copy(update={"mlflow_before": keys.mlflow_password})
    new_keys, new_passwords = stack_keys.made(), _made()
    keys = keys.model_copy(update={name: getattr(new_keys, name) for name in names if name in type(keys).model_fields})
    passwords = passwords.model_copy(update={name: getattr(new_passwords, name) for name in names if name in type(passwords).model_fields})
    if names:
        write_private(place / "passwords.json", passwords.model_dump_json(indent=1))
        write_private(place / stack_keys.FILE, keys.model_dump_json(indent=1))
    return keys, passwords


def _roles(passwords: Passwords) -> str:
    """SQL for psql: roles and databases that are missing, and everybody's password. Run at the first start, and again after a rotation."""
    owners = {"mlflow": passwords.mlflow_db, "prefect": passwords.prefect_db}
    roles = "".join(
        f"SELECT 'CREATE ROLE {name} LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}')\\gexec\n"
        f"ALTER ROLE {name} PASSWORD '{password}';\n"
        for name, password in owners.items()
    )
    databases = "".join(
        f"SELECT 'CREATE DATABASE {name} OWNER {owner}' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}')\\gexec\n"
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC;\n"
        for name, owner in DATABASES.items()
    )
    return f"{roles}ALTER ROLE postgres PASSWORD '{passwords.postgres}';\n{databases}"


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.exit(f"init: {' '.join(str(error).split())}")
