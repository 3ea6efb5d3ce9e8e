"""The containers: whatever compose.yaml and the Dockerfile name exists, is pinned, and fits together."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from duty.api import create_app, make_pool
from ingest.health import application
from schemas.settings import Settings
from tests.deployment import (
    COMPOSE_FILES,
    DEPLOY,
    ROOT,
    commands,
    compose,
    copied,
    health_command,
    instructions,
    make_secrets,
    mounts,
    read_yaml,
)

COMPOSE = compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PINNED = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+[a-z0-9.-]*")
ROOMS = ("schemas", "rules", "store", "ingest", "duty", "device_sims", "ops")
WITHOUT_LIMIT = {"timescaledb", "mosquitto", "migrate"}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Give what carebell reads in its container: the variables over the file that secrets.sh makes."""
    secrets = make_secrets(tmp_path)
    for name, value in SERVICES["carebell"]["environment"].items():
        monkeypatch.setenv(name, str(value))
    return Settings.load(secrets / "carebell.toml")


def test_compose_is_what_its_specification_allows() -> None:
    """Both files hold under the public schema of compose files."""
    files = map(str, COMPOSE_FILES)
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_image_is_pinned() -> None:
    """No image changes by itself; our own bears the version of the project."""
    images = [service["image"] for service in SERVICES.values()]
    images += [image.split(maxsplit=1)[0] for image in instructions("FROM")]
    assert [image for image in images if not PINNED.fullmatch(image)] == []
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert {image for image in images if image.startswith("carebell:")} == {f"carebell:{version}"}


def test_every_file_and_volume_is_there(tmp_path: Path) -> None:
    """A mount names a file of the repository, a secret or a volume; secrets are made, or the certificate."""
    made = {path.name for path in make_secrets(tmp_path).iterdir()}
    secrets = {name: secret["file"] for name, secret in COMPOSE["secrets"].items()}
    assert secrets == {name: f"secrets/{name}" for name in made | {"tls_certificate", "tls_key"}}
    used = [
        source for service in SERVICES.values() for source in mounts(service, COMPOSE["secrets"]).values()
    ]
    files = {source for source in used if source.startswith(".")}
    assert [source for source in files if not (DEPLOY / source).exists()] == []
    assert set(used) - files - set(secrets.values()) == set(COMPOSE["volumes"])
    assert set(secrets.values()) <= set(used)


