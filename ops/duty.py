"""`carebell duty`: the composition root of the desk."""

from contextlib import AsyncExitStack

from duty.api import create_app, make_pool, opened
from duty.endings import ending
from duty.follow import ending_streams, following
from duty.keys import keeping
from duty.notify.escalate import telling
from duty.notify.ladders import ladders_of
from duty.trail import writing
from duty.unstored import listening
from ops.common import ConfigOption, InsecureOption, load_settings, require_tokens, run
from ops.web import listen, serve_app
from schemas.settings import Settings


def duty(insecure: InsecureOption = False, config: ConfigOption = None) -> None:
    """Run the desk: the page and the API for duty staff.

    Example: carebell duty --config carebell.toml
    """
    run(run_desk(load_settings(config), insecure=insecure))


async def run_desk(settings: Settings, *, insecure: bool) -> None:
    """Run the desk until cancelled; raises UsageError without tokens unless `insecure`, or FatalError."""
    ladders = ladders_of(settings.duty)
    await require_tokens(settings, insecure=insecure)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(settings.duty.host, settings.duty.port, "duty"))
        pool = await stack.enter_async_context(opened(make_pool(settings.database.url)))
        app = create_app(settings, pool, insecure=insecure)
        async with (
            ending(pool, settings.clock.clock()),
            keeping(app.state.desk),
            writing(app.state.desk),
            telling(settings, ladders),
            following(settings.database.url, app.state.feed),
            listening(settings.broker, app.state.desk.heard),  # last, so that it ends first
        ):
            await ending_streams(app.state.feed, serve_app(app, listener))
