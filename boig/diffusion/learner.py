"""The state of a training: adapter, optimizer, moving average, counters; saved to one file and restored to the bit.

There is no generator among them: every random number is drawn from (seed, iteration, place), so the iteration *is* the state of randomness
and the cursor into the prompts.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from boig.diffusion.pipeline import adapter_parameters
from boig.diffusion.settings import Optimizer
from boig.diffusion.world import World

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class Counts:
    """What a training has spent, over all ranks."""

    pictures: int = 0
    """Drawn in rollouts, or seen in supervised batches."""
    unet_forwards: int = 0
    """Passes of one picture through the U-Net, those with gradient included."""
    reward_calls: int = 0
    """Pictures scored by the reward for training."""


@dataclass
class Progress:
    """The part of the state that is not tensors; JSON."""

    iteration: int = 0
    """Iterations done."""
    updates: int = 0
    """Optimizer steps done."""
    counts: Counts = field(default_factory=Counts)
    curves: list[dict[str, float]] = field(default_factory=list)
    """One row per iteration."""
    looks: list[dict[str, float]] = field(default_factory=list)
    """One row per look at the panel."""
    best: int = 0
    """Index into `looks` of the one whose weights are kept."""
    memory: dict[str, list[float]] = field(default_factory=dict)
    """What an algorithm remembers between iterations."""


class Learner:
    """Updates an adapter by AdamW, its gradients summed over the ranks."""

    def __init__(self, pipe: StableDiffusionPipeline, settings: Optimizer, world: World):
        """Take the adapter that is on the pipeline, which must be fresh: `add_adapter`."""
        self.parameters = adapter_parameters(pipe)
        self.settings = settings
        self.world = world
        self.progress = Progress()
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        """What is evaluated and shipped: the moving average, or the weights themselves."""
        self.best = {name: p.clone() for name, p in self.average.items()}
        self._adam = torch.optim.AdamW(
            self.parameters.values(), lr=settings.learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=settings.weight_decay
        )

    def update(self) -> Tensor:
        """One optimizer step with the gradients at hand, which are then gone.

        Returns:
            () the gradient's norm before clipping, on the device.
        """
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.world.add([p.grad for p in self.parameters.values()])
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.max_grad_norm)
        rise = min(1.0, (self.progress.iteration + 1) / max(self.settings.warmup_iterations, 1))
        for group in self._adam.param_groups:
            group["lr"] = self.settings.learning_rate * rise
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self.progress.updates += 1
        # An average over the first updates only, while there are few: else it would be mostly the start.
        decay = min(self.settings.ema, self.progress.updates / (self.progress.updates + 9))
        for name, parameter in self.parameters.items():
            self.average[name].lerp_(parameter.detach(), 1 - decay)
        return norm

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The pipeline with the averaged weights, for a while."""
        with self._swapped(self.average):
            yield

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """The pipeline with the best look's weights, for a while."""
        with self._swapped(self.best):
            yield

    @contextmanager
    def _swapped(self, weights: dict[str, Tensor]) -> Iterator[None]:
        live = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._put(weights)
        try:
            yield
        finally:
            self._put(live)

    def _put(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])

    def keep(self) -> None:
        """Remember the averaged weights as the best."""
        self.best = {name: tensor.clone() for name, tensor in self.average.items()}

    def save(self, path: Path) -> None:
        """Write all of it, atomically."""
        tensors = {f"adapter/{n}": p.detach() for n, p in self.parameters.items()}
        tensors |= {f"average/{n}": t for n, t in self.average.items()} | {f"best/{n}": t for n, t in self.best.items()}
        for name, parameter in self.parameters.items():
            for moment in _MOMENTS:
                if parameter in self._adam.state:
                    tensors[f"{moment}/{name}"] = self._adam.state[parameter][moment]
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        save_file({k: t.contiguous().cpu() for k, t in tensors.items()}, draft, metadata={"progress": json.dumps(asdict(self.progress))})
        os.replace(draft, path)

    def restore(self, path: Path) -> bool:
        """Go on from a file that `save` wrote; False where there is none.

        Raises:
            ValueError: it belongs to another adapter.
        """
        if not path.is_file():
            return False
        with safe_open(path, "pt") as file:
            raw = json.loads(file.metadata()["progress"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        if {key for key in tensors if key.startswith("adapter/")} != {f"adapter/{n}" for n in self.parameters}:
            raise ValueError(f"checkpoint {path} belongs to another adapter; delete it to start anew")
        self.progress = Progress(**raw | {"counts": Counts(**raw["counts"])})
        self._put({name: tensors[f"adapter/{name}"] for name in self.parameters})
        for name, parameter in self.parameters.items():
            self.average[name] = tensors[f"average/{name}"].to(parameter.device)
            self.best[name] = tensors[f"best/{name}"].to(parameter.device)
            if f"exp_avg/{name}" in tensors:
                moments = {moment: tensors[f"{moment}/{name}"].to(parameter.device) for moment in _MOMENTS}
                self._adam.state[parameter] = {"step": torch.tensor(float(self.progress.updates)), **moments}
        return True
