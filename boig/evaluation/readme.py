"""Numbers in Markdown come from metrics files: blocks between `<!-- name:start -->` and `<!-- name:end -->` are generated.

`python -m boig.evaluation.readme` rewrites them, `--check` fails where one is stale.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from boig.evaluation import operated, tables
from boig.evaluation.formats import COLUMNS, decimals, known, percent
from boig.evaluation.goals import goals

GRID = "docs/methods.png"
COPIES = {GRID: Path("reports/pictures/methods.png"), operated.CHART: Path("reports/year/year.svg")}
"""What the text shows, from reports/, which is not in git."""
RESULT_COLUMNS = ("true_uplift", "judge_win_rate", "rating", "prompt_agreement", "vendi", "fid", "unet_forwards")
TESTS = ("test_time", "test_account")
REWARD_COLUMNS = ("pearson", "spearman_within", "pair_accuracy")
HONESTY_COLUMNS = ("coverage_90", "interval_width", "matched", "mismatched", "mismatch_auc")
_BLOCK = re.compile(r"(<!-- (?P<name>[a-z_0-9]+):start -->\n)(?P<body>.*?)(<!-- (?P=name):end -->)", re.DOTALL)


def _results(metrics: Mapping[str, Mapping]) -> str:
    evaluate = metrics["evaluate"]
    shown = tables.generation(evaluate, [c for c in COLUMNS if c in RESULT_COLUMNS])
    head = f"{evaluate['briefs']} held-out briefs of the simulated feed, wanted KPI high; 95 % intervals clustered by account."
    return f"{head}\n\n{tables.markdown(shown)}\n"


def _reward(metrics: Mapping[str, Mapping]) -> str:
    values = metrics["train_reward"]
    order = _splits(values, tables.REWARD, tables.REWARD_COLUMNS, REWARD_COLUMNS, "Model")
    worth = _splits(values, tables.REWARD, tables.HONESTY_COLUMNS, HONESTY_COLUMNS, "Worth of a score")
    ranges = [f"{tables.SPLITS[s].capitalize()}: {said}" for s in TESTS if (said := tables.group_range(values.get(s, {})))]
    return "\n".join([order, worth, *(f"{said}\n" for said in ranges)])


def _eoig(metrics: Mapping[str, Mapping]) -> str:
    values = metrics["train_reward"]
    shown = tables.reward_ahead({split: values[split] for split in TESTS if split in values})
    return "\n\n".join(map(tables.markdown, shown)) + "\n"


def _boigllm(metrics: Mapping[str, Mapping]) -> str:
    return _splits(metrics["train_boigllm"], tables.BOIGLLM, tables.BOIGLLM_COLUMNS, tables.DESCRIBED, "Method")


def _smollm2(metrics: Mapping[str, Mapping]) -> str:
    values = metrics["train_boigllm"]
    ahead = {split: values[split]["ahead"]["five_shot"] for split in TESTS if split in values}
    columns = {name: replace(shown, show=decimals(3), better="") for name, shown in tables.BOIGLLM_COLUMNS.items()}
    paired = tables.block(ahead, tables.SPLITS, columns, f"{tables.BOIGLLM['boigllm']} ahead of 5-shot by")
    return _splits(values, tables.BOIGLLM, tables.BOIGLLM_COLUMNS, tuple(columns), "Method") + f"\n{tables.markdown(paired)}\n"


def _splits(values: Mapping, names: Mapping[str, str], columns: Mapping, used: tuple[str, ...], first: str) -> str:
    tests = {split: values[split] for split in TESTS if split in values}
    shown = tables.per_split(tests, names, {c: columns[c] for c in used}, first)
    return "\n\n".join(tables.markdown(t) + (f"\n\n{t.note}" if t.note else "") for t in shown) + "\n"


def _goals(metrics: Mapping[str, Mapping]) -> str:
    lines = [f"| {g.what} | {g.measured} | {'yes' if g.reached else '**no**'} |" for g in goals(metrics)]
    return "\n".join(["| Goal | Measured | Reached |", "| --- | --- | --- |", *lines]) + "\n"


def _run(metrics: Mapping[str, Mapping]) -> str:
    run = metrics["run"]
    return (
        f"`make repro` took {known(run['wall_s']) / 60:.0f} min on {run['cores']} cores "
        f"with at most {run['peak_rss_gb']:.1f} GB of memory; "
        f"a second run, with nothing to do, {run['noop_s']:.1f} s.\n"
    )


def _grid(_: Mapping[str, Mapping]) -> str:
    return f"![The same held-out briefs, drawn by each method]({GRID})\n"


def _ceiling(metrics: Mapping[str, Mapping]) -> str:
    shares = metrics["simulate"]["variance_share"]
    return ", ".join(f"{name} {percent(known(shares[name]))}" for name in ("picture", "context", "noise")) + "\n"


BLOCKS: dict[str, tuple[Callable[[Mapping[str, Mapping]], str], tuple[str, ...]]] = {
    "results": (_results, ("evaluate",)),
    "arena": (_results, ("evaluate",)),
    "eoig": (_eoig, ("train_reward",)),
    "reward": (_reward, ("train_reward",)),
    "boigllm": (_boigllm, ("train_boigllm",)),
    "smollm2": (_smollm2, ("train_boigllm",)),
    "goals": (_goals, ("train_reward", "train_boigllm", "evaluate", "run")),
    "run": (_run, ("run",)),
    "variance": (_ceiling, ("simulate",)),
    "grid": (_grid, ()),
    "year": (operated.year, ("year",)),
    "faults": (operated.faults, ("faults",)),
    "orchestration": (operated.orchestration, ("orchestration",)),
    "align": (operated.align, ("align",)),
    "paper_scale": (operated.paper_scale, ("paper_scale",)),
}
"""Block name → how it is written, and the files it needs: of metrics/<name>/ for `_PROFILES`, of bench/results/ for `_BENCHMARKS`, else of
metrics/."""
_PROFILES = ("arena", "eoig", "smollm2", "year")
_BENCHMARKS = ("align", "orchestration", "paper_scale")


def fill(text: str, metrics: Path) -> str:
    """The text with every block generated anew.

    Args:
        text: Markdown.
        metrics: folder of metrics files.

    Raises:
        ValueError: an unknown block.
        FileNotFoundError: a metrics file that a block needs is not there.
    """

    def body(found: re.Match) -> str:
        name = found["name"]
        if name not in BLOCKS:
            raise ValueError(f"block {name!r} is unknown; use one of {', '.join(BLOCKS)}")
        write, needs = BLOCKS[name]
        folder = metrics.parent / "bench" / "results" if name in _BENCHMARKS else metrics / name if name in _PROFILES else metrics
        return found[1] + write({stage: _load(folder / f"{stage}.json") for stage in needs}) + found[4]

    return _BLOCK.sub(body, text)


def _load(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run `make repro`, or drop the block that needs it")
    return json.loads(path.read_text())


def main(
    files: Annotated[list[Path] | None, typer.Argument(help="Markdown files; README.md by default")] = None,
    metrics: Annotated[Path, typer.Option(help="folder of metrics files")] = Path("metrics"),
    check: Annotated[bool, typer.Option("--check", help="change nothing; fail where a block is stale")] = False,
) -> None:
    """Write the generated blocks of Markdown files from metrics files."""
    stale = []
    for path in files or [Path("README.md")]:
        try:
            old = path.read_text()
            new = fill(old, metrics)
        except (ValueError, FileNotFoundError) as error:
            typer.echo(f"{path}: {error}", err=True)
            raise typer.Exit(1) from None
        if new != old and check:
            stale.append(str(path))
        elif new != old:
            path.write_text(new)
    for target, source in COPIES.items():
        if not check and source.is_file():
            Path(target).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)
    if stale:
        typer.echo(f"stale numbers in {', '.join(stale)}; run `python -m boig.evaluation.readme {' '.join(stale)}`", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
