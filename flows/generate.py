"""`python -m flows.generate --account … --caption … --kpi high --n 4 --out DIR`: ask for pictures.

An answer takes seconds, so it runs in this process: no orchestrator, no cluster.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

MISTAKES = (ValueError, FileNotFoundError, NotADirectoryError, PermissionError)


def main(
    account: Annotated[str, typer.Option(help="user name of the posting account")],
    caption: Annotated[str, typer.Option(help="text of the post")],
    kpi: Annotated[str, typer.Option(help="low, medium, high, or an integer from 0 to 100")] = "high",
    n: Annotated[int, typer.Option(help="number of pictures")] = 4,
    out: Annotated[Path, typer.Option(help="folder for pictures and answer.json")] = Path("pictures"),
    time: Annotated[datetime | None, typer.Option(help="when it will be posted, UTC; now by default")] = None,
    industry: Annotated[str, typer.Option(help="of the account; looked up where the account is known")] = "",
    method: Annotated[str, typer.Option(help="boigsd, pft, kpi_guided, ddpo, base or boigllm_prompt; by default what fits the KPI")] = "",
    seed: Annotated[int, typer.Option(help="of the pictures", min=0)] = 0,
) -> None:
    """Describe and draw pictures for a post, and say what KPI to expect of each."""
    when = (time or datetime.now(UTC)).replace(tzinfo=UTC)
    try:
        _answer(account, caption, kpi, n, out, when, industry, method, seed)
    except MISTAKES as error:
        typer.echo(f"generate: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None


def _answer(account: str, caption: str, kpi: str, n: int, out: Path, when: datetime, industry: str, method: str, seed: int) -> None:
    from boig.params import load
    from boig.sections.evaluate import Evaluate
    from tasks import generate as tasks  # torch and diffusers: not for --help

    section = load("evaluate")
    assert isinstance(section, Evaluate)
    wanted = tasks.Wanted.of(kpi, section.wanted)
    brief = tasks.brief_of(account, industry, caption, when)
    chosen = method or tasks.default_method(wanted)
    answer = tasks.make(tasks.open_studio(section, chosen), brief, wanted, chosen, n, seed)
    path = tasks.write(answer, out)
    typer.echo(f"description: {answer.description.caption}")
    for i, offer in enumerate(answer.offers):
        expected = f"expected KPI {offer.kpi:.0f} ({offer.lo:.0f} to {offer.hi:.0f}), judge {offer.judge:.0f}"
        typer.echo(f"{out}/picture_{i + 1:02d}.png: {expected}; shows {offer.shown.caption}")
    typer.echo(f"{len(answer.offers)} pictures by {chosen} and {path}")


if __name__ == "__main__":
    typer.run(main)
