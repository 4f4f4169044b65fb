"""docs/production.md: what it names is there."""

import re
from pathlib import Path

from infra.compose import init
from tests.infra.compose_file import COMPOSE, ROOT, SERVICES, fresh, read_env


class TestGuide:
    """docs/production.md names what there is."""

    TEXT = (ROOT / "docs" / "production.md").read_text()

    def test_files(self) -> None:
        made = {"infra/compose/.env", "infra/compose/secrets", *(f"infra/compose/secrets/{name}" for name in init.files(*fresh()))}
        made |= {f"infra/compose/secrets/{name}" for name in ("keys.json", "passwords.json")}
        built = {str(Path(SERVICES["s3"].build.dockerfile))}  # of the image, which has its own tests
        named = set(re.findall(r"\b(?:infra|tests|docs|metrics)/[\w./-]*\w", self.TEXT))
        assert {"infra/compose/compose.yaml", "infra/compose/Caddyfile"} <= named
        assert not [path for path in named if path not in made | built and not (ROOT / path).exists()]

    def test_modules(self) -> None:
        named = set(re.findall(r"python3? -m ((?:infra|flows)[\w.]*)", self.TEXT))
        assert {"infra.compose.init", "infra.compose.backup", "infra.compose.enter"} <= named
        for module in named:
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), module

    def test_services(self) -> None:
        commands = re.findall(r"dc (?:exec|run|restart|logs|stop|up|top)\b([^\n`]*)", self.TEXT)
        words = {word for command in commands for word in re.sub(r"--?\w[\w-]*(?: (?:/|30m)\S*)?", "", command).split()[:1]}
        assert len(words) >= 6
        assert words <= set(SERVICES) | {"SERVICE"}

    def test_settings_and_keys(self, made: Path) -> None:
        assert set(re.findall(r"BOIG_[A-Z0-9_]+", self.TEXT)) <= set(read_env(made / ".env")) | set(SERVICES["worker"].environment)
        rotation = self.TEXT.split("**Rotation**")[1].split("Runbook")[0]
        names = set(re.findall(r"`([a-z0-9_]+)`", rotation.split("Names:")[1].split("\n")[0])) | set(
            re.findall(r"--rotate (\w+)", rotation)
        )
        keys, passwords = fresh()
        assert names == {*type(keys).model_fields, *type(passwords).model_fields} - {"mlflow_user", "mlflow_before"}
        assert set(re.findall(r"^\| `(\w+)` \| ", self.TEXT, re.M)) == set(keys.s3)

    def test_the_server_is_addressed_as_it_is(self) -> None:
        urls = set(re.findall(r"postgresql\+\S+?(?=[\s`])", self.TEXT))
        assert urls == {SERVICES["mlflow"].environment["_MLFLOW_SERVER_FILE_STORE"]}
        assert f"docker volume rm {COMPOSE.name}_database" in self.TEXT
        target = next(m.target for m in SERVICES["postgres"].secrets if not isinstance(m, str))
        assert f"--file={target}" in self.TEXT
