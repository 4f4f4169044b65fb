"""Prefect's server that does not answer, as a mistake that can be told in a line."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reaching_prefect() -> Iterator[None]:
    """Around what talks to Prefect's server.

    Raises:
        ConnectionError: the server does not answer, or refuses; one line with the mend.
    """
    import httpx
    from prefect.settings import PREFECT_API_URL

    try:
        yield
    except (httpx.HTTPError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "Failed to reach API" not in str(error):
            raise
        told = str(error).strip().partition("\n")[0] or type(error).__name__
        mend = "start the server, check PREFECT_API_AUTH_STRING, or unset PREFECT_API_URL for a server of this run's own"
        raise ConnectionError(f"PREFECT_API_URL={PREFECT_API_URL.value()}: Prefect does not answer ({told}); {mend}") from error
