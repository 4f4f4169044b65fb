"""Train BoigLLM, and see how well it describes the pictures of held-out posts beside the baselines.

Split train alone is trained on, split val chooses the checkpoint; the judge's posts and the test splits are not touched
before the metrics.
"""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from boig.brief import Brief
from boig.evaluation import bootstrap
from boig.feed import leaks
from boig.language import baselines, corpus, examples, metrics, model, sft, tokenizer
from boig.language.consensus import consensus
from boig.language.describe import Shot, describe, draw, prompt_tokens
from boig.language.embed import Embedder
from boig.reporting import Reporter
from boig.sections.train_boigllm import TrainBoigllm
from boig.verbalizer.form import Verbalization

OUT = Path("models/boigllm")
_FITTED = "fit.json"
SPLITS = ("val", "test_time", "test_account")
OURS = "boigllm"
_SHOTS = {0: "zero_shot", 3: "three_shot", 5: "five_shot"}
_SHOWN = 24  # rows of the table of descriptions in the tracking UI


def fit(config: dict) -> dict:
    """Train on one rank; runs inside Ray Train. Rank 0 writes the model to `config["folder"]/model`.

    Args:
        config: `section` TrainBoigllm, `folder` Path for checkpoints and the model, `report` Reporter.

    Returns:
        steps, best_step, val_loss, examples, parameters: small numbers, the same on each rank.

    Raises:
        ValueError: no posts to train on, settings that do not fit each other, tables that leak, or prompts that the model has no room for.
        FileNotFoundError: no data, or no base model.
    """
    section, folder, report = config["section"], Path(config["folder"]), config["report"]
    if (folder / _FITTED).is_file():
        return json.loads((folder / _FITTED).read_text())
    leaks.check(Path("."), section.duplicates)
    data = corpus.read()
    train = data.splits["train"]
    start, words = starting_model(section, train)
    check_room(section, start, words, train)
    texts = examples.training_texts(train, data.negatives, section.training, section.seed)
    fitted = sft.fit(
        start,
        words,
        texts,
        examples.validation_texts(data.splits["val"]),
        section.training,
        lora=section.lora,
        folder=folder / "checkpoints",
        seed=section.seed,
        workers=section.resources.workers,
        report=report,
    )
    told = {
        "steps": fitted.steps,
        "best_step": fitted.best_step,
        "val_loss": fitted.best_val_loss,
        "examples": len(texts),
        "parameters": sum(p.numel() for p in fitted.model.parameters()),
    }
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        _save(fitted.model, words, section, folder / "model")
        _write(folder / _FITTED, told)  # the last word: a training that has ended is not taken up again
    return told


def inputs(section: TrainBoigllm) -> list[Path]:
    """What the model and its descriptions depend on, beside parameters and code."""
    local = [Path(name) for name in (section.base, section.embedder) if Path(name).is_dir()]  # hub ids are pinned by their revision
    return [Path("data/posts"), Path("data/verbalized"), *local]


def starting_model(section: TrainBoigllm, train: Sequence[examples.Example]):
    """The model before training, and its tokenizer: fresh where `base` is `scratch`, else loaded."""
    if section.base == model.SCRATCH:
        size = section.scratch
        words = tokenizer.train(examples.vocabulary_texts(train), size.vocab_size)
        fresh = model.create(
            words, hidden_size=size.hidden_size, layers=size.layers, heads=size.heads, feed_forward=size.feed_forward, seed=section.seed
        )
        return fresh.to(_device(section)), words
    return model.load(section.base, section.revision, section.dtype, _device(section))


def questions(section: TrainBoigllm) -> list[dict]:
    """The held-out posts to describe: `number`, `split`, `brief`, `bucket`, `kpi`; at most `decoding.max_posts` a split, drawn by seed."""
    data = corpus.read()
    rows = []
    for number, split in enumerate(SPLITS):
        posts = data.splits[split]
        rng = np.random.default_rng([section.seed, number])
        chosen = np.sort(rng.permutation(len(posts))[: section.decoding.max_posts])
        rows += [{"split": split, "brief": posts[i].brief, "bucket": posts[i].bucket, "kpi": posts[i].kpi} for i in chosen]
    return [{"number": number, **row} for number, row in enumerate(rows)]


