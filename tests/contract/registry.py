"""What the contract tests of the registry share: files to import, and what stands in the tables then."""

import io
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from schemas.clock import to_datetime
from schemas.csv_file import encoding_of
from schemas.registry import DEVICES, REGIONS, Kind, people, rows
from store.imports import Summary, import_file
from tests.contract.kit import START, tuples

PEOPLE = people(2026)
KINDS = {"device": DEVICES, "region": REGIONS, "person": PEOPLE}

TWO_PEOPLE = (
    "person,name,sex,birth_year,phone,address,notes,contact1_name,contact1_relation,contact1_phone\n"
    "YY-1,张桂英,女,1941,0730-8881234,岳阳楼街道3栋,高血压,张强,儿子,13900000001\n"
    "YY-2,李建国,男,1938,,,,,,\n"
)
THREE_DEVICES = (
    "device,region,model,person,heartbeat_seconds\n"
    "BELL-1,430602001,bell,YY-1,60\n"
    "BELL-2,430602001,band,YY-2,\n"
    "BELL-3,430602,,,\n"
)


async def imported(
    url: str, kind: Kind, text: str | bytes, *, at: datetime | None = None, dry_run: bool = False
) -> Summary:
    """Import a file on connections of its own, at START."""
    file = io.BytesIO(text.encode() if isinstance(text, str) else text)
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(await AsyncConnection.connect(url, autocommit=True))
            for _ in range(2)
        ]
        return await import_file(
            one,
            other,
            kind,
            rows(file, encoding_of(file), kind),
            at or to_datetime(START),
            dry_run=dry_run,
            step=lambda _: None,
        )


async def enter_both(url: str) -> None:
    """Import two people and three devices."""
    assert (await imported(url, PEOPLE, TWO_PEOPLE)).errors == []
    assert (await imported(url, DEVICES, THREE_DEVICES)).errors == []


async def registry(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that the registry holds, with the transaction that wrote each row."""
    return {
        table: await tuples(url, f"SELECT xmin::text, t::text FROM {table} t ORDER BY 2")
        for table in ("regions", "people", "contacts", "devices", "assignments")
    }


async def wearers(url: str) -> list[tuple[Any, ...]]:
    """Return each device with the file number of who has it."""
    return await tuples(
        url, "SELECT device, person FROM devices LEFT JOIN people USING (person_id) ORDER BY device"
    )
