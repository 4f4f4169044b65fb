"""The running average of the weights in training: measured on `val` now and then, the best one kept, all of it resumable."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, TrainerCallback

from boig.reporting import Reporter

_AVERAGE, _STATE = "average.safetensors", "average.json"


class Average(TrainerCallback):
    """Running average of the trained weights, measured now and then; the best one is kept."""

    def __init__(self, model: PreTrainedModel, decay: float, every: int, validate: Callable, report: Reporter, name: str):
        self._model, self._decay, self._every, self._validate = model, decay, every, validate
        self._report, self._name = report, name
        self._average = {k: v.cpu().clone() for k, v in trained(model).items()}  # beside the model, which may fill a GPU
        self._kept = self._average
        self.best = -float("inf")

    def on_step_end(self, args, state, control, **_) -> None:
        """Called by the trainer after each update."""
        # A short history weighs more at first, else the start would stay in the average (Polyak with warm-up).
        decay = min(self._decay, state.global_step / (state.global_step + 10))
        for key, value in trained(self._model).items():
            self._average[key].lerp_(value.cpu(), 1 - decay)
        if state.global_step % self._every == 0 or state.global_step == state.max_steps:
            self._measure(state.global_step)

    def _measure(self, step: int) -> None:
        now = {k: v.clone() for k, v in trained(self._model).items()}
        put(self._model, self._average)
        self._model.eval()
        score = self._validate()
        self._model.train()
        put(self._model, now)
        self._report.curve(step, **{f"{self._name}/val_pearson": score})
        if score >= self.best:  # of equals, as where val is constant, the one that has learnt longest
            self.best, self._kept = score, {k: v.clone() for k, v in self._average.items()}

    def on_save(self, args, state, control, **_) -> None:
        """Called by the trainer when a checkpoint has its own files."""
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        both = {f"average.{k}": v for k, v in self._average.items()} | {f"kept.{k}": v.clone() for k, v in self._kept.items()}
        save_file(both, str(folder / _AVERAGE))
        # Last of all: a checkpoint with this file is complete.
        draft = folder / f".{_STATE}"
        draft.write_text(json.dumps({"best": self.best if np.isfinite(self.best) else None}))
        draft.rename(folder / _STATE)

    def load(self, checkpoint: Path) -> None:
        """Go on from a checkpoint."""
        both = load_file(str(checkpoint / _AVERAGE))
        self._average = {k.removeprefix("average."): v for k, v in both.items() if k.startswith("average.")}
        self._kept = {k.removeprefix("kept."): v for k, v in both.items() if k.startswith("kept.")}
        best = json.loads((checkpoint / _STATE).read_text())["best"]
        self.best = -float("inf") if best is None else best

    def restore(self) -> None:
        """Put the best average into the model."""
        put(self._model, self._kept)


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint."""
    found = [c for c in folder.glob("checkpoint-*") if (c / _STATE).is_file()]
    return max(found, key=lambda c: int(c.name.rpartition("-")[2]), default=None)


def trained(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The parameters that are trained, by name; views, not copies."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def put(model: PreTrainedModel, values: dict[str, torch.Tensor]) -> None:
    """Write values into the parameters that are trained."""
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.copy_(values[name])
