"""Where MLflow's server keeps runs and users: the PostgreSQL that `DATABASE_URL` names, else SQLite in the stack's folder."""

import os
from typing import TYPE_CHECKING

from infra.stack.settings import Stack

if TYPE_CHECKING:  # imported where a database is named: what watches the stack lives as long as it, and has no use for them
    from sqlalchemy import URL

SETTING = "DATABASE_URL"
ANSWERS_S = 5


def runs(stack: Stack) -> str:
    """SQLAlchemy's address, with its password."""
    return _address() or f"sqlite:///{stack.folder / 'mlflow' / 'mlflow.db'}"


def users(stack: Stack) -> str:
    """The same for who may log in. In PostgreSQL both are in one database, each with a table of its own for its schema's version."""
    return _address() or f"sqlite:///{stack.folder / 'mlflow' / 'auth.db'}"


def shown(stack: Stack) -> str:
    """Where runs are, without a password."""
    from sqlalchemy import make_url

    return make_url(runs(stack)).render_as_string(hide_password=True)


def check() -> None:
    """Connect to the database, where one is named.

    Raises:
        ValueError: the name is none of a PostgreSQL database.
        ConnectionError: it does not answer, or does not let us in.
    """
    if not (url := _named()):
        return
    import psycopg2

    try:
        psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False), connect_timeout=ANSWERS_S).close()
    except psycopg2.OperationalError as error:
        told = str(error).strip().partition("\n")[0].removeprefix("connection to server at ")
        mend = f"start PostgreSQL and make the database, or unset {SETTING} for SQLite"
        raise ConnectionError(f"{SETTING}={url.render_as_string()}: {told}; {mend}") from None


def _address() -> str:
    url = _named()
    return url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False) if url else ""


def _named() -> "URL | None":
    mend = f"{SETTING} must look like postgresql://user:password@host/database"
    value = os.environ.get(SETTING)
    if not value:
        return None
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise ValueError(mend) from None  # the value may hold a password
    if url.drivername not in ("postgres", "postgresql", "postgresql+psycopg2") or not url.database:
        raise ValueError(f"{mend}, is {url.render_as_string()}")
    return url
