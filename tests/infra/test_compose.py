"""The compose file, checked without docker: its shape, its guarantees, what `init` makes for it, and its S3 server for real."""

import re
import subprocess
from pathlib import Path

import pytest

from infra.compose import enter, init
from infra.compose.backup import DATABASES
from infra.stack import keys as stack_keys
from infra.stack import services, settings, weed
from tests.infra.compose_file import COMPOSE, FOLDER, GIVEN, OURS, ROOT, SERVICES, TEXT, keys_of, read_env, sources

CADDY = (FOLDER / "Caddyfile").read_text()
ONE_SHOT = {"prepare"}
PUBLISHED = {"mlflow": 5000, "prefect": 4200, "s3": 8333}


class TestFile:
    def test_what_a_service_names_is_declared(self) -> None:
        for name, service in SERVICES.items():
            assert set(service.networks) <= set(COMPOSE.networks), name
            assert set(service.depends_on) <= set(SERVICES), name
            assert sources(service) <= set(COMPOSE.secrets), name
            for volume in service.volumes:
                source = volume.split(":")[0]
                assert source in COMPOSE.volumes or (FOLDER / source).is_file(), f"{name}: {volume}"

    def test_what_is_declared_is_used(self) -> None:
        assert set(COMPOSE.secrets) == {name for service in SERVICES.values() for name in sources(service)}
        mounted = {volume.split(":")[0] for service in SERVICES.values() for volume in service.volumes}
        assert set(COMPOSE.volumes) == {name for name in mounted if not name.startswith(".")}

    def test_the_proxy_alone_has_ports(self) -> None:
        assert {name: service.ports for name, service in SERVICES.items() if service.ports} == {"proxy": ["80:8080", "443:8443"]}

    def test_servers_have_no_way_out(self) -> None:
        assert COMPOSE.networks["inner"].internal
        assert {name for name, service in SERVICES.items() if "outer" in service.networks} == {"proxy", "worker"}

    @pytest.mark.parametrize("name", sorted(SERVICES))
    def test_images_are_pinned(self, name: str) -> None:
        image, _, tag = SERVICES[name].image.partition(":")
        if image == "boig":
            assert tag.startswith("${BOIG_TAG:?")
            assert SERVICES[name].pull_policy == "never"
        else:
            assert re.fullmatch(r"\d+(\.\d+)+-[a-z]+", tag), tag

    @pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
    def test_a_server_is_watched_and_restarted(self, name: str) -> None:
        assert SERVICES[name].healthcheck
        assert SERVICES[name].restart == "unless-stopped"

    @pytest.mark.parametrize("name", sorted(ONE_SHOT))
    def test_what_ends_by_itself_is_waited_for(self, name: str) -> None:
        """Else `up --wait` takes its end for a failure."""
        conditions = [service.depends_on[name].condition for service in SERVICES.values() if name in service.depends_on]
        assert "service_completed_successfully" in conditions
        assert SERVICES[name].restart == "no"

    def test_the_worker_writes_only_where_it_can(self) -> None:
        """DVC keeps what it knows of files in /var/tmp, unless it is told otherwise."""
        places = [volume.split(":")[1] for volume in SERVICES["worker"].volumes]
        told = {name: SERVICES["worker"].environment[name] for name in ("HOME", "PREFECT_HOME", "DVC_SITE_CACHE_DIR")}
        assert all(any(Path(path).is_relative_to(place) for place in places) for path in told.values()), told

    def test_the_workers_user_has_a_name(self) -> None:
        """It runs as whoever called `init`, a number that the image need not know."""
        assert SERVICES["worker"].environment["USER"]

    def test_health_is_asked_where_the_server_listens(self) -> None:
        ours = {name: SERVICES[name].healthcheck.test[-1] for name in OURS if SERVICES[name].healthcheck}
        ports = {name: re.search(r":(\d+)/", address).group(1) for name, address in ours.items()}
        assert {name: int(ports[name]) for name in PUBLISHED} == PUBLISHED
        assert ports["worker"] == SERVICES["worker"].environment["PREFECT_WORKER_WEBSERVER_PORT"]
        assert all(SERVICES[name].healthcheck.test[:4] == ["CMD", "python", "-m", "infra.stack.health"] for name in ours)

    @pytest.mark.parametrize("name", OURS)
    def test_modules_that_a_service_starts_exist(self, name: str) -> None:
        words = [*SERVICES[name].entrypoint, *SERVICES[name].command]
        for module in re.findall(r"-m (infra[\w.]*)", " ".join(words)):
            assert (ROOT / (module.replace(".", "/") + ".py")).is_file()

    def test_folders_that_volumes_hide_are_open_in_the_image(self) -> None:
        """A new volume takes the mode of the image's folder; our user's number is not known when the image is built."""
        dockerfile = ROOT / SERVICES["s3"].build.dockerfile
        if not dockerfile.is_file():
            pytest.skip("no Dockerfile yet")
        opened = " ".join(re.findall(r"install [^\n]*--mode[= ]1777([^\n]*)", dockerfile.read_text())).split()
        wanted = {volume.split(":")[1] for name in OURS for volume in SERVICES[name].volumes} - {"/tmp"}
        assert wanted <= set(opened), "the Dockerfile wants: install --directory --mode 1777 " + " ".join(sorted(wanted))


