"""Training: the loss looks at answers only, numbers are taught as bells, an interrupted run ends in the same bytes."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback
from trl import SFTTrainer

from boig.language import sft
from boig.language.examples import training_texts, validation_texts
from boig.language.model import create
from boig.language.packing import AnswerTrainer, packed
from boig.language.settings import Lora
from boig.language.smoothing import IGNORED, NumberLoss
from boig.language.tokenizer import number_tokens
from boig.reporting import Silent
from tests.boig.language.test_examples import SETTINGS


class Recorder(Silent):
    """Keeps the curves."""

    def __init__(self):
        self.points: list[tuple[int, dict]] = []

    def curve(self, step: int, **values: float) -> None:
        self.points.append((step, values))


def train(words, posts, folder: Path, report=None, lora=None, **changes):
    rule = SETTINGS.model_copy(update={"batch_size": 16, "micro_batch": 8, **changes})
    fresh = create(words, hidden_size=32, layers=1, heads=2, feed_forward=48, seed=3)
    texts = training_texts(posts[:40], [], rule, seed=1)
    val = validation_texts(posts[40:48])
    return sft.fit(fresh, words, texts, val, rule, lora=lora, folder=folder, seed=5, workers=1, report=report or Silent())


def test_only_answers_are_learnt(words, posts):
    texts = validation_texts(posts[:4])
    for row, text in zip(sft.dataset(texts, words, 512), texts, strict=True):
        learnt = [label for label in row["labels"] if label != IGNORED]
        assert words.decode(learnt) == text.answer + words.eos_token
        assert row["input_ids"][-len(learnt) :] == learnt


def test_what_is_too_long_is_left_out_whole_and_counted(words, posts, tmp_path, capsys):
    texts = validation_texts(posts[:48])
    lengths = sorted(len(row["input_ids"]) for row in sft.dataset(texts, words, 512))
    room = lengths[len(lengths) // 2]
    kept = sft.dataset(texts, words, room)
    assert sorted(len(row["input_ids"]) for row in kept) == [n for n in lengths if n <= room]
    assert all(row["labels"][-1] == words.eos_token_id for row in kept)
    train(words, posts, tmp_path, max_tokens=room)
    assert f"training examples are longer than {room} tokens and left out" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"raise training\.max_tokens"):
        train(words, posts, tmp_path / "none", max_tokens=9)


def test_a_loss_that_is_not_finite_stops_the_training(words, posts, tmp_path):
    with pytest.raises(ValueError, match=r"loss is nan at step \d+ of \d+; lower training.learning_rate"):
        train(words, posts, tmp_path, learning_rate=1e30, max_grad_norm=1e30)


def test_learns_and_reports(words, posts, tmp_path):
    report = Recorder()
    fitted = train(words, posts, tmp_path, report, learning_rate=1e-2, passes=4)
    losses = [values["val_loss"] for _, values in report.points if "val_loss" in values]
    assert losses[-1] < losses[0]
    assert fitted.best_val_loss == pytest.approx(min(losses))
    assert {"train_loss", "learning_rate", "grad_norm"} <= {name for _, values in report.points for name in values}


@pytest.mark.parametrize("smoothing", [0.03, 0.0])
def test_an_interrupted_training_ends_in_the_same_bytes(words, posts, tmp_path, monkeypatch, smoothing):
    whole = train(words, posts, tmp_path / "whole", number_smoothing=smoothing, evaluations=3)

    class Killed(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            raise KeyboardInterrupt

    make = sft._Curves
    with monkeypatch.context() as patch:
        patch.setattr(sft, "_Curves", lambda report: Killed())
        with pytest.raises(KeyboardInterrupt):
            train(words, posts, tmp_path / "cut", number_smoothing=smoothing, evaluations=3)
    assert sft._Curves is make
    saved = sft.last_checkpoint(tmp_path / "cut")
    shutil.copytree(saved, saved.with_name("checkpoint-999"))
    (saved.with_name("checkpoint-999") / "trainer_state.json").write_text('{"cut short')
    again = train(words, posts, tmp_path / "cut", number_smoothing=smoothing, evaluations=3)
    assert (again.steps, again.best_step, again.best_val_loss) == (whole.steps, whole.best_step, whole.best_val_loss)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name


def test_a_finished_training_is_not_trained_again(words, posts, tmp_path):
    first = train(words, posts, tmp_path)
    again = train(words, posts, tmp_path)
    assert (again.steps, again.best_step, again.best_val_loss) == (first.steps, first.best_step, first.best_val_loss)
    assert torch.equal(first.model.lm_head.weight, again.model.lm_head.weight)


@pytest.mark.parametrize("merge", [True, False])
def test_lora(words, posts, tmp_path, merge):
    lora = Lora(rank=2, alpha=4, targets=("q_proj", "v_proj"), merge=merge)
    fitted = train(words, posts, tmp_path / "run", lora=lora, number_smoothing=0.0)
    fitted.model.save_pretrained(tmp_path / "out")
    assert (tmp_path / "out/adapter_config.json").is_file() != merge


def test_batch_must_divide(words, posts, tmp_path):
    with pytest.raises(ValueError, match="batch_size 10"):
        train(words, posts, tmp_path, batch_size=10)


def test_a_narrow_bell_is_cross_entropy(words):
    torch.manual_seed(0)
    logits = torch.randn(50, len(words))
    numbers = [token for family in number_tokens(words).values() for token, _ in family[::9]]
    targets = torch.tensor((numbers + list(range(50)))[:50])
    plain = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    assert torch.allclose(NumberLoss(words, 1e-4)(logits, targets), plain, atol=1e-5)


def test_a_bell_forgives_neighbors(words):
    ids = [token for token, _ in number_tokens(words)["decimal"]]
    loss = NumberLoss(words, 0.03)
    logits = torch.zeros(3, len(words))
    for row, guess in enumerate((43, 45, 90)):
        logits[row, ids[guess]] = 5.0
    right, near, far = loss(logits, torch.tensor([ids[43]] * 3)).tolist()
    assert right < near < far


def test_a_long_training_says_how_far_it_is(words, posts, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(sft, "TELL_S", 0.0)
    train(words, posts, tmp_path, passes=2)
    told = [line for line in capfd.readouterr().out.splitlines() if "min left" in line]
    steps = int(told[0].split(" of ")[1].split(",")[0])
    assert [line.split("about")[0] for line in told] == [f"train_boigllm: step {n} of {steps}, " for n in range(1, steps + 1)]
    assert told[-1].endswith("about 0 min left")


def test_our_trainers_loss_is_trls(words, posts, tmp_path):
    """The same model and texts: without padding and with a vanishing bell, against TRL's own padded batches."""
    rule = SETTINGS.model_copy(update={"number_smoothing": 1e-4})
    fresh = create(words, hidden_size=32, layers=1, heads=2, feed_forward=48, seed=3)
    data = sft.dataset(validation_texts(posts[:8]), words, 512)
    arguments = sft._arguments(rule, 64, True, tmp_path, 1, 1, fresh)
    trainer = AnswerTrainer(
        fresh, args=arguments, train_dataset=data, eval_dataset=data, processing_class=words, token_loss=NumberLoss(words, 1e-4)
    )
    with packed(fresh):
        ours = trainer.evaluate()["eval_loss"]
    arguments.padding_free = False
    theirs = SFTTrainer(fresh, args=arguments, train_dataset=data, eval_dataset=data, processing_class=words).evaluate()["eval_loss"]
    assert ours == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "mistral"])
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6))
@settings(max_examples=15)
def test_texts_end_to_end_do_not_see_each_other(kind, lengths):
    """Logits and gradients of a row of texts are those of each text alone; Mistral's window makes transformers' own mask."""
    model = tiny(kind)
    torch.manual_seed(len(lengths))
    texts = [torch.randint(0, 60, (n,)) for n in lengths]
    alone = torch.cat([model(input_ids=t[None]).logits[0] for t in texts])
    starts = torch.tensor([0, *lengths]).cumsum(0).int()
    with packed(model):
        row = model(
            input_ids=torch.cat(texts)[None], position_ids=torch.cat([torch.arange(n) for n in lengths])[None],
            cu_seq_lens_q=starts, cu_seq_lens_k=starts, max_length_q=max(lengths), max_length_k=max(lengths), use_cache=False,
        ).logits[0]  # fmt: skip
    assert torch.allclose(row, alone, atol=1e-5)
    weight = next(p for name, p in model.named_parameters() if "q_proj.weight" in name)
    together, apart = (torch.autograd.grad(logits.square().sum(), weight)[0] for logits in (row, alone))
    assert torch.allclose(together, apart, rtol=1e-3, atol=1e-4)
    assert model.config._attn_implementation == "sdpa"


