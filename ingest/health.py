"""What ops can ask of the bridge over HTTP: /metrics, /healthz (it runs) and /readyz (it does its work)."""

from collections.abc import Callable

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


def application(readiness: Callable[[], dict[str, bool]]) -> FastAPI:
    """Return the three pages; `readiness` names what must hold, and brings the gauges up to date."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        checks = readiness()
        return JSONResponse(checks, status_code=200 if all(checks.values()) else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        readiness()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app
