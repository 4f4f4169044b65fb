"""How backends load models of transformers: hub id or folder, pinned, safetensors only, no code from the hub."""

from pathlib import Path
from typing import Any

import torch


def load_pretrained(auto_class: type, model: str, revision: str, **arguments: Any) -> Any:
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


def load_model(auto_class: type, model: str, revision: str, device: str) -> tuple[Any, torch.dtype]:
    """The model in evaluation mode on the device, and its dtype: half precision on a GPU, float32 elsewhere.

    Raises:
        FileNotFoundError, ValueError: see `load_pretrained`.
    """
    dtype = torch.float16 if device.startswith("cuda") else torch.float32
    net = load_pretrained(auto_class, model, revision, use_safetensors=True, dtype=dtype)
    return net.to(device).eval().requires_grad_(False), dtype


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
