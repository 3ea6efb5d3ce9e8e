"""What came of a crowd's load: counts, how times were spread, and what the crowd itself cost."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from device_sims.crowd.spread import Spread


@dataclass(frozen=True)
class Standing:
    """How it stands at a moment: devices with a connection, messages, and the seconds spent sending them."""

    up: int
    sent: int
    acked: int
    spoken: float


@dataclass(frozen=True)
class Figures:
    """What came of it: sent = acked + refused + lost, which had no PUBACK before their connection ended.

    `wanted` devices tried to connect, `connected` did at least once, `peak` at the same time. `troubles` says
    why connections failed or died, and how often. `asked` is the rate that was to be kept, 0 if none, and
    `behind` how late a message was at worst. Of those that never went out, `missed` were due while their
    device had no connection, `unsent` had not had their turn at the end. `seconds` is from the first message
    to the last PUBACK, `cpu_seconds` what the crowd's process used in that time.
    """

    wanted: int
    connected: int
    peak: int
    open_at_end: int
    reconnects: int
    troubles: Counter[str]
    connecting: Spread
    asked: float
    sent: int
    acked: int
    refused: int
    lost: int
    missed: int
    unsent: int
    seconds: float
    behind: float
    puback: Spread
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Return the PUBACKs a second."""
        return self.acked / self.seconds if self.seconds else 0.0

    @property
    def cpu_us(self) -> float:
        """Return the microseconds of CPU for a message and its PUBACK."""
        return self.cpu_seconds / max(self.sent, 1) * 1e6

    @property
    def cpu_share(self) -> float:
        """Return how much of a core was used."""
        return self.cpu_seconds / self.seconds if self.seconds else 0.0

    @property
    def fault(self) -> str:
        """Return a sentence on what did not go as it was to go, empty if all did."""
        faults = []
        if self.connected < self.wanted:
            faults.append(f"{self.wanted - self.connected} of {self.wanted} devices could not connect")
        if self.open_at_end < self.connected:
            faults.append(f"{self.connected - self.open_at_end} devices had no connection at the end")
        if self.acked < self.sent:
            faults.append(f"{self.sent - self.acked} of {self.sent} messages were not taken over")
        if self.missed:
            faults.append(f"{self.missed} messages had no connection to go by")
        if self.unsent:
            faults.append(f"{self.unsent} messages were due and did not go out")
        return ", ".join(faults)

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "wanted": self.wanted,
            "connected": self.connected,
            "peak": self.peak,
            "open_at_end": self.open_at_end,
            "reconnects": self.reconnects,
            "troubles": dict(self.troubles),
            "connect_ms": self.connecting.milliseconds(),
            "sent": self.sent,
            "acked": self.acked,
            "refused": self.refused,
            "lost": self.lost,
            "missed": self.missed,
            "unsent": self.unsent,
            "seconds": round(self.seconds, 3),
            "asked_rate": round(self.asked, 1),
            "rate": round(self.rate, 1),
            "behind_ms": round(self.behind * 1000, 1),
            "puback_ms": self.puback.milliseconds(),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "cpu_us_per_message": round(self.cpu_us, 2),
            "cpu_share": round(self.cpu_share, 3),
        }

    def __rich__(self) -> Table:
        """Show it."""
        asked = f"of {self.asked:,.0f}, up to {self.behind * 1000:.0f} ms late"
        rows = {
            "connections": f"{self.connected:,} of {self.wanted:,} devices, {self.peak:,} at once,"
            f" {self.reconnects:,} reconnects",
            "connect to CONNACK": _shown(self.connecting),
            "messages": f"{self.sent:,} sent, {self.acked:,} acknowledged, {self.refused:,} refused,"
            f" {self.lost:,} lost",
            "not sent": f"{self.missed:,} without a connection, {self.unsent:,} without their turn",
            "PUBLISH to PUBACK": _shown(self.puback),
            "rate": f"{self.rate:,.0f} a second for {self.seconds:.1f} s"
            f" ({asked if self.asked else 'as many as go'})",
            "own CPU": f"{self.cpu_seconds:.2f} s, {self.cpu_us:.1f} us a message,"
            f" {self.cpu_share:.0%} of a core",
        }
        table = Table.grid(padding=(0, 2))
        for name, said in rows.items():
            table.add_row(name, said)
        for trouble, count in self.troubles.most_common():
            table.add_row("trouble", f"{trouble} ({count:,} times)")
        return table


def _shown(spread: Spread) -> str:
    return ", ".join(f"{name} {value:,.1f} ms" for name, value in spread.milliseconds().items())
