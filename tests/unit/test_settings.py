"""Settings: the sample is the reference, the environment wins, a wrong one is named before all starts."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from schemas.errors import UsageError
from schemas.settings import SAMPLE, Settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep this machine's settings out."""
    for name in [name for name in os.environ if name.upper().startswith("CAREBELL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def load(text: str | bytes) -> Settings:
    """Load `carebell.toml` with this text."""
    path = Path("carebell.toml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Settings.load(path)


def refusal(text: str | bytes) -> str:
    """Return why settings are refused."""
    with pytest.raises(UsageError) as refused:
        load(text)
    return str(refused.value)


def test_the_sample_names_every_key_with_its_default() -> None:
    """Loading it is loading nothing, and no key is missing from it."""
    assert Settings.load(SAMPLE).model_dump() == Settings.load(None).model_dump()
    written = tomllib.loads(SAMPLE.read_text("utf-8"))
    assert written == Settings.load(None).model_dump(mode="json")


def test_without_a_file_the_defaults_hold() -> None:
    """Listeners are bound to this machine."""
    settings = Settings.load(None)
    assert {settings.broker.host, settings.metrics.host, settings.duty.host} == {"127.0.0.1"}
    assert settings.clock.clock().is_real


def test_a_file_in_the_directory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """`carebell.toml` here, unless CAREBELL_CONFIG or an argument names another one."""
    for number, name in enumerate(["carebell.toml", "other.toml", "third.toml"], 1):
        Path(name).write_text(f"[broker]\nport = {number}\n")
    assert Settings.load(None).broker.port == 1
    monkeypatch.setenv("CAREBELL_CONFIG", "other.toml")
    assert Settings.load(None).broker.port == 2
    assert Settings.load(Path("third.toml")).broker.port == 3


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key can be set by it; the others of the section stay as the file says."""
    monkeypatch.setenv("CAREBELL_BROKER__PORT", "8883")
    monkeypatch.setenv("CAREBELL_CLOCK__SPEED", "60")
    monkeypatch.setenv("CAREBELL_DUTY__TOKENS__WANG", "0" * 64)
    settings = load('[broker]\nport = 1884\nhost = "broker"\n')
    assert (settings.broker.port, settings.broker.host) == (8883, "broker")
    assert settings.clock.speed == 60.0
    assert settings.duty.tokens == {"wang": "0" * 64}


@pytest.mark.parametrize(
    ("text", "key", "shown", "allowed"),
    [
        ("[broker]\nport = 0", "broker.port", "0", "greater than or equal to 1"),
        ("[broker]\nport = 65536", "broker.port", "65536", "less than or equal to 65535"),
        ('[broker]\nport = "mqtt"', "broker.port", "'mqtt'", "valid integer"),
        ('[broker]\nclient_id = "家"', "broker.client_id", "'家'", "match pattern"),
        ('[broker]\ntls = "perhaps"', "broker.tls", "'perhaps'", "valid boolean"),
        ("[broker]\nkeep_alive = 4", "broker.keep_alive", "4", "greater than or equal to 5"),
        ("[broker]\nhost = 5", "broker.host", "5", "valid string"),
        ("broker = 5", "broker", "5", "valid dictionary"),
        (
            '[ingest]\nunknown_devices = "drop"',
            "ingest.unknown_devices",
            "'drop'",
            "'register' or 'dead_letter'",
        ),
        ("[ingest]\nmax_registered = -1", "ingest.max_registered", "-1", "greater than or equal to 0"),
        ("[ingest]\nbatch_rows = 0", "ingest.batch_rows", "0", "greater than or equal to 1"),
        (
            "[ingest]\nurgent_in_flight = 65536",
            "ingest.urgent_in_flight",
            "65536",
            "less than or equal to 32000",
        ),
        ("[ingest]\nmax_payload = 10", "ingest.max_payload", "10", "greater than or equal to 1024"),
        ("[ingest]\ncheckpoint_every = 0", "ingest.checkpoint_every", "0", "greater than 0"),
        ("[ingest]\ncheckpoint_every = nan", "ingest.checkpoint_every", "nan", "finite number"),
        ("[ingest]\nbatch_rows = 1.5", "ingest.batch_rows", "1.5", "valid integer"),
        ("[clock]\nspeed = 0", "clock.speed", "0", "greater than 0"),
        ("[clock]\norigin = inf", "clock.origin", "inf", "finite number"),
        ("[metrics]\nport = 70000", "metrics.port", "70000", "less than or equal to 65535"),
    ],
)
def test_a_wrong_setting_names_file_key_value_and_what_is_allowed(
    text: str, key: str, shown: str, allowed: str
) -> None:
    """One sentence says all that is needed to put it right."""
    said = refusal(text)
    assert said.startswith(f"carebell.toml: {key} = {shown}: ")
    assert allowed in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "key"),
    [("[broker]\nprot = 1", "broker.prot"), ("[brokr]\nport = 1", "brokr"), ("port = 1", "port")],
)
def test_an_unknown_key_is_an_error(text: str, key: str) -> None:
    """A slip of the pen is named and never passed over."""
    assert refusal(text).startswith(f"carebell.toml: {key}: no such key; `carebell config sample`")


def test_every_fault_is_named_at_once() -> None:
    """Who made two mistakes reads of both, a line each."""
    lines = refusal("[broker]\nport = 0\nprot = 1\n[ingest]\nbatch_rows = 0").splitlines()
    keys = [re.split(r" = |: ", line)[1] for line in lines]
    assert sorted(keys) == ["broker.port", "broker.prot", "ingest.batch_rows"]


def test_a_fault_of_the_environment_is_not_blamed_on_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that the value came from there; what is no value at all is a usage error, too."""
    monkeypatch.setenv("carebell_broker__port", "mqtt")
    monkeypatch.setenv("CAREBELL_BROKER__PROT", "1")
    lines = refusal("").splitlines()
    assert sorted(line.split(" = ")[0].split(": no")[0] for line in lines) == [
        "environment: broker.port",
        "environment: broker.prot",
    ]
    monkeypatch.setenv("CAREBELL_BROKER", "{half of it")
    assert refusal("").startswith("environment: ")


@pytest.mark.parametrize(
    "text",
    [
        '[broker]\npassword = ["hunter2"]',
        '[broker]\npassword = { x = "hunter2" }',
        '[broker]\npassword_file = ["hunter2"]',
        '[[broker]]\npassword = "hunter2"',
        '[database]\nurl = ["postgresql://carebell:hunter2@db/carebell"]',
        '[duty.tokens]\nalice = "hunter2"',
        '[duty]\ntokens = "hunter2"',
        '[announce]\nwebhook = "ftp://hooks/hunter2"',
        '[announce]\nwebhook = "https://hooks:99999/hunter2"',
        '[announce]\nwebhook = "https://[::hooks/hunter2"',
    ],
)
def test_no_refusal_shows_a_secret(text: str) -> None:
    """Passwords, tokens and URLs stay out of what is printed and logged."""
    said = refusal(text)
    assert "hunter2" not in said
    assert "***" in said


def test_settings_do_not_show_their_secrets() -> None:
    """Nor does a log line that prints them."""
    settings = load(
        '[broker]\npassword = "hunter2"\n[database]\nurl = "postgresql://carebell:hunter2@db/carebell"\n'
        '[announce]\nwebhook = "https://hooks.example/hunter2"'
    )
    assert settings.broker.secret() == "hunter2"
    assert settings.announce.webhook == "https://hooks.example/hunter2"
    assert "hunter2" not in repr(settings) + str(settings)


def test_a_password_may_stand_in_a_file() -> None:
    """The file wins, without its line end."""
    Path("secret").write_text("hunter2\n")
    assert load('[broker]\npassword = "x"\npassword_file = "secret"').broker.secret() == "hunter2"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[broker", "not TOML: "),
        (b"\xff\xfe", "cannot be read: "),
        ("# 规则".encode("gbk"), "cannot be read: "),
    ],
)
def test_a_file_that_is_no_toml_is_named(text: str | bytes, sentence: str) -> None:
    """Broken files are refused in one sentence."""
    assert refusal(text).startswith(f"carebell.toml: {sentence}")


def test_a_missing_file_tells_how_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names a file that is not there learns how to get one."""
    with pytest.raises(UsageError, match=r"^none.toml: no such file; `carebell config sample > none.toml`"):
        Settings.load(Path("none.toml"))
    monkeypatch.setenv("CAREBELL_CONFIG", "none.toml")
    with pytest.raises(UsageError, match=r"^none.toml: no such file"):
        Settings.load(None)
