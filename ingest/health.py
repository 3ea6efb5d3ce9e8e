"""What ops can ask of the bridge over HTTP: /metrics, /healthz (it runs) and /readyz (it does its work)."""

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def application(readiness: Callable[[], dict[str, bool]]) -> Starlette:
    """Return the three pages; `readiness` names what must hold, and brings the gauges up to date."""

    async def healthz(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> JSONResponse:
        checks = readiness()
        return JSONResponse(checks, status_code=200 if all(checks.values()) else 503)

    async def metrics(_: Request) -> Response:
        readiness()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    pages = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}
    return Starlette(routes=[Route(path, page) for path, page in pages.items()])
