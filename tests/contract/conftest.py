"""Fixtures of the contract tests alone."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops.parts import Database
from store.migrate import edition_of, migrate
from tests.authority import Authority
from tests.conftest import skip_service
from tests.contract.history import NOW, History, connected
from tests.contract.kit import make_tables


@pytest.fixture
async def history(database: Database) -> AsyncIterator[History]:
    """Give a migrated database of each edition in turn, with a writer of batches."""
    async with connected(database.url) as connection:
        await migrate(connection, NOW)
        yield History(connection, await edition_of(connection), database.url)


@pytest.fixture
async def url(database: Database) -> str:
    """Give a database of each edition with its tables."""
    await make_tables(database.url)
    return database.url


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Give the authority of certificates that an operator trusts."""
    if shutil.which("openssl") is None:
        skip_service("openssl", "not installed")
    return Authority(tmp_path / "ours")
