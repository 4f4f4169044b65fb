"""Supervised fine-tuning of BoigLLM in both directions: TRL's SFTTrainer, loss on the answers only, full or by LoRA.

A killed training goes on from its last complete checkpoint and ends in the same bytes (CPU): the trainer keeps optimizer,
schedule, data position and random state. The checkpoint of least loss on split val is what is kept, and a training whose
loss there has not fallen for a while ends early.
"""

import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import torch
from datasets import Dataset
from datasets.table import InMemoryTable
from peft import LoraConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback, TrainerState
from trl import SFTConfig

from boig.language.examples import Text
from boig.language.model import context
from boig.language.packing import AnswerTrainer, cross_entropy, packed
from boig.language.prompts import for_model
from boig.language.settings import Lora, Training
from boig.language.sharding import arguments, whole
from boig.language.smoothing import IGNORED, NumberLoss
from boig.reporting import Reporter

_CHECKPOINT, _STATE = "checkpoint-", "trainer_state.json"
TELL_S = 30.0
"""Between two lines on how far a training is."""
_ADAM = (0.9, 0.98)  # second moment over 50 steps: a run has a few hundred


@dataclass(frozen=True)
class Fitted:
    """A trained model and how it got there."""

    model: PreTrainedModel
    """After a sharded training to be saved, not to be run, and without weights on ranks other than 0."""
    steps: int
    best_step: int
    best_val_loss: float
    """Nats per answer token on split val."""


def fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Text],
    val: Sequence[Text],
    settings: Training,
    *,
    lora: Lora | None,
    folder: Path,
    seed: int,
    workers: int,
    report: Reporter,
) -> Fitted:
    """Train; the model of least validation loss.

    Args:
        model: starting weights; on a GPU, already there.
        tokenizer: of the model.
        train: texts in the order of the passes.
        val: texts of split val; empty keeps the last weights.
        settings: of the optimizer.
        lora: None trains all weights.
        folder: for checkpoints; a training that finds some goes on from the last one.
        seed: of the order of the texts and of fresh adapter weights.
        workers: ranks of torch.distributed, 1 without it.
        report: gets the curves.

    Raises:
        ValueError: `batch_size` is not a multiple of `micro_batch` × workers; no text fits into `max_tokens`; the loss is not finite.
    """
    torch.manual_seed(seed)
    dtype, room = model.dtype, min(settings.max_tokens, context(model))
    shown, held_out = dataset(train, tokenizer, room), dataset(val, tokenizer, room) if val else None
    _say_left_out("training", len(train), len(shown), room)
    _say_left_out("validation", len(val), len(held_out or []), room)
    trainer = AnswerTrainer(
        model=model,
        args=_arguments(settings, len(shown), bool(val), folder, seed, workers, model),
        train_dataset=shown,
        eval_dataset=held_out,
        processing_class=tokenizer,
        peft_config=_adapter(lora) if lora else None,
        callbacks=[_Curves(report), _Patience(settings.patience)],
        token_loss=NumberLoss(tokenizer, settings.number_smoothing) if settings.number_smoothing else cross_entropy,
    )
    trainer.remove_callback(PrinterCallback)
    with packed(model):
        _run(trainer, folder, settings.patience)
    state = trainer.state
    steps, best = state.global_step, state.best_global_step or state.global_step
    fitted = trainer.accelerator.unwrap_model(trainer.model)
    whole(fitted, None if lora else dtype)  # full tuning in bfloat16 keeps its weights in float32
    if lora and lora.merge:
        fitted = fitted.merge_and_unload()
    return Fitted(fitted.eval(), steps, best, float(state.best_metric) if state.best_metric is not None else float("nan"))


