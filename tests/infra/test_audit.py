"""What pip-audit says is read and judged. The answers have the shape of pip-audit's own."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from infra.supply import accepted, audit

SmallLock = Callable[..., Path]

OLD = {
    "dependencies": [
        {"name": "six", "version": "1.17.0", "vulns": []},
        {
            "name": "jinja2",
            "version": "2.10",
            "vulns": [{"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"], "aliases": ["CVE-2019-10906"], "description": "…"}],
        },
    ],
    "fixes": [],
}


def entry(id_: str) -> accepted.Vulnerability:
    return accepted.Vulnerability(id=id_, package="jinja2", reason="no templates of strangers", date="2026-01-31")


def test_a_finding_says_what_to_do():
    (line,) = audit.objections(audit.findings(OLD), [])
    assert line == "jinja2 2.10: PYSEC-2019-217 = CVE-2019-10906, not in 2.10.1; make lock UPGRADE=jinja2"


@pytest.mark.parametrize("id_", ["PYSEC-2019-217", "CVE-2019-10906"])
def test_a_finding_is_accepted_by_any_of_its_names(id_: str):
    assert audit.objections(audit.findings(OLD), [entry(id_)]) == []


def test_an_acceptance_of_nothing_has_to_go():
    lines = audit.objections(audit.findings(OLD), [entry("PYSEC-2019-217"), entry("CVE-1999-1")])
    assert len(lines) == 1
    assert "CVE-1999-1" in lines[0]


@pytest.mark.parametrize("packages", [[], [*OLD["dependencies"], {"name": "ours", "skip_reason": "Dependency not found on PyPI"}]])
def test_no_answer_is_not_a_good_answer(packages: list[dict]):
    with pytest.raises(ConnectionError, match=f"of {len(packages)} packages"):
        audit.findings({"dependencies": packages})


@pytest.mark.parametrize("left_out", ["id", "package", "reason", "date"])
def test_an_acceptance_is_whole(left_out: str, tmp_path: Path):
    told = {key: value for key, value in entry("CVE-1999-1").model_dump(mode="json").items() if key != left_out}
    (tmp_path / "accepted.yaml").write_text(yaml.safe_dump({"vulnerabilities": [told], "licenses": [], "weights": []}))
    with pytest.raises(ValueError, match=left_out):
        accepted.load(tmp_path / "accepted.yaml")


@pytest.fixture
def service() -> Iterator[str]:
    """A vulnerability service that knows of one: it speaks as OSV does."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            package = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
            ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2"}]}]
            affected = [{"package": {"name": package, "ecosystem": "PyPI"}, "ranges": ranges, "versions": ["1.17.0"]}]
            known = {"id": "PYSEC-1-1", "aliases": ["CVE-1-1"], "summary": "…", "published": "2026-01-31T00:00:00Z", "affected": affected}
            text = json.dumps({"vulns": [known]} if package == "six" else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


@pytest.mark.slow
def test_pip_audit_is_asked_and_understood(service: str, tools: Path, small_lock: SmallLock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit, "PIP_AUDIT", tools / "pip-audit")
    monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", service)
    assert audit.ask(small_lock("six", "idna")) == [audit.Finding("six", "1.17.0", ("PYSEC-1-1", "CVE-1-1"), ("2",))]
    assert audit.ask(small_lock("idna")) == []
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", "http://127.0.0.1:9/v1/query")
    with pytest.raises(ConnectionError, match="no answer"):
        audit.ask(small_lock("idna"))
