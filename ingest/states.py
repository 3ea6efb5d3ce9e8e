"""States that devices tell over and over, as "the SOS key is pressed": only their beginning is an event.

What is known follows the messages in their order, batch by batch; each commit writes what changed, and a
start reads it back.
"""

from collections.abc import Iterable, Iterator

from schemas.readings import StateChange


class States:
    """Which states hold, by what vendors call their devices."""

    def __init__(self, holding: Iterable[tuple[str, str]] = ()) -> None:
        """Begin with those that hold: device and state."""
        self._holding = set(holding)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield those that hold, in order."""
        return iter(sorted(self._holding))

    def learn(self, holding: Iterable[tuple[str, str]]) -> None:
        """Take up what a start has read."""
        self._holding = set(holding)

    def holds(self, device: str, state: str) -> bool:
        """Say whether a state of a device holds."""
        return (device, state) in self._holding

    def tell(self, device: str, state: str, *, on: bool) -> StateChange | None:
        """Take note of what a device says of a state; return it if that is news."""
        key = (device, state)
        if (key in self._holding) is on:
            return None
        (self._holding.add if on else self._holding.remove)(key)
        return StateChange(device, state, on)
