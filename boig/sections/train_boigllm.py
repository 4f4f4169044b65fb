"""`params.yaml: train_boigllm`."""

from pydantic import model_validator

from boig.feed.rules import Duplicates
from boig.language.settings import Decoding, Dtype, Lora, Scratch, Training
from boig.section import Resources, Section, Seed


class TrainBoigllm(Section):
    """BoigLLM, both directions on one model."""

    seed: Seed
    """Draws fresh weights, the order of the examples, the posts that are evaluated, and the intervals' resamples."""
    duplicates: Duplicates
    """When two pictures of different splits are a leak; as in ingest."""
    base: str
    """`scratch`, a folder, a hub id, or `package:<module>` for the GGUF file that an installed package ships."""
    revision: str | None
    """Commit of a hub id."""
    dtype: Dtype
    """Of the weights; float32 on a CPU, where half precision is far slower."""
    scratch: Scratch
    """Used where `base` is `scratch`."""
    lora: Lora | None
    """None trains all weights."""
    training: Training
    decoding: Decoding
    embedder: str
    """Sentence encoder of the neighbor baseline and the cosine metrics: a folder, a hub id or `package:<module>`."""
    embedder_revision: str | None
    resources: Resources
    """Of the training; the decoding takes as many cores in all."""

    @model_validator(mode="after")
    def _something_to_adapt(self) -> "TrainBoigllm":
        if self.base == "scratch" and self.lora:
            raise ValueError("lora adapts a pretrained base, but base is scratch; set lora to null, or name a base")
        return self
