"""`python -m infra.compose.prepare`: what the servers must hold before anything can run: the buckets, and MLflow's user `pipeline`.

Safe to call again: what is there stays, and passwords become those of the secrets, which is how a rotation reaches MLflow.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

from boig.store import ensure_buckets
from infra.stack import settings

PIPELINE = "pipeline"
"""The MLflow user that runs report as: no admin. What it makes is its own; what others may see of that is granted (docs/production.md)."""


@dataclass(frozen=True)
class Users:
    """MLflow's users, as one of them sees them."""

    address: str
    """Of the server."""
    name: str
    password: str = field(repr=False)

    def let_in(self) -> bool:
        """Whether the server knows us by this password."""
        return self._ask("GET", f"get?username={self.name}") != 401

    def set_own_password(self, before: str) -> None:
        """Make the password ours, by the one before.

        Raises:
            ConnectionError: the server refuses.
        """
        body = {"username": self.name, "password": self.password, "current_password": before}
        if status := Users(self.address, self.name, before)._ask("PATCH", "update-password", body):
            raise ConnectionError(f"{self.address} refuses a new password for {self.name} ({status}); is the one before in passwords.json?")

    def ensure(self, name: str, password: str) -> None:
        """A user of this name and password.

        Raises:
            ConnectionError: the server refuses.
        """
        body = {"username": name, "password": password}
        known = self._ask("GET", f"get?username={name}") == 0
        status = self._ask("PATCH", "update-password", body) if known else self._ask("POST", "create", body)
        if status:
            raise ConnectionError(f"{self.address} refuses to make user {name} ({status}); see the log of mlflow")

    def _ask(self, method: str, path: str, body: dict | None = None) -> int:
        """0 where the server does as it is asked, else its HTTP status."""
        login = b64encode(f"{self.name}:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"{self.address}/api/2.0/mlflow/users/{path}",
            data=json.dumps(body).encode() if body else None,
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30):
                return 0
        except urllib.error.HTTPError as error:
            return error.code
        except (urllib.error.URLError, OSError) as error:
            raise ConnectionError(f"{self.address} does not answer: {error}") from None


def prepare(env: Mapping[str, str]) -> None:
    """Make what is missing.

    Args:
        env: addresses and keys of S3's and MLflow's admins, and the password that `pipeline` is to have.

    Raises:
        ConnectionError: a server does not answer or refuses.
    """
    buckets = settings.load(settings.DEFAULT).buckets.model_dump()
    ensure_buckets(env["AWS_ENDPOINT_URL"], env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], buckets.values())
    admin = Users(env["MLFLOW_TRACKING_URI"], env["MLFLOW_TRACKING_USERNAME"], env["MLFLOW_TRACKING_PASSWORD"])
    if not admin.let_in():
        admin.set_own_password(before=env.get("BOIG_PASSWORD_BEFORE", ""))
    admin.ensure(PIPELINE, env["BOIG_PIPELINE_PASSWORD"])
    print(f"prepare: buckets {', '.join(buckets.values())} and user {PIPELINE} are there")


if __name__ == "__main__":
    try:
        prepare(os.environ)
    except (ValueError, OSError) as error:
        sys.exit(f"prepare: {' '.join(str(error).split())}")
