"""`carebell notify` as it is typed, with real receivers, and a desk that escalates."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg import AsyncConnection

from ops.duty import run_desk
from ops.parts import Database, free_port
from schemas.errors import UsageError
from schemas.settings import Settings
from tests.desk import migrated, raise_alarm, settings_for
from tests.receiver import HttpReceiver, MailReceiver

pytestmark = pytest.mark.one_edition


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection to a database with its tables."""
    async with migrated(database.url) as found:
        yield found


class Shell:
    """A command line with a configuration that names a database and a file of recipients."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.file = directory / "notify.toml"
        self._config = directory / "carebell.toml"
        self._config.write_text(
            f'[database]\nurl = "{url}"\n[duty]\nnotify = "{self.file}"\n', encoding="utf-8"
        )

    async def run(self, *command: str, config: bool = True) -> tuple[int, str, str]:
        """Run `carebell notify COMMAND`; return its exit code and what it printed."""
        file = ["--config", str(self._config)] if config else []
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ops.cli", "notify", *command, *file),
            env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
def shell(database: Database, tmp_path: Path) -> Shell:
    """Give a command line on the database."""
    return Shell(database.url, tmp_path)


async def test_check_says_what_is_wrong(shell: Shell) -> None:
    """0 in order, with what people should know; 2 wrong, with the key and without the secret."""
    shell.file.write_text('[recipient.a]\nchannel = "webhook"\nurl = "http://127.0.0.1:1/"\n')
    code, out, err = await shell.run("check", str(shell.file), config=False)
    assert (code, "1 recipients, 0 ladders: in order" in out) == (0, True)
    assert "no ladder is for every call for help" in err
    assert "a is in no ladder" in err
    shell.file.write_text('[recipient.a]\nchannel = "webhook"\nurl = "s3cret://x"\n')
    code, _, err = await shell.run("check", str(shell.file), config=False)
    assert (code, "recipient.a.webhook.url" in err, "s3cret" in err) == (2, True, False)


async def test_a_trial_says_that_it_is_one_and_what_came_of_it(shell: Shell) -> None:
    """0 all took it, 1 somebody did not, 2 there is no such recipient; it needs no database."""
    async with HttpReceiver() as good, HttpReceiver(then=403) as bad, MailReceiver() as box:
        shell.file.write_text(
            f'[recipient.good]\nchannel = "wecom"\nurl = "{good.url()}"\n'
            f'[recipient.bad]\nchannel = "city"\nurl = "{bad.url()}"\nsecret = "0123456789abcdef"\n'
            f'[recipient.box]\nchannel = "smtp"\nhost = "127.0.0.1"\nport = {box.port}\ntls = "none"\n'
            'from = "a@b.cn"\nto = "c@d.cn"\n[[rota.all_of_us]]\nto = ["good", "bad"]\n'
        )
        assert (await shell.run("test", "good"))[:2] == (0, "good (wecom): sent\n")
        code, out, err = await shell.run("test", "all_of_us", "--json")
        assert (code, [each["sent"] for each in json.loads(out)]) == (1, [True, False])
        assert json.loads(out)[1]["said"] == "HTTP 403"
        assert "s3cret" not in out + err
        assert (await shell.run("test", "all", "--channel", "smtp"))[:2] == (0, "box (smtp): sent\n")
        for command in (("nobody",), ("good", "--channel", "mqtt"), ("good", "--channel", "pigeon")):
            assert (await shell.run("test", *command))[0] == 2
    assert "【测试】" in good.requests[0].json["text"]["content"]
    assert (bad.requests[0].json["test"], bad.requests[0].json["url"]) == (True, "")
    assert box.letters[0].message["Subject"].startswith("【测试】")


async def test_a_desk_escalates_and_the_list_tells(shell: Shell, connection: AsyncConnection) -> None:
    """Named in the settings, the file is followed by the desk; what waits can be seen, with its reason."""
    async with HttpReceiver() as good, HttpReceiver(then=500) as bad:
        shell.file.write_text(
            f'[recipient.good]\nchannel = "webhook"\nurl = "{good.url()}"\n'
            f'[recipient.bad]\nchannel = "webhook"\nurl = "{bad.url()}"\n'
            '[[ladder]]\nname = "x"\n[[ladder.step]]\nto = ["good", "bad"]\n'
        )
        async with desk(shell):
            alarm_id = await raise_alarm(connection, at=datetime.now(UTC), logged=True)
            await good.heard(1)
            await bad.heard(2)
    code, out, _ = await shell.run("list", "--state", "waiting", "--json")
    (waiting,) = json.loads(out)
    assert code == 0
    assert (waiting["alarm_id"], waiting["recipient"], waiting["error"]) == (alarm_id, "bad", "HTTP 500")
    _, out, _ = await shell.run("list")
    assert "2 notices" in out
    assert (await shell.run("list", "--state", "gone"))[0] == 2


async def test_a_desk_does_not_start_with_a_wrong_file(shell: Shell) -> None:
    """It says what is wrong before it serves anybody."""
    shell.file.write_text("x = 1")
    with pytest.raises(UsageError, match="x: no such key"):
        await run_desk(settings_of(shell), insecure=False)


def settings_of(shell: Shell) -> Settings:
    """Return settings of a desk on the database of a shell, with its file."""
    settings = settings_for(shell.url, port=free_port())
    return settings.model_copy(update={"duty": settings.duty.model_copy(update={"notify": str(shell.file)})})


@contextlib.asynccontextmanager
async def desk(shell: Shell) -> AsyncIterator[None]:
    """Run a desk on the database of a shell for a block."""
    task = asyncio.ensure_future(run_desk(settings_of(shell), insecure=False))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
