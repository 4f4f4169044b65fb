"""Any image-text-to-text model of transformers as captioner; it must answer `{"caption": "…"}` and nothing else."""

import hashlib
import json
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from boig.verbalizer.form import ColorShare, ObjectBox
from boig.verbalizer.palette import check_pictures
from boig.verbalizer.pretrained import Pretrained, load

_BATCH = 8
_TEMPERATURE = 0.7  # of the tries after the first, which takes the likeliest answer
_LONGEST = 400  # characters of a caption; longer answers are no single sentence


def parse_caption(answer: str) -> str:
    """The caption in a model's answer.

    Raises:
        ValueError: anything but one JSON object with the one key `caption` and a sentence as its value.
    """
    try:
        raw = json.loads(answer)
    except json.JSONDecodeError as error:
        raise ValueError(f"the answer is not JSON ({error.msg}): {answer[:80]!r}") from error
    if not isinstance(raw, dict) or list(raw) != ["caption"] or not isinstance(raw["caption"], str):
        raise ValueError(f'the answer must be {{"caption": "…"}}, is {answer[:80]!r}')
    caption = " ".join(raw["caption"].split())
    if not 0 < len(caption) <= _LONGEST:
        raise ValueError(f"the caption has {len(caption)} characters, 1 to {_LONGEST} are allowed")
    return caption


class TransformersCaptioner:
    """A vision-language model behind the `Captioner` interface."""

    def __init__(self, backend: Pretrained, prompt: str, max_tokens: int, tries: int) -> None:
        """Raises: ValueError: no prompt, or no room for an answer."""
        if not prompt or max_tokens < 1:
            raise ValueError(
                f"verbalize.captioner needs a prompt and max_tokens ≥ 1 for kind transformers, got {prompt!r} and {max_tokens}"
            )
        self.backend, self.prompt, self.max_tokens, self.tries = backend, prompt, max_tokens, tries
        self.model_id = f"{backend.model_id}+{hashlib.sha256(prompt.encode()).hexdigest()[:8]}"
        backend.processor.tokenizer.padding_side = "left"  # answers start where prompts end

    @classmethod
    def load(cls, model: str, revision: str, prompt: str, max_tokens: int, tries: int, device: str = "cpu") -> "TransformersCaptioner":
        """Raises: FileNotFoundError, ValueError: see `pretrained.load`; ValueError: no prompt."""
        return cls(load(AutoModelForImageTextToText, AutoProcessor, model, revision, device), prompt, max_tokens, tries)

    def caption(self, pictures: np.ndarray, objects: list[tuple[ObjectBox, ...]], colors: list[tuple[ColorShare, ...]]) -> list[str]:
        """See `Captioner`; looks at the pictures only.

        Raises:
            ValueError: no strict answer for one of the pictures after all tries; quotes the last one.
        """
        captions: list[str] = []
        for start in range(0, len(check_pictures(pictures)), _BATCH):
            batch = pictures[start : start + _BATCH]
            for picture, answer in zip(batch, self._answers(batch, sampled=False, seed=0), strict=True):
                captions.append(self._strict(picture, answer))
        return captions

    def _strict(self, picture: np.ndarray, answer: str) -> str:
        """The caption in the answer, or in one of the further answers."""
        for seed in range(1, self.tries + 1):
            try:
                return parse_caption(answer)
            except ValueError:
                if seed == self.tries:
                    raise
            answer = self._answers(picture[None], sampled=True, seed=seed)[0]
        raise AssertionError("tries is at least 1")

    @torch.inference_mode()
    def _answers(self, pictures: np.ndarray, *, sampled: bool, seed: int) -> list[str]:
        """One answer per picture; the seed matters only when sampled."""
        device = self.backend.device
        inputs = self._inputs([Image.fromarray(picture) for picture in pictures]).to(device, self.backend.dtype)
        how: dict[str, Any] = {"do_sample": True, "temperature": _TEMPERATURE} if sampled else {"do_sample": False}
        with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
            torch.manual_seed(seed)
            tokens = self.backend.net.generate(**inputs, max_new_tokens=self.max_tokens, **how)
        answers = self.backend.processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [answer.strip() for answer in answers]

    def _inputs(self, pictures: list[Image.Image]) -> Any:
        """Prompt and pictures as tensors: in the model's chat form where it has one, else the prompt as it is."""
        if self.backend.processor.chat_template is None:
            return self.backend.processor(images=pictures, text=[self.prompt] * len(pictures), return_tensors="pt", padding=True)
        chats = [
            [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": self.prompt}]}]
            for picture in pictures
        ]
        return self.backend.processor.apply_chat_template(
            chats, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt", processor_kwargs={"padding": True}
        )
