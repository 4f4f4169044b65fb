"""Parameters, gradients and optimizer state in shards over the workers: PyTorch's FSDP2 (`fully_shard`) through accelerate.

Each decoder layer (the model's `_no_split_modules`) is a unit, so that a rank holds one whole layer at a time. Checkpoints
are written in shards too; only what leaves the training is made whole.
"""

from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from peft import PeftModel
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from trl import SFTTrainer

from boig.language.settings import Training


def arguments(settings: Training, workers: int) -> dict[str, Any]:
    """What `TrainingArguments` are told of sharding and activation checkpointing."""
    # The models' own, not accelerate's: its wrappers change the names of modules, by which peft finds an adapter's weights, so
    # that the checkpoints of an adapter were empty.
    told: dict[str, Any] = {"activation_checkpointing": settings.activation_checkpointing}
    if settings.sharding == "none" or workers == 1:
        return told
    config = {"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "state_dict_type": "SHARDED_STATE_DICT"}
    return told | {"fsdp": True, "fsdp_config": config}


class ShardingSFTTrainer(SFTTrainer):
    """TRL's trainer that shards on CPUs as on GPUs.

    accelerate 1.15 turns FSDP on for kinds of accelerators that it lists and leaves DDP on in silence for CPUs, though what it
    does afterwards runs on gloo as well. So the tests take the code path of a cluster.
    """

    is_fsdp_enabled: bool

    def create_accelerator_and_postprocess(self) -> None:
        """As in the parent class, and FSDP where it was asked for."""
        super().create_accelerator_and_postprocess()
        if self.args.fsdp and not self.is_fsdp_enabled:
            state = self.accelerator.state
            state.distributed_type = DistributedType.FSDP
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            self.is_fsdp_enabled = True

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in the parent class. The folder of a checkpoint in shards is made first: transformers 5.23 asks whether it is there
        to note the best one, before it writes to it, so that ranks would load shards of different steps at the end."""
        if self.is_fsdp_enabled:
            Path(output_dir or self.args.output_dir).mkdir(parents=True, exist_ok=True)
        super().save_model(output_dir, _internal_call=_internal_call)


def whole(model: PreTrainedModel | PeftModel, dtype: torch.dtype | None) -> None:
    """Replace shards by whole weights, in place: to be merged and saved, no longer to be run. All ranks have to call it.

    Args:
        model: weights that are not sharded stay as they are.
        dtype: of the whole weights; None keeps the one they were trained in.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # what a last forward pass has gathered is FSDP's own, and may be freed
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    made: dict[int, tuple[torch.Tensor, torch.nn.Parameter]] = {}  # tied weights stay one; the shard is kept, for its id
    for module in model.modules():
        for name, shard in list(module.named_parameters(recurse=False)):
            if not isinstance(shard, DTensor):
                continue
            if id(shard) not in made:
                full = shard.detach().full_tensor()  # a collective
                where = "cpu" if rank == 0 else "meta"  # one copy per cluster, not per rank
                made[id(shard)] = (shard, torch.nn.Parameter(full.to(where, dtype), requires_grad=shard.requires_grad))
            module.register_parameter(name, made[id(shard)][1])
