"""The machines: what no expression can say. A [[rule]] with `machine = "..."` is one of them."""

from collections.abc import Iterable
from typing import Final

from rules.machine import Machine
from rules.machines.chattering import Chattering
from rules.machines.check_in import CheckIn
from rules.machines.fall import Fall
from rules.machines.inactivity import Inactivity
from rules.machines.outage import Outage
from rules.machines.silence import Silence

MACHINES: Final[dict[str, type[Machine]]] = {
    each.name: each for each in (Fall, Inactivity, CheckIn, Silence, Outage, Chattering)
}
"""By name, in the order in which they are called."""


def acquaint(machines: Iterable[Machine]) -> None:
    """Let the machines of a rule set that ask about silence know who judges it, before they are bound."""
    machines = list(machines)
    silence = next((each for each in machines if isinstance(each, Silence)), None)
    for each in machines:
        if isinstance(each, Inactivity | Outage):
            each.meet(silence)
