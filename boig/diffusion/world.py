"""The ranks that train together: plain torch.distributed, or one process alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process's place among the ranks. Work is numbered; item i belongs to rank i mod size."""

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> "World":
        """The world that torch.distributed was initialized with, if it was."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else cls()

    def owns(self, item: int) -> bool:
        return item % self.size == self.rank

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Sum float32 tensors over the ranks, in place, with one collective."""
        if self.size == 1:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def merge(self, mine: dict[int, T]) -> list[T]:
        """Items of all ranks, by number; each rank brings those it owns."""
        if self.size == 1:
            everything = mine
        else:
            parts: list[dict[int, T]] = [{} for _ in range(self.size)]
            dist.all_gather_object(parts, mine)
            everything = {number: value for part in parts for number, value in part.items()}
        return [everything[number] for number in sorted(everything)]
