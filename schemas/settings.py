"""The one configuration: `carebell.toml`, overridden by the environment (`CAREBELL_BROKER__PORT=8883`).

`sample.toml` beside this file is the reference: it names every key with its default. Unknown keys are errors.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from schemas.clock import Clock
from schemas.errors import UsageError

SAMPLE = Path(__file__).with_name("sample.toml")

_SECRET = ("password", "tokens", "url", "webhook")

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Days = Annotated[int, Field(ge=40, le=36_500)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BrokerSettings(_Section):
    """Where the MQTT broker is and who we are there."""

    host: str = "127.0.0.1"
    port: Port = 1883
    username: str = ""
    password: Annotated[str, Field(repr=False)] = ""
    password_file: str = ""
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")] = "carebell"
    tls: bool = False
    ca_file: str = ""
    keep_alive: Annotated[int, Field(ge=5, le=600)] = 30

    def secret(self) -> str:
        """Return the password, read from `password_file` where that is set; raises UsageError."""
        if not self.password_file:
            return self.password
        try:
            return Path(self.password_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"broker.password_file = {self.password_file!r} cannot be read: {error}"
            ) from error


class DatabaseSettings(_Section):
    """Where the database is: a PostgreSQL URL; secrets may come by PGPASSFILE as with every client."""

    url: Annotated[str, Field(repr=False)] = "postgresql://carebell@127.0.0.1:5432/carebell"


class IngestSettings(_Section):
    """The bridge: bounds of its lanes and what it does with devices it does not know."""

    unknown_devices: Literal["register", "dead_letter"] = "register"
    max_registered: Annotated[int, Field(ge=0, le=10_000_000)] = 10_000
    urgent_in_flight: Annotated[int, Field(ge=1, le=32_000)] = 10_000
    telemetry_in_flight: Annotated[int, Field(ge=1, le=32_000)] = 20_000
    batch_rows: Annotated[int, Field(ge=1, le=5_000)] = 5_000  # more would outrun the ledger (ADR 002)
    max_payload: Annotated[int, Field(ge=1_024, le=16_777_216)] = 65_536
    checkpoint_every: Seconds = 60.0
    sources: tuple[str, ...] = ()
    rules: str = ""
    record: str = ""


class HistorySettings(_Section):
    """For how many days the rows of each table are kept, and which disk is watched.

    No table goes below 40 days: the time of a row reaches back 30 days, and its chunk must still be there.
    """

    vitals_days: Days = 90
    heartbeats_days: Days = 60
    activity_days: Days = 90
    events_days: Days = 190
    dead_letters_days: Days = 190
    vitals_hourly_days: Days = 1095
    activity_daily_days: Days = 1095
    disk: str = ""
    disk_low: Annotated[float, Field(ge=0, le=100)] = 10.0

    def days(self, table: str) -> int:
        """Return the days for which the rows of a divided table are kept."""
        return int(getattr(self, f"{table}_days"))


class ListenSettings(_Section):
    """Where metrics and health of the bridge are served."""

    host: str = "127.0.0.1"
    port: Port = 9108


class DutySettings(_Section):
    """The desk: its address and who may use it (operator's name = sha256 of the token, in hex)."""

    host: str = "127.0.0.1"
    port: Port = 8080
    tokens: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = {}
    answer_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    arrival_minutes: Annotated[int, Field(ge=1, le=1440)] = 40
    arrival: dict[Annotated[str, Field(pattern=r"^[0-9]{2,12}$")], Annotated[int, Field(ge=1, le=1440)]] = {}
    notify: str = ""


def _checked(url: str) -> str:
    """Return a URL whose host and port can be read; raises ValueError."""
    _ = urlsplit(url).port
    return url


class AnnounceSettings(_Section):
    """Whom to tell, beside the desk, of a call for help that cannot be stored."""

    webhook: Annotated[
        str, Field(repr=False, pattern=r"^(https?://[^\s/]\S*)?$"), AfterValidator(_checked)
    ] = ""


class ClockSettings(_Section):
    """Injected time, for `demo`, `sim` and tests: `start` is shown at the real moment `origin`."""

    origin: float = 0.0
    start: float = 0.0
    speed: Annotated[float, Field(gt=0, le=100_000)] = 1.0

    def clock(self) -> Clock:
        """Return the clock these settings describe."""
        return Clock(self.origin, self.start, self.speed)


class Settings(BaseSettings):
    """Everything that can be set. Load with `load`."""

    model_config = SettingsConfigDict(
        env_prefix="CAREBELL_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    broker: BrokerSettings = BrokerSettings()
    database: DatabaseSettings = DatabaseSettings()
    ingest: IngestSettings = IngestSettings()
    history: HistorySettings = HistorySettings()
    metrics: ListenSettings = ListenSettings()
    announce: AnnounceSettings = AnnounceSettings()
    duty: DutySettings = DutySettings()
    clock: ClockSettings = ClockSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the environment before the file, and the file before the defaults."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Read `path`, or CAREBELL_CONFIG, or `carebell.toml` where there is one, under the environment.

        Raises UsageError that names the file, the key, the value and what is allowed.
        """
        named = path or (Path(os.environ["CAREBELL_CONFIG"]) if "CAREBELL_CONFIG" in os.environ else None)
        if named is not None and not named.is_file():
            raise UsageError(
                f"{named}: no such file; `carebell config sample > {named}` writes one to start from"
            )
        file = named or Path("carebell.toml")
        bound = type("Settings", (cls,), {"model_config": {**cls.model_config, "toml_file": file}})
        try:
            loaded: Self = bound()
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{file}: not TOML: {error}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file}: cannot be read: {error}") from error
        except SettingsError as error:
            raise UsageError(f"environment: {error}; it takes one variable for each key") from error
        except ValidationError as error:
            raise UsageError("\n".join(_sentence(file, line) for line in error.errors())) from error
        return loaded


def _sentence(file: Path, error: ErrorDetails) -> str:
    """Name the key, the value and what is allowed; a value that may hold a secret is not shown."""
    parts = [str(part) for part in error["loc"]]
    key, variable = ".".join(parts), "CAREBELL_" + "__".join(parts).upper()
    where = "environment" if variable in map(str.upper, os.environ) else file
    if error["type"] == "extra_forbidden":
        return f"{where}: {key}: no such key; `carebell config sample` prints all that there are"
    hidden = not isinstance(error["input"], str | int | float) or any(word in key for word in _SECRET)
    shown = "***" if hidden else repr(error["input"])
    return f"{where}: {key} = {shown}: {error['msg']}"