def test_secrets_stay_out_of_the_repository() -> None:
    """Git ignores whatever secrets.sh makes."""
    done = subprocess.run(
        ["git", "check-ignore", "deploy/secrets/database_password", "deploy/secrets/carebell.toml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(done.stdout.splitlines()) == 2


def test_every_variable_is_a_setting(settings: Settings) -> None:
    """Each CAREBELL_ variable sets a key that there is, and arrives as it was meant."""
    known = settings.model_dump()
    for name, value in SERVICES["carebell"]["environment"].items():
        if name != "CAREBELL_CONFIG":
            section, key = name.removeprefix("CAREBELL_").lower().split("__")
            assert str(known[section][key]) == str(value)
    assert not re.search(
        r"password|://", str(SERVICES["carebell"]["environment"].values()).replace("broker_password", "")
    )
    assert SERVICES["migrate"]["environment"] == SERVICES["carebell"]["environment"]


def test_carebell_finds_its_neighbours(settings: Settings) -> None:
    """Broker, database, configuration and password are where the other services and the mounts put them."""
    inside = mounts(SERVICES["carebell"], COMPOSE["secrets"])
    assert settings.broker.host in SERVICES
    assert (
        f"listener {settings.broker.port}"
        in (DEPLOY / "mosquitto/mosquitto.conf").read_text("utf-8").splitlines()
    )
    assert "@timescaledb:5432/carebell" in settings.database.url
    assert {settings.broker.password_file, SERVICES["carebell"]["environment"]["CAREBELL_CONFIG"]} <= set(
        inside
    )
    assert inside[settings.history.disk] == "database"
    assert mounts(SERVICES["migrate"], COMPOSE["secrets"]).items() <= inside.items()


def test_only_tls_is_open_to_others(settings: Settings) -> None:
    """Every port is published on 127.0.0.1, except the TLS listener's, and is one that is listened on."""
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert [port for found in ports.values() for port in found if not port.startswith("127.0.0.1:")] == [
        "8883:8883"
    ]
    inner = {name: {port.rpartition(":")[2] for port in found} for name, found in ports.items()}
    listeners = "\n".join(
        (DEPLOY / "mosquitto" / name).read_text("utf-8") for name in ("mosquitto.conf", "tls.conf")
    )
    assert inner == {
        "carebell": {str(settings.duty.port)},
        "grafana": {"3000"},
        "mosquitto": set(re.findall(r"^listener (\d+)$", listeners, re.MULTILINE)),
        "prometheus": {"9090"},
    }


def test_every_service_is_looked_after() -> None:
    """Each starts again, has bounded logs and no rights to spare, and a health check unless it runs once."""
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name
        assert service["restart"] == ("on-failure:5" if name == "migrate" else "unless-stopped"), name
        assert ("mem_limit" in service) == (name not in WITHOUT_LIMIT), name
        assert "healthcheck" in service or name == "carebell", "carebell's stands in the Dockerfile"
    assert [name for name, service in SERVICES.items() if not service["read_only"]] == ["timescaledb"]


def test_who_waits_for_whom() -> None:
    """Nobody waits for the health of a service that has no check, nor for the end of one that stays."""
    for service in SERVICES.values():
        for name, wanted in service.get("depends_on", {}).items():
            assert (wanted["condition"] == "service_completed_successfully") == (name == "migrate")
            assert name == "migrate" or SERVICES[name]["healthcheck"]["test"]


def test_the_commands_exist() -> None:
    """What the containers run is a command of carebell; one of them writes."""
    run = {name: " ".join(service["command"]) for name, service in SERVICES.items() if "build" in service}
    assert run == {"migrate": "db migrate", "carebell": "serve"}
    assert set(run.values()) | {instructions("CMD")[0].strip('["]')} <= commands()
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    assert instructions("ENTRYPOINT") == ['["carebell"]']
    assert "carebell" in scripts


def test_the_health_command_asks_real_pages(settings: Settings) -> None:
    """It asks the bridge whether it does its work and the desk whether it has its database."""
    asked = set(re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", health_command()[-1]))
    assert asked == {(str(settings.metrics.port), "/readyz"), (str(settings.duty.port), "/healthz")}
    assert "/readyz" in {route.path for route in application(dict).routes if isinstance(route, Route)}
    assert "/healthz" in create_app(settings, make_pool(settings.database.url)).openapi()["paths"]


def test_the_image_gets_every_room_and_nothing_else() -> None:
    """What is copied exists, all rooms are copied, and the builder is sent that and nothing else."""
    assert set(copied()) == {"requirements.lock", "pyproject.toml", "README.md", *ROOMS}
    assert [name for name in copied() if not (ROOT / name).exists()] == []
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert [line for line in sent if not line.startswith("#")] == [
        "*",
        *(f"!{name}" for name in copied()),
        "**/__pycache__",
    ]


def test_the_image_installs_by_hash_and_runs_as_nobody() -> None:
    """Pip takes only what the lock names; the last stage runs under a user id that is not root's."""
    installs = [rest for rest in instructions("RUN") if "pip install" in rest]
    assert len(installs) == 2
    assert "--require-hashes -r requirements.lock" in installs[0]
    assert "--no-deps --no-build-isolation" in installs[1]
    (user,) = instructions("USER")
    assert int(user.split(":")[0]) > 1000


def test_prometheus_scrapes_the_bridge_where_it_listens(settings: Settings) -> None:
    """The target is the service carebell at the port of its metrics; the file named is mounted."""
    scrapes = read_yaml(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"]
    targets = {each["job_name"]: each["static_configs"][0]["targets"] for each in scrapes}
    assert targets == {"carebell": [f"carebell:{settings.metrics.port}"]}
    assert mounts(SERVICES["prometheus"], {})["/etc/prometheus"] == "./prometheus"
    assert "--config.file=/etc/prometheus/prometheus.yml" in SERVICES["prometheus"]["command"]


def test_grafana_gets_what_its_provisioning_asks() -> None:
    """Every variable is set, the password's file and the boards are mounted, the addresses are right."""
    grafana = SERVICES["grafana"]
    inside = mounts(grafana, COMPOSE["secrets"])
    text = "".join(path.read_text("utf-8") for path in (ROOT / "grafana/provisioning").rglob("*.yaml"))
    asked = set(re.findall(r"\$\{(\w+)\}", text))
    assert asked == {name for name in grafana["environment"] if name.startswith("GRAFANA_")}
    assert set(re.findall(r"\$__file\{(.*?)\}", text)) <= set(inside)
    assert set(re.findall(r"path: (/\S+)", text)) <= set(inside)
    assert grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"] in inside
    assert grafana["environment"]["GRAFANA_DATABASE_HOST"] == "timescaledb:5432"
    assert grafana["environment"]["GRAFANA_PROMETHEUS_URL"] == "http://prometheus:9090"
