"""Orchestration only: a Prefect flow per stage, run in process by `python -m flows.<stage>`. No arithmetic here."""

import gc

from boig.quiet import hush
from flows import processes  # noqa: F401 - first of all: it remembers who started this process

hush()  # before any stage imports what reads it
gc.set_threshold(2_000, 10, 10)  # as newer Pythons have it: nearly all of what imports make lives to the end
