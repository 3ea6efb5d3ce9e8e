"""The watchdog: an event loop that hangs ends the process, and whoever started it starts it again.

A line that waits for the database is no reason: the loop answers, and log, /readyz and metrics say that the
line has stalled; a restart would wait just the same. A loop that does not answer can say nothing any more, so
a thread beside it writes where everything hangs, and ends the process at once (crash-only).

Looks and beats are counted and not seconds: who was stopped and goes on has missed as many of both.
"""

import asyncio
import faulthandler
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ingest import metrics

log = logging.getLogger(__name__)

BEAT: Final = 1.0
"""Seconds between two beats of the loop, and between two looks at them."""
LIMIT: Final = 60
"""Looks without a beat after which the loop is taken for dead."""
LONGER: Final = 5
"""So many limits, in seconds, are left to what does not let the thread run: it holds Python's own lock."""
LAST_WORDS: Final = 5.0
"""Seconds for writing the stacks: whoever should read them may be what hangs."""
EXIT_CODE: Final = 70  # EX_SOFTWARE of sysexits.h
STALLED: Final = 30
"""Seconds without a finished batch or tick after which the line is not taken for working."""


@asynccontextmanager
async def watchdog(limit: int = LIMIT) -> AsyncIterator[None]:
    """Watch the running event loop for a block."""
    beats, ended = _Beats(), threading.Event()
    thread = threading.Thread(target=_watch, args=(beats, ended, limit), name="watchdog", daemon=True)
    beating = asyncio.create_task(beats.beat())
    thread.start()
    try:
        yield
    finally:
        beating.cancel()
        ended.set()
        thread.join()
        faulthandler.cancel_dump_traceback_later()


class _Beats:
    """How often the loop has answered."""

    def __init__(self) -> None:
        self.count = 0

    async def beat(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(BEAT)


def _watch(beats: _Beats, ended: threading.Event, limit: int) -> None:
    seen, looks = beats.count, 0
    while True:
        faulthandler.dump_traceback_later(limit * LONGER * BEAT, exit=True)
        if ended.wait(BEAT):
            return
        looks = looks + 1 if beats.count == seen else 0
        seen = beats.count
        if looks >= limit:
            _end(f"carebell: the event loop has not answered for {looks} s; this process ends\n")


def _end(sentence: str) -> None:
    """Write where all threads are, and exit, whatever hangs: no lock is taken, not even the log's."""
    signal.setitimer(signal.ITIMER_REAL, LAST_WORDS)  # kills where the writing below hangs, too
    os.write(2, sentence.encode())
    faulthandler.dump_traceback(2, all_threads=True)
    os._exit(EXIT_CODE)


async def watch_line() -> None:
    """Say in the log when the line stalls and when it moves again, for ever."""
    finished, waited = 0.0, 0
    while True:
        await asyncio.sleep(BEAT)
        if (newest := metrics.line_finished()) == finished:
            waited += 1
            if waited == STALLED:
                log.error("the line has finished nothing for %d s: it waits for the database", waited)
            continue
        if waited >= STALLED:
            log.warning("the line moves again, after %d s", waited)
        finished, waited = newest, 0
