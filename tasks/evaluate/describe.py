"""What BoigLLM wants to see: a Ray worker, and what its descriptions would bring if they came true."""

from pathlib import Path

from boig.brief import Brief
from boig.language.describe import describe
from boig.language.model import load


class Describer:
    """Rows {brief, bucket, kpi} gain `text`, the canonical JSON of the described picture."""

    def __init__(self, model: str, device: str, dtype: str, batch_size: int) -> None:
        """Load BoigLLM from its folder.

        Raises:
            FileNotFoundError: it is not there.
        """
        if not Path(model).is_dir():
            raise FileNotFoundError(f"{model} is missing; run `dvc repro train_boigllm`")
        self._model, self._tokenizer = load(model, dtype=dtype, device=device)
        self._batch_size = batch_size

    def __call__(self, rows: list[dict]) -> list[dict]:
        briefs: list[Brief] = [row["brief"] for row in rows]
        buckets, kpis = [row["bucket"] for row in rows], [row["kpi"] for row in rows]
        shown = describe(self._model, self._tokenizer, briefs, buckets, kpis, batch_size=self._batch_size)
        return [row | {"text": one.to_json()} for row, one in zip(rows, shown, strict=True)]