def tiny(kind: str):
    """A model of two layers, of which two heads share a key where the kind can."""
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        kind, vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


@pytest.mark.parametrize(("losses", "patience", "ends"), [
    ([], 1, False), ([3.0], 1, False), ([3.0, 2.0], 1, False), ([2.0, 3.0], 1, True), ([2.0, 3.0, 1.0], 1, False),
    ([1.0, 3.0, 2.0], 2, True), ([1.0, 3.0], 2, False), ([1.0, 2.0, 3.0], None, False),
])  # fmt: skip
def test_when_a_training_has_stalled(losses, patience, ends):
    assert sft.stalled(losses, patience) is ends


def test_a_training_that_stalls_ends_early_and_stays_ended(words, posts, tmp_path):
    harm = {"learning_rate": 1.0, "passes": 6, "evaluations": 6, "max_grad_norm": 100.0}
    whole = train(words, posts, tmp_path / "whole", **harm)
    early = train(words, posts, tmp_path / "early", patience=1, **harm)
    assert early.steps < whole.steps
    assert early.best_val_loss >= whole.best_val_loss
    again = train(words, posts, tmp_path / "early", patience=1, **harm)
    assert (again.steps, again.best_step, again.best_val_loss) == (early.steps, early.best_step, early.best_val_loss)
    assert torch.equal(early.model.lm_head.weight, again.model.lm_head.weight)


def test_a_tokenizer_that_spells_its_numbers_cannot_be_smoothed(posts):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    digits = {"a": 0} | {str(n): n + 1 for n in range(10)}
    for vocabulary in ({"a": 0}, digits):
        spelled = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocabulary, [])), pad_token="a", eos_token="a")
        with pytest.raises(ValueError, match="number_smoothing"):
            NumberLoss(spelled, 0.03)
