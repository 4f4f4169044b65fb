"""Training of the engagement reward with TRL's `RewardTrainer`: a pairwise and a pointwise loss.

Deviations from TRL's trainer, which is pairwise alone:
- loss = squared error + Gaussian likelihood of the spread + pairwise · (−log sigmoid(scale · (better − worse))). The squared error
  is the ICLR paper's auxiliary loss (paper.md §5); pairs within account and period follow CAIG. The spread sees the error as a
  constant, so that it cannot buy itself a worse mean;
- all passes over the posts are one long list of pairs, drawn before the first step and read in order: a resumed run continues
  at the next pair, and ends with the same bytes;
- a running average of the weights is measured on `val`, and the best average is what is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from datasets.table import InMemoryTable
from safetensors.torch import load_file, save_file
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, Trainer, TrainerCallback
from trl import RewardConfig, RewardTrainer

from boig.reporting import Reporter
from boig.reward import pairs
from boig.reward.averaging import Average, newest, put, trained
from boig.reward.settings import Fit

_PAIR_SCALE = 1.6  # 1.702 / (sqrt(2) x 0.75): logit of a difference of two posts whose noise is 0.75 standard deviations
_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Examples:
    """What a model is trained on; N rows."""

    inputs: Callable[[np.ndarray, np.random.Generator], dict[str, torch.Tensor]]
    """Row numbers (B,) and a generator to augment with → arguments of the model's `forward`."""
    kpi: np.ndarray
    """(N,) in standard deviations from the training mean."""
    accounts: list[str]
    days: np.ndarray
    """(N,) days since any fixed day."""
    validate: Callable[[], float]
    """Pearson on `val`."""