def check_room(section: TrainBoigllm, start: PreTrainedModel, words: PreTrainedTokenizerBase, train: Sequence[examples.Example]) -> None:
    """See before hours of training that every prompt of the evaluation fits into the model.

    Raises:
        ValueError: one does not.
    """
    rows = questions(section)
    briefs, buckets, kpis = [row["brief"] for row in rows], [row["bucket"] for row in rows], [row["kpi"] for row in rows]
    for shots in sorted({count or 0 for count in methods(section).values()}):
        prompt_tokens(start, words, briefs, buckets, kpis, shots=worked_examples(train, shots, section.seed))


def methods(section: TrainBoigllm) -> dict[str, int | None]:
    """Names of the language-model methods to evaluate: ours (None), and the untuned base with that many worked examples."""
    if section.base == model.SCRATCH:
        return {OURS: None}
    return {OURS: None} | {_SHOTS[n]: n for n in section.decoding.shots}


class Describer:
    """Callable for Ray actors: rows of `questions` in; the same rows with `verbalization`, canonical JSON, out, and kept in a file."""

    def __init__(self, section: TrainBoigllm, folder: Path, name: str):
        """Load the model.

        Args:
            section: parameters.
            folder: of the stage's progress, where `fit` put the model.
            name: of the method, one of `methods`.
        """
        shots = methods(section)[name]
        source, revision = (str(folder / "model"), None) if shots is None else (section.base, section.revision)
        self._model, self._tokenizer = model.load(source, revision, section.dtype, _device(section))
        self._decoding, self._folder = section.decoding, _answers(folder, name)
        self._shots = worked_examples(corpus.read().splits["train"], shots or 0, section.seed)

    def __call__(self, rows: list[dict]) -> list[dict]:
        use, briefs = self._decoding, [row["brief"] for row in rows]
        buckets, kpis = [row["bucket"] for row in rows], [row["kpi"] for row in rows]
        asked = (self._model, self._tokenizer, briefs, buckets, kpis)
        if use.draws == 1:
            best = describe(*asked, batch_size=use.batch_size, shots=self._shots)
        else:
            drawn = draw(*asked, draws=use.draws, temperature=use.temperature, batch_size=use.batch_size, shots=self._shots)
            best = [consensus(d.verbalizations, d.odds) for d in drawn]
        found = [{**row, "verbalization": v.to_json()} for row, v in zip(rows, best, strict=True)]
        _write(self._folder / f"{rows[0]['number']}.json", {row["number"]: row["verbalization"] for row in found})
        return found


def together(section: TrainBoigllm) -> int:
    """Questions of one call of `Describer`: what is decoded at once, so that a kill costs no more than that."""
    return max(1, section.decoding.batch_size // section.decoding.draws)


def unanswered(folder: Path, name: str, rows: list[dict]) -> list[dict]:
    """Those of `questions` that a method still has to answer: with a pretrained base a method takes half an hour."""
    known = _answered(folder, name)
    return [row for row in rows if row["number"] not in known]


def answers(folder: Path, name: str, rows: list[dict]) -> list[dict]:
    """Rows of `questions` with a method's `verbalization`, all of which are answered."""
    known = _answered(folder, name)
    return [{**row, "verbalization": known[row["number"]]} for row in rows]


def _answers(folder: Path, name: str) -> Path:
    """Where the answers of a method are kept, a file per call of `Describer`."""
    return folder / "answers" / name


def _answered(folder: Path, name: str) -> dict[int, str]:
    return {int(number): text for path in _answers(folder, name).glob("*.json") for number, text in json.loads(path.read_text()).items()}


def _write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(content))
    os.replace(draft, path)


def worked_examples(train: Sequence[examples.Example], count: int, seed: int) -> tuple[Shot, ...]:
    """Posts of split train drawn by seed, the same for every question."""
    chosen = np.random.default_rng(seed).permutation(len(train))[:count]
    return tuple(Shot(train[i].brief, train[i].bucket, train[i].kpi, train[i].verbalization) for i in chosen)


