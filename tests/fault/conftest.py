"""Fixtures of the fault tests alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops.parts import Broker, Database
from tests.fault.rig import Rig, rigged


@pytest.fixture
async def rig(fresh_mosquitto: Broker, timescale: Database, scratch: Path) -> AsyncIterator[Rig]:
    """Give a running installation with a proxy on either side of the bridge."""
    async with rigged(fresh_mosquitto, timescale, scratch) as found:
        yield found
