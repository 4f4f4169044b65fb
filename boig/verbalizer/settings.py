"""The `verbalize` section's groups of keys."""

from typing import Annotated, Literal

from pydantic import Field

from boig.section import Count, Section, Share


class DetectorSettings(Section):
    """What finds objects."""

    kind: Literal["grid", "activation", "transformers", "zero_shot"]
    """`grid`: our own small network. `activation`: ImageNet labels with boxes from activation maps (offline, real pictures).
    `transformers`: any object-detection model. `zero_shot`: any zero-shot object-detection model, asked for `labels`."""
    model: str
    """Folder, or hub id for `transformers` and `zero_shot`. Empty for `activation`: the packaged MobileNetV2."""
    revision: str
    """Hub commit; empty for a folder."""
    threshold: Share
    """Least confidence of an object that is named."""
    labels: tuple[str, ...]
    """What `zero_shot` looks for; empty for the others, which bring their own labels."""


class CaptionerSettings(Section):
    """What writes the sentence."""

    kind: Literal["template", "transformers"]
    """`template`: from detections and colors. `transformers`: any image-text-to-text model."""
    model: str
    """Folder or hub id; empty for `template`."""
    revision: str
    """Hub commit; empty for a folder and for `template`."""
    prompt: str
    """What an image-text-to-text model is asked; must ask for the answer `{"caption": "…"}`. Empty for `template`."""
    max_tokens: Annotated[int, Field(ge=0)]
    """Longest answer; 0 for `template`."""
    tries: Count
    """Answers asked for until one is strict JSON; then the picture is an error row."""
