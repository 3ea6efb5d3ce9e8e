"""Load a broker from the command line: it is named first; a crowd has a bar, and Ctrl-C for an early end."""

import asyncio
import ipaddress
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from device_sims.burst import burst
from device_sims.crowd.crowd import Crowd
from device_sims.crowd.figures import Figures, Standing
from device_sims.load import Load, Outcome
from schemas.clock import Clock
from schemas.errors import UsageError
from schemas.settings import BrokerSettings


async def send(broker: BrokerSettings, load: Load, clock: Clock, *, to: str) -> Outcome:
    """Send a burst. Raises what burst raises, and UsageError for a host that it must not go to unnamed."""
    load.check()
    _aim(broker, to)
    return await burst(broker, load, clock)


async def gather(
    broker: BrokerSettings, load: Load, clock: Clock, *, to: str, ramp: float, own_logins: bool
) -> Figures:
    """Run a crowd; Ctrl-C and SIGTERM let it come to its end. Raises what Crowd raises, and as `send`."""
    crowd = Crowd(broker, load, clock, ramp=ramp, own_logins=own_logins)
    _aim(broker, to)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, crowd.stop)
    with _bar(load) as report:
        return await asyncio.to_thread(crowd.run, report)


def _aim(broker: BrokerSettings, to: str) -> None:
    """Say where a load goes; raises UsageError if that is another machine, and `to` does not name it."""
    if to not in {"", broker.host}:
        raise UsageError(f"--to {to}: broker.host is {broker.host}")
    if not to and not _is_here(broker.host):
        raise UsageError(f"{broker.host} is another machine: a load goes there with --to {broker.host}")
    typer.echo(f"load for {broker.host}:{broker.port}", err=True)


def _is_here(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"


@contextmanager
def _bar(load: Load) -> Iterator[Callable[[Standing], None]]:
    """Show how far it is, on a terminal only; gives what to call with each standing."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal, refresh_per_second=4) as bar:
        connections = bar.add_task("connections", total=load.devices, said="")
        messages = bar.add_task("messages", total=load.seconds, said="")

        def report(standing: Standing) -> None:
            bar.update(connections, completed=standing.up, said=f"{standing.up:,} of {load.devices:,}")
            rate = standing.acked / standing.spoken if standing.spoken else 0.0
            said = f"{standing.acked:,} of {standing.sent:,} acknowledged, {rate:,.0f} a second"
            bar.update(messages, completed=standing.spoken, said=said)

        yield report