class TestSecrets:
    def test_none_is_in_the_file(self, made: Path) -> None:
        for service in SERVICES.values():
            for key, value in service.environment.items():
                if re.search(r"PASSWORD|SECRET|TOKEN|AUTH_STRING|ACCESS_KEY", key):
                    assert value.startswith("/run/secrets/"), key
                assert not re.search(r"://[^/\s]*:[^/\s]*@", value), f"{key} has a password in its address"
        known = long_words(init.files(*keys_of(made))) - long_words(init.files(stack_keys.made(), init._made()))  # less names of settings
        assert len(known) > 10
        assert not [value for value in known if value in TEXT + CADDY]

    def test_each_variable_is_made_by_init(self, made: Path) -> None:
        asked = set(re.findall(r"\$\{(\w+)", TEXT))
        assert asked == set(read_env(made / ".env"))
        assert set(re.findall(r"\{\$(\w+)", CADDY)) <= set(SERVICES["proxy"].environment)

    def test_each_file_is_made_by_init_for_its_owner_alone(self, made: Path) -> None:
        for secret in COMPOSE.secrets.values():
            path = made / secret.file
            assert path.is_file(), path
        for path in [made / ".env", *(path for path in (made / "secrets").rglob("*") if path.is_file())]:
            assert path.stat().st_mode & 0o777 == 0o600, path
            assert path.stat().st_size

    def test_what_init_makes_is_not_committed(self) -> None:
        asked = ["infra/compose/.env", "infra/compose/secrets/keys.json", "infra/compose/secrets/tls/key.pem"]
        done = subprocess.run(["git", "check-ignore", *asked], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stdout.split() == asked

    def test_a_service_sees_its_own_alone(self) -> None:
        seen = {name: sorted(sources(service)) for name, service in SERVICES.items()}
        assert seen == {
            "proxy": [],
            "postgres": ["postgres", "roles"],
            "s3": ["ca", "certificate", "identities", "key", "weed"],
            "mlflow": ["auth", "mlflow"],
            "prefect": ["prefect"],
            "prepare": ["prepare"],
            "worker": ["worker"],
        }


def long_words(files: dict[str, str]) -> set[str]:
    return set(re.findall(r"[\w-]{20,}", " ".join(files.values())))


class TestInit:
    def test_again_changes_nothing(self, tmp_path: Path) -> None:
        init.ensure(tmp_path, GIVEN)
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        init.ensure(tmp_path, {})
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    def test_settings_are_changed_and_keys_are_not(self, tmp_path: Path) -> None:
        init.ensure(tmp_path, GIVEN)
        before = keys_of(tmp_path)
        (tmp_path / ".env").write_text((tmp_path / ".env").read_text().replace("BOIG_WORKER_MEMORY=8g", "BOIG_WORKER_MEMORY=64g"))
        init.ensure(tmp_path, {"BOIG_TAG": "next"})
        env = read_env(tmp_path / ".env")
        assert (env["BOIG_TAG"], env["BOIG_DOMAIN"], env["BOIG_WORKER_MEMORY"]) == ("next", "example.org", "64g")
        assert keys_of(tmp_path) == before

    @pytest.mark.parametrize(
        ("given", "told"),
        [({"BOIG_DOMAIN": ""}, "--domain"), ({"BOIG_DOMAIN": "http://x.org"}, "--domain"), ({"BOIG_EMAIL": "me"}, "--email"),
         ({"BOIG_TAG": "latest"}, "--tag")],
    )  # fmt: skip
    def test_what_is_missing_or_wrong_is_told(self, given: dict, told: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=told):
            init.ensure(tmp_path, GIVEN | given)
        assert not list(tmp_path.iterdir())

    def test_a_rotation_replaces_what_is_named(self, tmp_path: Path) -> None:
        init.ensure(tmp_path, GIVEN)
        keys, passwords = keys_of(tmp_path)
        init.ensure(tmp_path, {}, ["prefect", "mlflow_password", "pipeline"])
        new_keys, new_passwords = keys_of(tmp_path)
        changed = {name for name in type(keys).model_fields if getattr(keys, name) != getattr(new_keys, name)}
        assert changed == {"prefect", "mlflow_password"}
        assert new_passwords.mlflow_before == keys.mlflow_password
        assert new_passwords.pipeline != passwords.pipeline
        assert new_passwords.postgres == passwords.postgres
        assert new_keys.prefect in (tmp_path / "secrets" / "worker").read_text()
        with pytest.raises(ValueError, match="no such key; there are"):
            init.ensure(tmp_path, {}, ["nothing"])

    def test_nothing_secret_is_printed(self, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(init, "FOLDER", tmp_path)
        init.main("example.org", "ops@example.org", "abc1234", ["ray"])
        keys, passwords = keys_of(tmp_path)
        told = capsys.readouterr()
        values = [*passwords.model_dump().values(), keys.ray, keys.prefect, keys.mlflow_password, *(pair[1] for pair in keys.s3.values())]
        assert told.out.startswith("init: ")
        assert not [value for value in values if value and value in told.out + told.err]
        assert "Passwords(…)" in repr(passwords)

    def test_databases_have_owners_with_passwords(self, made: Path) -> None:
        _, passwords = keys_of(made)
        sql = (made / "secrets" / "roles.sql").read_text()
        for database, owner in DATABASES.items():
            assert f"CREATE DATABASE {database} OWNER {owner}'" in sql
            assert f"REVOKE ALL ON DATABASE {database} FROM PUBLIC;" in sql
            assert f"ALTER ROLE {owner} PASSWORD '{getattr(passwords, owner + '_db')}';" in sql
        assert f"PGPASSWORD={passwords.mlflow_db}\n" in (made / "secrets" / "mlflow").read_text()
        assert f"PGPASSWORD={passwords.prefect_db}\n" in (made / "secrets" / "prefect").read_text()


def test_enter_adds_secrets_and_drops_what_is_empty(tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("A=x=y\nB=2\n")
    assert enter.environment({"B": "1", "RAY_ADDRESS": ""}, tmp_path / "environment") == {"A": "x=y", "B": "2"}
    assert enter.environment({"B": "1"}, tmp_path / "none") == {"B": "1"}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[settings.Stack, dict[str, services.Service]]:
    """The local stack and its parts."""
    stack = settings.load(settings.DEFAULT)
    return stack, services.services(stack, stack_keys.ensure(tmp_path_factory.mktemp("local")))


class TestSameAsTheLocalStack:
    """Every setting that the local stack's servers have, they have here; where it is no address or file, with the same value."""

    ELSEWHERE = re.compile(r"127\.0\.0\.1|localhost|^sqlite:|^/")

    @pytest.mark.parametrize("name", ["mlflow", "prefect", "worker"])
    def test_settings(self, name: str, local: tuple, made: Path) -> None:
        secret = dict(line.split("=", 1) for line in (made / "secrets" / name).read_text().splitlines())
        here = SERVICES[name].environment | secret
        there = local[1][name].env
        not_here = {"RAY_ADDRESS", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}  # each run has its own Ray
        not_here |= {"DVC_SYSTEM_CONFIG_DIR"}  # `infra.remote` tells each checkout
        assert set(there) - set(here) <= not_here
        same = {key for key, value in there.items() if key in here and key not in secret and not self.ELSEWHERE.search(value)}
        assert len(same) >= 4
        assert {key: here[key] for key in same} == {key: there[key] for key in same}
        assert not set(secret) & set(SERVICES[name].environment)

    def test_commands(self, local: tuple) -> None:
        for name in ("mlflow", "prefect"):
            there = [word for word in local[1][name].command[1:] if not word.startswith(("--host", "--port"))]
            here = [word for word in SERVICES[name].command[1:] if not word.startswith(("--host", "--port"))]
            assert here == there
        assert f"--pool={local[0].work_pool}" in SERVICES["worker"].command
        assert "--type=process" in SERVICES["worker"].command

    def test_s3(self, local: tuple, made: Path) -> None:
        stack, _ = local
        keys, _ = keys_of(made)
        assert {*weed.program()[1:], *weed.OPTIONS} <= set(SERVICES["s3"].command)
        services.prepare(stack.model_copy(update={"folder": made}), keys)
        for ours, theirs in (("s3.json", "weed/s3.json"), ("security.toml", "weed/security.toml"), ("auth.ini", "mlflow/auth.ini")):
            there = (made / theirs).read_text().replace(str(made / "tls"), "/run/secrets")
            there = re.sub(r"(?<=database_uri = )\S+", "postgresql+psycopg2://mlflow@postgres/mlflow_auth", there)
            assert (made / "secrets" / ours).read_text() == there

    def test_mlflow_answers_to_its_own_name_and_to_its_own_pages_alone(self) -> None:
        env = SERVICES["mlflow"].environment
        assert env["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "https://mlflow.${BOIG_DOMAIN}"
        assert "*" not in env["MLFLOW_SERVER_ALLOWED_HOSTS"]
        assert SERVICES["prefect"].environment["PREFECT_UI_API_URL"] == "https://prefect.${BOIG_DOMAIN}/api"


class TestCaddyfile:
    def test_it_leads_to_what_is_published(self) -> None:
        routes = dict(re.findall(r"^(\w+)\.\{\$BOIG_DOMAIN\} \{.*?reverse_proxy (\S+)\n\}", CADDY, re.M | re.S))
        assert routes == {name: f"{name}:{port}" for name, port in PUBLISHED.items()}

    def test_its_ports_are_those_that_compose_publishes(self) -> None:
        inside = [port.split(":")[1] for port in SERVICES["proxy"].ports]
        assert re.findall(r"http_port (\d+)|https_port (\d+)", CADDY) == [(inside[0], ""), ("", inside[1])]

    def test_nothing_is_served_without_tls_but_the_health_check(self) -> None:
        sites = re.findall(r"^(\S+) \{$", CADDY, re.M)
        plain = [site for site in sites if site.startswith("http://")]
        assert plain == ["http://127.0.0.1:8081"]
        assert SERVICES["proxy"].healthcheck.test[-1] == f"{plain[0]}/"
        assert not re.search(r"auto_https|tls internal|skip_verify", CADDY)
        assert "admin off" in CADDY
