"""Code deps are rewritten; data deps and comments stay."""

from pathlib import Path

from infra.dvc_deps import rewrite

DAG = """# why
stages:
  ingest:
    cmd: python -m flows.ingest
    deps:
      - ${ingest.feed} # data
      - boig/gone.py
    outs:
      - data/posts
"""


def test_rewrite_is_exact_and_idempotent(tmp_path: Path):
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "ingest.py").write_text("import flows.other\n")
    (tmp_path / "flows" / "other.py").write_text("")
    (tmp_path / "dvc.yaml").write_text(DAG)
    assert rewrite(tmp_path) == ["ingest"]
    text = (tmp_path / "dvc.yaml").read_text()
    assert "# why" in text
    assert "- ${ingest.feed}" in text
    assert "      - flows/ingest.py\n      - flows/other.py\n" in text
    assert "gone" not in text
    assert rewrite(tmp_path) == []
    assert (tmp_path / "dvc.yaml").read_text() == text
