"""`python -m infra.stack.watch`: ends a part that lives but has not answered for a minute; supervisord then starts it anew.

An event listener of supervisord, which starts parts that have ended and knows nothing of those that hang.
"""

import sys
import time
from collections.abc import Iterator

from supervisor import childutils

from infra.stack import launch, supervisor
from infra.stack.keys import ensure
from infra.stack.services import Service, services
from infra.stack.settings import load

TICK_S = 5
"""One of supervisord's: 5, 60 or 3600."""
LOOKS = 12
"""In a row that nothing answers. They are counted instead of seconds: a machine that stood still has missed looks too."""


class Watch:
    """How often in a row each part has not answered."""

    def __init__(self) -> None:
        self._failed: dict[str, int] = {}
        self._pids: dict[str, int] = {}
        """Of processes that have answered once. One that never has may wait for what it needs, or be slow; `up` and the doctor tell it."""

    def hung(self, parts: dict[str, Service], states: dict[str, dict]) -> Iterator[str]:
        """Look at all parts once; names of those that are to be ended.

        Args:
            parts: in the order of their start.
            states: what supervisord says of them.
        """
        well = {name for name, part in parts.items() if supervisor.is_well(part, states[name], timeout_s=TICK_S)}
        for name, part in parts.items():
            if name in well and self._pids.get(name) != states[name]["pid"]:
                self._pids[name] = states[name]["pid"]
                _tell(f"{name} answers, pid {self._pids[name]}")
            if name in well or self._pids.get(name) != states[name]["pid"] or not well.issuperset(part.needs):
                self._failed[name] = 0
                continue
            self._failed[name] = self._failed.get(name, 0) + 1
            if self._failed[name] >= LOOKS:
                yield name


def _tell(what: str) -> None:
    print(f"{time.strftime('%F %T')} {what}", file=sys.stderr, flush=True)  # stdout is supervisord's


def main() -> None:
    """Look at each tick, for ever."""
    stack = load()
    parts, watch = services(stack, ensure(stack.folder)), Watch()
    while True:
        childutils.listener.wait(sys.stdin, sys.stdout)
        states = supervisor.states(stack)
        for name in watch.hung({name: part for name, part in parts.items() if name in states}, states):
            _tell(f"{name} has not answered {LOOKS} times, every {TICK_S} s: ended")
            launch.end_leftovers(stack, name)
        childutils.listener.ok(sys.stdout)


if __name__ == "__main__":
    main()
