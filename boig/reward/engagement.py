"""The engagement reward, trained and at work: brief + verbalization → expected KPI with its uncertainty, in KPI points."""

import copy
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedTokenizerBase

from boig.brief import Brief
from boig.reporting import Reporter
from boig.reward import encoder, trainer
from boig.reward.encoder import Numbers
from boig.reward.model import EngagementModel, HeadConfig, RewardHead, combine
from boig.reward.rows import Posts, TrainingRows
from boig.reward.settings import Features, Fit, HeadRule, TreesRule
from boig.reward.states import States
from boig.reward.trees import Trees
from boig.verbalizer.form import Verbalization

_FILE, _HEAD, _ADAPTER = "engagement.json", "head", "adapter"


@dataclass(frozen=True)
class Engagement:
    """A trained engagement reward."""

    backbone: nn.Module
    """BoigLLM without its output layer, with the reward's adapter if it has one."""
    tokenizer: PreTrainedTokenizerBase
    head: RewardHead
    numbers: Numbers
    center: float
    """Mean KPI of the training posts."""
    scale: float
    """Standard deviation of their KPI."""
    states: States | None = None
    """Hidden states that are known already, where the backbone stands still and one process trains and scores."""
    trees: Trees | None = None
    """Averaged with the heads; None for heads alone."""

    def predict(self, briefs: Sequence[Brief], verbalizations: Sequence[Verbalization]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sigma of the KPI, (N,) each, in KPI points. A row's numbers do not depend on the other rows."""
        briefs = encoder.known(briefs, self.numbers.context)
        asked = encoder.prompts(briefs, verbalizations, self.tokenizer)
        text = self.states(asked) if self.states else encoder.pooled(self.backbone, asked, self.tokenizer.pad_token_id)
        return self.from_text(text, briefs, verbalizations)

    @torch.no_grad()
    def from_text(
        self, text: torch.Tensor, briefs: Sequence[Brief], verbalizations: Sequence[Verbalization]
    ) -> tuple[np.ndarray, np.ndarray]:
        """`predict` from hidden states (N, 2 D) that are known already."""
        numbers = self.numbers.encode(briefs, verbalizations)
        picture, context = (torch.from_numpy(side).double() for side in numbers)
        # In float64, where the number of rows changes no digit that counts.
        head = self.head if _at_work(self.head) else copy.deepcopy(self.head).to("cpu", torch.float64).eval()
        mean, sigma = combine(head(text=text.double(), picture=picture, context=context).logits)
        score = self.trees.mix(mean.numpy(), np.hstack(numbers)) if self.trees else mean.numpy()
        return self.center + self.scale * score, self.scale * sigma.numpy()

    def without_adapter(self) -> AbstractContextManager:
        """A context in which the shared language model is BoigLLM as it was."""
        return self.backbone.disable_adapter() if isinstance(self.backbone, PeftModel) else nullcontext()

    def save(self, folder: Path) -> None:
        """Write head, adapter and numbers; BoigLLM itself is not copied."""
        folder.mkdir(parents=True, exist_ok=True)
        self.head.save_pretrained(folder / _HEAD)
        if isinstance(self.backbone, PeftModel):
            self.backbone.save_pretrained(folder / _ADAPTER)
        if self.trees:
            self.trees.save(folder)
        raw = {"center": self.center, "scale": self.scale, "trees_weight": self.trees.weight if self.trees else 0.0}
        (folder / _FILE).write_text(json.dumps(raw | {"numbers": self.numbers.to_dict()}) + "\n")

    @classmethod
    def load(cls, folder: Path, backbone: nn.Module, tokenizer: PreTrainedTokenizerBase) -> "Engagement":
        """Put a saved reward on BoigLLM's backbone.

        Raises:
            FileNotFoundError: no reward in that folder.
        """
        if not (folder / _FILE).is_file():
            raise FileNotFoundError(f"no engagement reward in {folder}; run the train_reward stage (`dvc repro train_reward`)")
        raw = json.loads((folder / _FILE).read_text())
        head = RewardHead.from_pretrained(folder / _HEAD, use_safetensors=True).double().eval()
        if (folder / _ADAPTER).is_dir():
            backbone = PeftModel.from_pretrained(backbone, folder / _ADAPTER, use_safetensors=True).eval()
        trees = Trees.load(folder, raw["trees_weight"])
        return cls(backbone, tokenizer, head, Numbers.from_dict(raw["numbers"]), raw["center"], raw["scale"], trees=trees)


def train(
    posts: Posts,
    val: Posts,
    backbone: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    *,
    features: Features,
    head: HeadRule,
    trees: TreesRule,
    fit: Fit,
    folder: Path,
    seed: int,
    report: Reporter,
    name: str,
    states: States | None = None,
) -> Engagement:
    """Train an engagement reward on posts (mismatched negatives among them); `val` only chooses the best average of weights.

    Args:
        posts: of split train, and negatives.
        val: of split val.
        backbone: BoigLLM without its output layer; gets an adapter in place where `fit.lora_rank` is not 0.
        tokenizer: of BoigLLM.
        features, head, trees, fit: groups of the section.
        folder: for checkpoints.
        seed: of weights, trees, pairs, augmentation and dropout.
        report: gets the curves.
        name: prefix of the curves.
        states: of `backbone`, to share with other trainings on it; only where `fit.lora_rank` is 0.

    Raises:
        ValueError: no posts, or their KPI is constant; the loss is not finite.
    """
    check(posts, val)
    numbers = Numbers.fit(posts.briefs, posts.verbalizations, features)
    center, scale = float(posts.kpi.mean()), float(posts.kpi.std())
    torch.manual_seed(seed)
    sizes = {"text_size": 2 * backbone.config.hidden_size, "picture_size": numbers.picture.size, "context_size": numbers.context.size}
    special = {f"{token}_token_id": getattr(tokenizer, f"{token}_token_id") for token in ("pad", "bos", "eos")}  # TRL wants them to agree
    model = RewardHead(HeadConfig(**sizes, **head.model_dump(), **special))
    if fit.lora_rank:
        assert states is None, "an adapter changes the hidden states"
        backbone = get_peft_model(backbone, LoraConfig(r=fit.lora_rank, lora_alpha=2 * fit.lora_rank, target_modules="all-linear"))
    else:
        states = states or States(backbone, tokenizer.pad_token_id)
    trained = Engagement(backbone, tokenizer, model, numbers, center, scale, states)
    examples = trainer.Examples(
        inputs=TrainingRows(posts, states, tokenizer, numbers, fit).inputs,
        kpi=(posts.kpi - center) / scale,
        accounts=[b.account for b in posts.briefs],
        days=np.array([b.created_at.timestamp() / 86400 for b in posts.briefs]),
        validate=_validation(trained, val),
    )
    network = EngagementModel(backbone, model) if fit.lora_rank else model
    trainer.fit(network, examples, fit, tokenizer=tokenizer, folder=folder, seed=seed, report=report, name=name)
    columns = np.hstack(numbers.encode(posts.briefs, posts.verbalizations))
    return replace(trained, trees=Trees.train(columns, examples.kpi, trees, seed))


def check(posts: Posts, val: Posts) -> None:
    """Refuse what nothing can be learnt from.

    Raises:
        ValueError: an empty split, a constant KPI, or a KPI outside 0–100.
    """
    for split, rows in (("train", posts), ("val", val)):
        if not len(rows):
            raise ValueError(f"no posts in split {split}; raise simulate.posts or change ingest.splits")
        if not np.isfinite(rows.kpi).all() or rows.kpi.min() < 0 or rows.kpi.max() > 100:
            raise ValueError(f"split {split}: kpi runs from {rows.kpi.min()} to {rows.kpi.max()}, must be within 0–100; run ingest again")
    if np.ptp(posts.kpi) == 0:
        raise ValueError(f"the KPI of all {len(posts)} training posts is {posts.kpi[0]:g}; choose a KPI that is not constant")


def _at_work(head: RewardHead) -> bool:
    """Whether a head is as `Engagement.load` leaves it: in float64, and not in training."""
    return head.dtype == torch.float64 and head.device.type == "cpu" and not head.training


def _validation(trained: Engagement, val: Posts) -> Callable[[], float]:
    """Pearson on `val`, to be called again and again; with a frozen BoigLLM the hidden states are computed once."""
    briefs = encoder.known(val.briefs, trained.numbers.context)
    asked = encoder.prompts(briefs, val.verbalizations, trained.tokenizer)

    def pearson() -> float:
        text = trained.states(asked) if trained.states else encoder.pooled(trained.backbone, asked, trained.tokenizer.pad_token_id)
        mean, _ = trained.from_text(text, briefs, val.verbalizations)
        return float(np.corrcoef(mean, val.kpi)[0, 1]) if np.ptp(val.kpi) > 0 and np.ptp(mean) > 0 else 0.0

    return pearson