def fit(
    model: PreTrainedModel,
    examples: Examples,
    rule: Fit,
    *,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    seed: int,
    report: Reporter,
    name: str,
) -> float:
    """Train `model` in place; the best Pearson on `val`.

    Args:
        model: `RewardHead` or `EngagementModel`.
        examples: training rows.
        rule: the section's `fit`.
        tokenizer: of BoigLLM.
        folder: for checkpoints; a run that finds some there goes on from the newest.
        seed: of pairs, augmentation and dropout.
        report: gets the curves.
        name: prefix of the curves.

    Raises:
        ValueError: the loss is not finite.
    """
    rows = all_pairs(examples, rule, seed)
    per_step = rule.batch_size // 2
    steps = -(-len(rows) // per_step)
    average = Average(model, rule.ema, max(1, steps // rule.evaluations), examples.validate, report, name)
    trainer = EngagementTrainer(
        pairwise=rule.pairwise,
        model=model,
        args=_arguments(rule, folder, seed, steps),
        processing_class=tokenizer,
        train_dataset=rows,
        data_collator=_Collator(examples, seed),
        optimizers=(_optimizer(model, rule), None),
        callbacks=[average, _Curves(report, name)],
    )
    trainer.remove_callback(PrinterCallback)
    start = newest(folder)
    if start:
        average.load(start)
    trainer.train(resume_from_checkpoint=str(start) if start else None)
    average.restore()
    model.eval()
    return average.best


def _arguments(rule: Fit, folder: Path, seed: int, steps: int) -> RewardConfig:
    return RewardConfig(
        output_dir=str(folder),
        per_device_train_batch_size=rule.batch_size // 2,
        num_train_epochs=1,  # one list holds all passes
        lr_scheduler_type="cosine",
        warmup_steps=round(rule.warmup_share * steps),
        max_grad_norm=rule.max_grad_norm,
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        activation_checkpointing=False,
        ddp_find_unused_parameters=False,
        disable_dropout=False,
        max_length=None,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        logging_steps=max(1, steps // 100),
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        save_strategy="steps",
        save_steps=max(1, steps // rule.checkpoints),
        save_total_limit=2,
        report_to=[],
    )


def _optimizer(model: PreTrainedModel, rule: Fit) -> torch.optim.Optimizer:
    """AdamW; the adapter in the backbone learns at its own rate."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for name, p in trained if not name.startswith("backbone.")], "lr": rule.learning_rate},
        {"params": [p for name, p in trained if name.startswith("backbone.")], "lr": rule.backbone_learning_rate},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=rule.weight_decay)


def all_pairs(examples: Examples, rule: Fit, seed: int) -> Dataset:
    """The pairs of all passes in the order in which they are trained on; an item knows its own number."""
    rng = np.random.default_rng(seed)
    period = pairs.periods(examples.days, rule.pair_period_days)
    rows = [p for _ in range(rule.epochs) for p in pairs.draw(examples.accounts, period, examples.kpi, rng)]
    better, worse, comparable = zip(*rows, strict=True)
    table = InMemoryTable.from_pydict({"better": better, "worse": worse, "comparable": comparable, "number": range(len(rows))})
    return Dataset(table, fingerprint="pairs")  # named, since nothing is cached by it and its hash takes longer than its making


class _Collator:
    """Pairs → the model's arguments for the better posts, then the worse ones; `kpi` (2 B,) and `comparable` (B,) beside them.

    The augmentation's generator is made from the number of the batch's first pair: nothing to save for a resumed run.
    """

    def __init__(self, examples: Examples, seed: int):
        self._examples, self._seed = examples, seed

    def __call__(self, batch: list[dict]) -> dict[str, torch.Tensor]:
        rows = np.array([pair[side] for side in ("better", "worse") for pair in batch])
        inputs = self._examples.inputs(rows, np.random.default_rng([self._seed, batch[0]["number"]]))
        kpi = torch.tensor(self._examples.kpi[rows], dtype=torch.float32)
        return {**inputs, "kpi": kpi, "comparable": torch.tensor([float(pair["comparable"]) for pair in batch])}


class EngagementTrainer(RewardTrainer):
    """TRL's reward trainer with the loss above. Checkpoints hold what is trained, not the frozen language model."""

    def __init__(self, *, pairwise: float, **kwargs):
        super().__init__(**kwargs)
        self._pairwise = pairwise

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
        return dataset  # the collator looks rows up; nothing is left to tokenize

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> SequentialSampler:
        return SequentialSampler(train_dataset or self.train_dataset)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Mean of the losses over members and posts.

        Raises:
            ValueError: the loss is not a finite number.
        """
        inputs = dict(inputs)
        kpi, comparable = inputs.pop("kpi"), inputs.pop("comparable")
        outputs = model(**inputs)
        mean, spread = outputs.logits[..., 0], outputs.logits[..., 1]  # (K, 2 B)
        error = (mean - kpi) ** 2
        likelihood = 0.5 * error.detach() * torch.exp(-2 * spread) + spread
        better, worse = mean.chunk(2, dim=1)  # (K, B)
        lost = torch.nn.functional.softplus(_PAIR_SCALE * (worse - better)) * comparable
        loss = error.mean() + likelihood.mean() + self._pairwise * (lost.sum(1) / comparable.sum().clamp(min=1)).mean()
        if not torch.isfinite(loss):
            raise ValueError(
                f"train_reward: the loss is {loss.item()} at step {self.state.global_step}; lower train_reward.fit.learning_rate"
            )
        right = ((better.mean(0) > worse.mean(0)) * comparable).sum() / comparable.sum().clamp(min=1)
        for name, value in (("pair_accuracy", right), ("squared_error", error.mean())):
            self._metrics["train"][name].append(value.item())
        return (loss, outputs) if return_outputs else loss

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir or ".")
        folder.mkdir(parents=True, exist_ok=True)
        save_file(trained(self.model), str(folder / _WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: PreTrainedModel | None = None) -> None:
        put(self.model, load_file(str(Path(resume_from_checkpoint) / _WEIGHTS)))

    def _save_checkpoint(self, model: PreTrainedModel, trial: object) -> None:
        Trainer._save_checkpoint(self, model, trial)  # without TRL's model card


class _Curves(TrainerCallback):
    """The trainer's log to the reporter."""

    def __init__(self, report: Reporter, name: str):
        self._report, self._name = report, name

    def on_log(self, args, state, control, logs=None, **_) -> None:
        """Called by the trainer now and then."""
        kept = {k: v for k, v in (logs or {}).items() if k in ("loss", "grad_norm", "learning_rate", "pair_accuracy", "squared_error")}
        if kept:
            self._report.curve(state.global_step, **{f"{self._name}/{k}": float(v) for k, v in kept.items()})
