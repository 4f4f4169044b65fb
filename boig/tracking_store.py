"""The store that `MLFLOW_TRACKING_URI` names, a server or SQLite, and what is said where it does not answer."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
from mlflow.exceptions import MlflowException

EXPERIMENT = "boig"
LOCAL_URI = "sqlite:///mlflow.db"
TRAININGS = {"mlflow.experimentKind": "custom_model_development"}
"""Has MLflow show pages for trainings, not those for chats."""
_tls = lru_cache(httpx.create_ssl_context)  # once a process: reading the authorities takes longer than asking a server


def uri() -> str:
    """Where runs go: `MLFLOW_TRACKING_URI`, else SQLite in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or LOCAL_URI


def connect(tracking_uri: str) -> str:
    """Check that the store answers, make the experiment where it is missing; the experiment's id.

    Raises:
        ConnectionError: it does not answer; one line with the mend.
    """
    mend = "start the server, or unset MLFLOW_TRACKING_URI for SQLite in this folder"
    if tracking_uri.startswith(("http://", "https://")):
        try:
            httpx.get(tracking_uri.rstrip("/") + "/health", timeout=10, follow_redirects=True, verify=_tls()).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            told = f"MLFLOW_TRACKING_URI={shown(tracking_uri)} does not answer ({without_login(_first_line(error), tracking_uri)}); {mend}"
            raise ConnectionError(told) from None
    try:
        store = client_of(tracking_uri)
        experiment = store.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return experiment.experiment_id
        local = tracking_uri.startswith("sqlite:///")
        location = (Path(tracking_uri.removeprefix("sqlite:///")).resolve().parent / "mlruns").as_uri() if local else None
        return store.create_experiment(EXPERIMENT, artifact_location=location, tags=TRAININGS)
    except MlflowException as error:
        told = f"MLFLOW_TRACKING_URI={shown(tracking_uri)} is no MLflow store ({without_login(str(error), tracking_uri)}); {mend}"
        raise ConnectionError(told) from None


@contextmanager
def answering(tracking_uri: str | None = None) -> Iterator[None]:
    """Around whatever asks the store; by default the one that `uri` names.

    Raises:
        ConnectionError: MLflow has refused, or has not answered for as long as its client tries; one line.
    """
    try:
        yield
    except MlflowException as error:
        asked = tracking_uri or uri()
        connect(asked)  # says in a line where nothing answers; the error below would tell of a library's objects
        told = without_login(" ".join(str(error).split()), asked)
        raise ConnectionError(f"MLflow does not do what is asked: {told[:300]}; see `make doctor`, then run this again") from None


@lru_cache
def client_of(tracking_uri: str) -> MlflowClient:
    """MLflow's client of a store, one per process."""
    hush()
    return MlflowClient(tracking_uri)


def hush() -> None:
    """MLflow says two lines at the end of a run, before it tells the server: where nobody reads them any more, it never would."""
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)
    for name in ("mlflow", "alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)


def shown(tracking_uri: str) -> str:
    """The URI without a user name and a password."""
    scheme, _, rest = tracking_uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def without_login(text: str, tracking_uri: str) -> str:
    """A message of somebody else's, without what the URI has of user name and password."""
    if not (login := urlsplit(tracking_uri).netloc.rpartition("@")[0]):
        return text
    password = login.partition(":")[2]
    for secret in filter(None, (f"{login}@", unquote(password), password)):
        text = text.replace(secret, "")
    return text
