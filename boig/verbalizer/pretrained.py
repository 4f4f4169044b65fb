"""How backends load models of transformers: hub id or folder, pinned, safetensors only, no code from the hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from boig.verbalizer.version import model_id


def load_pretrained(auto_class: Any, model: str, revision: str, **arguments: Any) -> Any:
    """`auto_class.from_pretrained` without remote code.

    Args:
        auto_class: an Auto class of transformers.
        model: folder or hub id.
        revision: hub commit; empty for a folder.
        arguments: passed on.

    Raises:
        FileNotFoundError: no such folder or hub model, or files are missing in it.
        ValueError: the files hold another kind of model.
    """
    try:
        return auto_class.from_pretrained(model, revision=revision or None, trust_remote_code=False, **arguments)
    except OSError as error:
        where = "the folder" if Path(model).is_dir() else "the hub id, its revision, and that the hub can be reached"
        raise FileNotFoundError(f"{model}: {_first_line(error)}; check {where}") from error
    except (ValueError, KeyError) as error:
        raise ValueError(f"{model} cannot be loaded by {auto_class.__name__}: {_first_line(error)}; name a model of that kind") from error


@dataclass(frozen=True)
class Pretrained:
    """A model ready to answer."""

    net: Any
    """In evaluation mode, without gradients."""
    processor: Any
    model_id: str
    """Name and revision, or name and hash of the files."""
    device: str
    dtype: torch.dtype
    """Half precision on a GPU, float32 elsewhere."""


def load(model_class: Any, processor_class: Any, model: str, revision: str, device: str) -> Pretrained:
    """Model and processor of a folder or a hub id.

    Raises:
        FileNotFoundError: no such model.
        ValueError: another kind of model, or a hub id without a revision.
    """
    identity = model_id(model, revision)
    dtype = torch.float16 if device.startswith("cuda") else torch.float32
    net = load_pretrained(model_class, model, revision, use_safetensors=True, dtype=dtype).to(device).eval().requires_grad_(False)
    return Pretrained(net, load_pretrained(processor_class, model, revision), identity, device, dtype)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
