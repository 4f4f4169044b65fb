"""What the tests of `flows.on_ray` send to Ray: importable there by name."""

import os
import time


class Doubler:
    """Doubles `number`; refuses a negative factor when made, and a negative number when called."""

    def __init__(self, factor: int):
        if factor < 0:
            raise ValueError(f"factor is {factor}, must not be negative")
        self.factor = factor

    def __call__(self, rows: list[dict]) -> list[dict]:
        if any(row["number"] < 0 for row in rows):
            raise ValueError("a negative number")
        return [{**row, "product": row["number"] * self.factor, "together": len(rows), "cwd": os.getcwd()} for row in rows]


class Sleeper:
    """Takes `seconds` for a batch."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def __call__(self, rows: list[dict]) -> list[dict]:
        time.sleep(self.seconds)
        return rows


class Busy:
    """Keeps a core busy for `seconds` with a batch."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def __call__(self, rows: list[dict]) -> list[dict]:
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            pass
        return rows


class Mortal:
    """Dies of `number`: once, which it marks by a file, or each time where there is no mark."""

    def __init__(self, number: int, mark: str | None):
        self.number, self.mark = number, mark

    def __call__(self, rows: list[dict]) -> list[dict]:
        if any(row["number"] == self.number for row in rows) and not (self.mark and os.path.exists(self.mark)):
            if self.mark:
                open(self.mark, "w").close()
            os._exit(1)
        return rows


class Talker:
    """Prints before it answers."""

    def __call__(self, rows: list[dict]) -> list[dict]:
        print("last words", flush=True)
        return rows


class Counting:
    """A stand-in reporter that survives pickling."""

    def curve(self, step: int, **values: float) -> None:
        assert values


def rank(config: dict) -> dict:
    """What a rank of a training sees."""
    import torch.distributed as distributed

    if config["fail"]:
        raise ValueError("the loss is not finite")
    config["report"].curve(0, loss=1.0)
    return {"ranks": distributed.get_world_size() if distributed.is_initialized() else 1}


def rank_that_ends_its_controller(_: dict) -> None:
    """The raylet has started both."""
    import psutil

    (controller,) = [one for one in psutil.Process().parent().children() if one.name().startswith("ray::TrainCont")]
    controller.kill()
    time.sleep(600)


def rank_that_fails(config: dict) -> dict:
    """Rank 0 waits in a collective for the last one, which writes a line to `log` and raises, or dies as often as `deaths` says."""
    import torch
    import torch.distributed as distributed

    if distributed.get_rank() == distributed.get_world_size() - 1:
        with open(config["log"], "a") as log:
            log.write("begun\n")
        with open(config["log"]) as log:
            begun = len(log.readlines())
        if not config["deaths"]:
            raise ValueError("the loss is not finite")
        if begun <= config["deaths"]:
            os._exit(1)
    distributed.all_reduce(torch.zeros(1))
    return {"begun": sum(1 for _ in open(config["log"]))}
