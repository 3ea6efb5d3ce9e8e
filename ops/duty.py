"""`carebell duty`: the composition root of the desk."""

from duty.api import create_app, make_pool, opened
from duty.drills import ending
from duty.unstored import listening
from ops.common import ConfigOption, InsecureOption, load_settings, require_tokens, run
from ops.web import serve_app
from schemas.settings import Settings


def duty(insecure: InsecureOption = False, config: ConfigOption = None) -> None:
    """Run the desk: the page and the API for duty staff.

    Example: carebell duty --config carebell.toml
    """
    run(run_desk(load_settings(config), insecure=insecure))


async def run_desk(settings: Settings, *, insecure: bool) -> None:
    """Run the desk until cancelled; raises UsageError without tokens unless `insecure`."""
    require_tokens(settings, insecure=insecure)
    async with opened(make_pool(settings.database.url)) as pool:
        app = create_app(settings, pool, insecure=insecure)
        async with listening(settings.broker, app.state.desk.heard), ending(pool, settings.clock.clock()):
            await serve_app(app, settings.duty.host, settings.duty.port, "duty")
