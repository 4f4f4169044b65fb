"""What flows need of Prefect beside its own: heartbeats that nobody waits for, and a mistake told in a line where its server is away."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect import Flow

BEAT = "prefect.flow-run.heartbeat"
"""Name of the event."""


def beating(flow: "Flow", every_s: float) -> "Flow":
    """The same flow, sending heartbeats by itself; Prefect's own are to be switched off.

    Prefect's thread for them sleeps in whole seconds, and a flow waits for it at its end: half a second a stage. Here the last one is sent
    before the flow has a result: one after it would tell the server that a run that has ended lives, and then has fallen silent.
    """
    from prefect import Flow, runtime
    from prefect.events import emit_event

    def beat(run_id: str, ended: threading.Event) -> None:
        while True:
            emit_event(BEAT, resource={"prefect.resource.id": f"prefect.flow-run.{run_id}"})
            if ended.wait(every_s):
                return

    @functools.wraps(flow.fn)
    def body(*args: Any) -> Any:
        ended = threading.Event()
        thread = threading.Thread(target=copy_context().run, args=(beat, runtime.flow_run.id, ended), daemon=True)
        thread.start()
        try:
            return flow.fn(*args)
        finally:
            ended.set()
            thread.join()

    return Flow(body, name=flow.name, validate_parameters=False)


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