def score(section: TrainBoigllm, answers: dict[str, list[dict]], report: Reporter) -> dict:
    """The metrics of each split and method, with intervals.

    Args:
        section: parameters.
        answers: rows of `Describer` by method.
        report: gets a table of descriptions side by side.

    Returns:
        `<split>.<method>.<metric>` nested, each an estimate, and `<split>.ahead.<method>.<metric>`: by how much ours is better than the
        other method on the same pictures, positive is better. A metric that no picture defines is left out.
    """
    data = corpus.read()
    encoder = Embedder(section.embedder, section.embedder_revision)
    train = data.splits["train"]
    truth = {e.brief.post_id: e.verbalization for split in SPLITS for e in data.splits[split]}
    rows = answers[OURS]
    briefs: list[Brief] = [row["brief"] for row in rows]
    predicted = {name: [Verbalization.from_json(row["verbalization"]) for row in found] for name, found in answers.items()}
    predicted["frequency"] = baselines.Frequency(train).describe(briefs)
    predicted["neighbor"] = baselines.Neighbor(train, encoder.encode).describe(briefs)
    true = [truth[b.post_id] for b in briefs]
    result: dict = {}
    for split in dict.fromkeys(row["split"] for row in rows):
        mine = [i for i, row in enumerate(rows) if row["split"] == split]
        accounts = [briefs[i].account for i in mine]
        found = {name: [metrics.compare(guess[i], true[i], encoder.similarity) for i in mine] for name, guess in predicted.items()}
        result[split] = {name: estimates(pictures, accounts, section.seed) for name, pictures in found.items()}
        ours = found.pop(OURS)
        result[split]["ahead"] = {
            name: estimates(list(map(metrics.ahead, ours, theirs)), accounts, section.seed) for name, theirs in found.items()
        }
    report.table("descriptions", _side_by_side(rows, predicted, true))
    return result


def estimates(rows: list[dict[str, float]], accounts: list[str], seed: int) -> dict:
    """Each metric's mean over the pictures that define it, with its 95 % interval."""
    result = {}
    for name in rows[0]:
        defined = [(row[name], account) for row, account in zip(rows, accounts, strict=True) if np.isfinite(row[name])]
        if defined:
            values, clusters = zip(*defined, strict=True)
            result[name] = bootstrap.estimate(values, clusters, seed=seed)
    return result


def place(folder: Path, out: Path = OUT) -> Path:
    """Move the finished model into the stage's output, whole or not at all, and drop the folder of the progress."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists():
        shutil.rmtree(out)
    os.replace(folder / "model", out)
    shutil.rmtree(folder)
    return out


def _save(fitted, words, section: TrainBoigllm, folder: Path) -> None:
    draft = folder.with_name("model.draft")
    shutil.rmtree(draft, ignore_errors=True)
    fitted.save_pretrained(draft, safe_serialization=True)
    words.save_pretrained(draft)
    adapter = draft / "adapter_config.json"
    if adapter.is_file():  # the base by the name the user gave, not by a folder of this machine
        config = json.loads(adapter.read_text())
        adapter.write_text(
            json.dumps(config | {"base_model_name_or_path": section.base, "revision": section.revision}, indent=2, sort_keys=True)
        )
        (draft / "README.md").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(draft, folder)


def _side_by_side(rows: list[dict], predicted: dict[str, list[Verbalization]], true: list[Verbalization]) -> list[dict]:
    shown = np.linspace(0, len(rows) - 1, min(_SHOWN, len(rows))).astype(int)
    return [
        {
            "split": rows[i]["split"],
            "account": rows[i]["brief"].account,
            "post": rows[i]["brief"].caption,
            "wanted": rows[i]["bucket"],
            "true": true[i].to_json(),
        }
        | {name: guess[i].to_json() for name, guess in predicted.items()}
        for i in shown
    ]


def _device(section: TrainBoigllm) -> str:
    return "cuda" if section.resources.gpus > 0 else "cpu"
