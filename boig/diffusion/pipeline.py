"""Load a U-Net pipeline of diffusers, by folder or hub id; put LoRA adapters on it, save them and load them."""

import json
from pathlib import Path

import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.utils.logging import disable_progress_bar
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from boig.diffusion.settings import Lora, Sampling

ADAPTER = "boigsd"
WEIGHTS = "pytorch_lora_weights.safetensors"
"""The name `load_lora_weights` of diffusers looks for, so that the folder works there too."""
SAMPLING = "sampling.json"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_base(
    path_or_hub_id: str, revision: str, device: str = "cpu", dtype: str = "float32", safety_checker: bool = False
) -> StableDiffusionPipeline:
    """A frozen pipeline, from safetensors only.

    Args:
        path_or_hub_id: a diffusers folder, or the id of a model on the hub.
        revision: commit of a hub id, which must be pinned; ignored for a folder.
        device: of torch.
        dtype: of the networks: one of `DTYPES`. Trajectories and log-probabilities stay float32 whatever it is.
        safety_checker: load the pipeline's own one, where it has one.

    Raises:
        FileNotFoundError: neither a folder nor a hub id with a revision; or the hub cannot be reached.
        ValueError: the folder holds no such pipeline, or an unknown dtype.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is unknown; use one of {', '.join(DTYPES)}")
    local = Path(path_or_hub_id).is_dir()
    if not local and not revision:
        raise FileNotFoundError(
            f"base model {path_or_hub_id!r} is no folder, and a hub id needs a revision; run `make base`, or name both in params.yaml"
        )
    if local and not (Path(path_or_hub_id) / "model_index.json").is_file():
        raise ValueError(f"base model {path_or_hub_id!r} has no model_index.json; it must be a pipeline saved by diffusers")
    disable_progress_bar()  # of loading: seconds, and once per worker
    off = {} if safety_checker else {"safety_checker": None, "requires_safety_checker": False}
    try:
        pipe = StableDiffusionPipeline.from_pretrained(
            path_or_hub_id,
            revision=None if local else revision,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            local_files_only=local,
            **off,
        )
    except OSError as error:
        raise FileNotFoundError(f"base model {path_or_hub_id!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    pipe.set_progress_bar_config(disable=True)
    for network in (pipe.unet, pipe.vae, pipe.text_encoder):
        network.requires_grad_(False).eval()
    return pipe.to(device)


def speed_up(pipe: StableDiffusionPipeline, channels_last: bool, compiled: bool) -> None:
    """Settings that pay on a GPU; call it once the adapter is on. Shapes are static: every batch of a run has the same size."""
    if channels_last:
        pipe.unet.to(memory_format=torch.channels_last)
    if compiled:
        pipe.unet.compile(dynamic=False)


def add_adapter(pipe: StableDiffusionPipeline, lora: Lora, seed: int) -> None:
    """Put a fresh, trainable adapter on the U-Net. Its weights are float32 and a function of the seed; its effect starts at zero.

    Raises:
        ValueError: no module of the U-Net has such a name.
    """
    remove_adapter(pipe)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, init_lora_weights="gaussian", target_modules=list(lora.targets))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipe.unet.add_adapter(config, adapter_name=ADAPTER)
    for parameter in adapter_parameters(pipe).values():
        parameter.data = parameter.data.float()


def remove_adapter(pipe: StableDiffusionPipeline) -> None:
    """Back to the base model. Nothing happens where there is no adapter."""
    if ADAPTER in pipe.get_list_adapters().get("unet", []):
        pipe.unet.delete_adapters(ADAPTER)


def adapter_parameters(pipe: StableDiffusionPipeline) -> dict[str, torch.nn.Parameter]:
    """The adapter's weights by name, in a stable order."""
    return {name: p for name, p in sorted(pipe.unet.named_parameters()) if f".{ADAPTER}." in name}


def save_adapter(pipe: StableDiffusionPipeline, folder: Path, sampling: Sampling) -> None:
    """Write the adapter and how to sample with it; equal weights give equal bytes."""
    layers = get_peft_model_state_dict(pipe.unet, adapter_name=ADAPTER)
    config = {f"unet.{k}": sorted(v) if isinstance(v, set) else v for k, v in pipe.unet.peft_config[ADAPTER].to_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    # Written here and not by `save_lora_weights`: its two metadata keys come in a random order, so its bytes differ from run to run.
    save_file(
        {f"unet.{name}": tensor.contiguous().cpu() for name, tensor in sorted(layers.items())},
        folder / WEIGHTS,
        metadata={LORA_ADAPTER_METADATA_KEY: json.dumps(config, sort_keys=True)},
    )
    (folder / SAMPLING).write_text(json.dumps(sampling.model_dump(), indent=1) + "\n")


def load_adapter(pipe: StableDiffusionPipeline, folder: str | Path) -> Sampling:
    """Put a saved adapter on the pipeline, in the place of the one it has.

    Returns:
        How to sample with it, to be given to `sampler.generate`.

    Raises:
        FileNotFoundError: no adapter there.
    """
    folder = Path(folder)
    for name in (WEIGHTS, SAMPLING):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"adapter {folder} has no {name}; name its method in align_boigsd.methods and run `dvc repro`")
    remove_adapter(pipe)
    layers, alphas, metadata = pipe.lora_state_dict(folder, weight_name=WEIGHTS, return_lora_metadata=True)
    # Not by `load_lora_weights`, which warns each time that there is nothing for the text encoder.
    pipe.load_lora_into_unet(layers, network_alphas=alphas, unet=pipe.unet, adapter_name=ADAPTER, metadata=metadata)
    pipe.unet.requires_grad_(False)
    return Sampling.model_validate_json((folder / SAMPLING).read_text())
