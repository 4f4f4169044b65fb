"""How the suite is run: the longest file first, one thread per process, and Ray's workers as equals of the tests beside them."""

import os

import pytest

# Threads of two test processes on two cores wait for each other by spinning: together they get a third of the work done.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_worker_niceness", "0")  # by default they give way to all else, and whole stages wait for other tests
LONGEST = "test_smoke.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes share the files: begun last, the longest one would be waited for alone."""
    items.sort(key=lambda item: item.path.name != LONGEST)
