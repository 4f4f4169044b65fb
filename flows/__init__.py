"""Orchestration only: a Prefect flow per stage, run in process by `python -m flows.<stage>`. No arithmetic here."""

from boig.quiet import hush

hush()  # before any stage imports Ray or Transformers