def _run(trainer: AnswerTrainer, folder: Path, patience: int | None) -> None:
    """Train to the end, from the last checkpoint where there is one; the best weights are in the trainer's model afterwards."""
    last = last_checkpoint(folder)
    state = TrainerState.load_from_json(str(last / _STATE)) if last else None
    ended = state and (state.global_step >= state.max_steps or stalled(_val_losses(state), patience))
    if state and ended and not trainer.is_fsdp_enabled:  # `train` would take one more step; shards are read by `train` alone
        trainer.state = state
        trainer._load_from_checkpoint(str(folder / f"{_CHECKPOINT}{state.best_global_step or state.global_step}"))
    else:
        trainer.train(resume_from_checkpoint=str(last) if last else None)


def dataset(texts: Sequence[Text], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> Dataset:
    """Token ids, and labels that are `IGNORED` on the prompt: what TRL itself makes of prompt and completion, made in one batch.

    The prompt is written as in decoding, the answer ends in the end token. Where tokens merge across the border, the
    answer begins at the first token that the prompt alone does not have. Texts of more than `max_tokens` tokens are left out
    whole: an answer cut short would be taught as a complete one.
    """
    special = tokenizer.chat_template is None  # a chat template has written its own
    prompts = [for_model(t.prompt, tokenizer) for t in texts]
    alone = tokenizer(prompts, add_special_tokens=special)["input_ids"]
    whole = tokenizer([p + t.answer for p, t in zip(prompts, texts, strict=True)], add_special_tokens=special)["input_ids"]
    ids, labels = [], []
    for prompt, both in zip(alone, whole, strict=True):
        tokens = [*both, *([] if both[-1:] == [tokenizer.eos_token_id] else [tokenizer.eos_token_id])]
        start = next((i for i, (a, b) in enumerate(zip(prompt, tokens, strict=False)) if a != b), min(len(prompt), len(tokens)))
        if len(tokens) <= max_tokens:
            ids.append(tokens)
            labels.append([IGNORED] * start + tokens[start:])
    # With a fingerprint of its own: to compute one, the library takes the table apart, and prints what it finds of Ray in it.
    return Dataset(InMemoryTable.from_pydict({"input_ids": ids, "labels": labels}), fingerprint=uuid4().hex)


def _say_left_out(what: str, given: int, kept: int, room: int) -> None:
    """A line on texts that are too long, from rank 0.

    Raises:
        ValueError: none is left.
    """
    told = f"{given - kept} of {given} {what} examples are longer than {room} tokens"
    if given and not kept:
        raise ValueError(f"train_boigllm: {told}; raise training.max_tokens, or take a base that reads more")
    if given > kept and (not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0):
        print(f"train_boigllm: {told} and left out", flush=True)


def last_checkpoint(folder: Path) -> Path | None:
    """The last complete checkpoint; one that a kill cut short is removed. The trainer writes its state file last."""
    found = sorted(Path(folder).glob(f"{_CHECKPOINT}*"), key=lambda p: int(p.name.removeprefix(_CHECKPOINT)))
    for checkpoint in reversed(found):
        try:
            json.loads((checkpoint / _STATE).read_text())
            return checkpoint
        except (FileNotFoundError, json.JSONDecodeError):
            shutil.rmtree(checkpoint, ignore_errors=True)  # another rank may be faster
    return None


def _accumulated(settings: Training, workers: int) -> int:
    """Micro-batches per step of each worker.

    Raises:
        ValueError: they do not divide the batch.
    """
    together = settings.micro_batch * workers
    if settings.batch_size % together:
        raise ValueError(f"train_boigllm batch_size {settings.batch_size} must be a multiple of micro_batch x workers ({together})")
    return settings.batch_size // together


def _schedule(settings: Training, examples: int) -> tuple[int, int]:
    """Steps of the whole training, and steps between evaluations; the last step is an evaluation, so it has a checkpoint."""
    steps = max(1, examples // settings.batch_size)
    every = max(1, steps // settings.evaluations)
    return every * (steps // every), every


def _arguments(
    settings: Training, examples: int, has_val: bool, folder: Path, seed: int, workers: int, model: PreTrainedModel
) -> SFTConfig:
    steps, every = _schedule(settings, examples)
    on_gpu = model.device.type == "cuda"
    return SFTConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.micro_batch,
        per_device_eval_batch_size=settings.micro_batch,
        gradient_accumulation_steps=_accumulated(settings, workers),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(settings.warmup_share * steps),
        weight_decay=settings.weight_decay,
        adam_beta1=_ADAM[0],
        adam_beta2=_ADAM[1],
        max_grad_norm=settings.max_grad_norm,
        max_length=None,  # seen to by `dataset`
        padding_free=True,
        eval_strategy="steps" if has_val else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=has_val,
        metric_for_best_model="eval_loss" if has_val else None,
        greater_is_better=False if has_val else None,
        logging_steps=max(1, every // 4),
        use_cpu=not on_gpu,
        bf16=on_gpu and torch.cuda.is_bf16_supported(),
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=on_gpu,
        logging_nan_inf_filter=False,  # `_Curves` stops at the first one
        **arguments(settings, workers),
    )


def _adapter(lora: Lora) -> LoraConfig:
    return LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets), task_type="CAUSAL_LM", lora_dropout=0.0)


def stalled(losses: Sequence[float], patience: int | None) -> bool:
    """Whether the least of these losses is `patience` or more evaluations ago; None never is."""
    return patience is not None and len(losses) > 0 and len(losses) - 1 - losses.index(min(losses)) >= patience


def _val_losses(state: TrainerState) -> list[float]:
    return [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]


class _Patience(TrainerCallback):
    """Ends a training that has stalled. Reads the trainer's log, which checkpoints hold, so that a resumed run ends where it would have."""

    def __init__(self, patience: int | None):
        self._patience = patience

    def on_evaluate(self, args, state, control, **kwargs):
        """Called by the trainer after each evaluation."""
        if stalled(_val_losses(state), self._patience):
            control.should_training_stop = True


class _Curves(TrainerCallback):
    """Losses, learning rate and gradient norm to the reporter; to the terminal a line per evaluation, and now and then where it is.

    Lines, not a bar: this runs on a worker, whose output reaches the terminal line by line.
    """

    def __init__(self, report: Reporter):
        self._report = report
        self._begun = self._told = time.monotonic()
        self._first = 0

    def on_train_begin(self, args, state, control, **kwargs):
        """Called by the trainer, also where a training goes on."""
        self._begun, self._first = time.monotonic(), state.global_step

    def on_step_end(self, args, state, control, **kwargs):
        """Called by the trainer after each step."""
        now, done = time.monotonic(), state.global_step - self._first
        if state.is_world_process_zero and now - self._told >= TELL_S:
            self._told = now
            left = (now - self._begun) / done * (state.max_steps - state.global_step) / 60
            print(f"train_boigllm: step {state.global_step} of {state.max_steps}, about {math.ceil(left)} min left", flush=True)

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Called by the trainer at each log.

        Raises:
            ValueError: a loss is not finite.
        """
        names = {"loss": "train_loss", "eval_loss": "val_loss", "learning_rate": "learning_rate", "grad_norm": "grad_norm"}
        values = {names[key]: float(value) for key, value in (logs or {}).items() if key in names}
        for name in ("train_loss", "val_loss"):
            if not math.isfinite(values.get(name, 0.0)):
                told = f"{name.replace('_', ' ')} is {values[name]} at step {state.global_step} of {state.max_steps}"
                raise ValueError(f"train_boigllm: {told}; lower training.learning_rate, or raise training.warmup_share")
        if values and state.is_world_process_zero:
            self._report.curve(state.global_step, **values)
        if "val_loss" in values and state.is_world_process_zero:
            print(f"train_boigllm: step {state.global_step} of {state.max_steps}, loss on val {values['val_loss']:.4f}", flush=True)
