"""How much is measured: the whole bench, or a smoke run of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Sizes of every part: rows and devices of the history, seconds of loads, presses, fleets."""

    rows: int = 20_000_000
    devices: int = 100_000
    seconds: float = 60.0
    trial_seconds: float = 10.0
    """Of a load that only looks for a rate, of a ceiling, and of a peer."""
    most: float = 0.0
    """Messages a second of a load that is not paced; 0: as many as go."""
    trials: int = 5
    """Rates that are tried above the first one."""
    profile_seconds: float = 20.0
    presses: int = 1_000
    press_every: float = 0.04
    desks: int = 200
    desk_presses: int = 300
    desk_press_every: float = 0.25
    """Seconds between two presses before open desks, on the average."""
    fleets: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    touched: int = 100_000
    """Devices of a fleet that send something before its memory is read."""
    probe_seconds: float = 5.0
    """For which a bridge's loop is watched while checkpoints are made."""
    embedded_rate: float = 5_000.0
    peer_rate: float = 3_000.0
    """Where the search for the rate of the embedded parts, and of a peer, begins."""
    judged: int = 1_000_000
    """Devices of the engine alone; twice as many readings go through it."""
    judged_alone: int = 20_000
    """Readings that are judged one at a time."""
    mapped: int = 20
    """Batches of 5,000 vendors' messages of each shape that are decoded."""
    patience: float = 300.0
    """Seconds after which rows that have not come are given up."""


QUICK = Scale(
    rows=20_000,
    devices=1_000,
    seconds=1.0,
    trial_seconds=0.5,
    most=2_000.0,
    trials=1,
    profile_seconds=1.0,
    presses=10,
    press_every=0.03,
    desks=20,
    desk_presses=5,
    desk_press_every=0.15,
    fleets=(1_000,),
    touched=1_000,
    probe_seconds=1.2,
    embedded_rate=1_000.0,
    peer_rate=1_000.0,
    judged=20_000,
    judged_alone=1_000,
    mapped=1,
    patience=20.0,
)
"""A smoke run: every part in under a minute; its figures mean nothing."""
