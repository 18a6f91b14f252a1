"""The application of the REST API; a running service describes it at ``/docs``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from warmstart.serve.api import admin, problems, read, write
from warmstart.serve.api.description import describe, operation_id
from warmstart.serve.api.middleware import BodyLimitMiddleware, ObservabilityMiddleware
from warmstart.serve.api.problems import Problem, error_responses
from warmstart.serve.api.schemas import Health
from warmstart.serve.api.static import Console
from warmstart.serve.engine import metrics
from warmstart.serve.engine.batcher import Batcher
from warmstart.serve.engine.service import Service
from warmstart.version import __version__


def create_app(service: Service) -> FastAPI:
    """Build the application of a service; its lifespan starts and closes the service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        app.state.batcher = Batcher(service)
        # Simulations wait for the language model; without a limit they would occupy every thread.
        app.state.simulations = CapacityLimiter(2)
        yield
        app.state.batcher.close()
        await run_sync(service.close)

    app = FastAPI(
        title="warmstart",
        version=__version__,
        summary="Recommends items, including those that nobody has clicked yet.",
        lifespan=lifespan,
        generate_unique_id_function=operation_id,
        redoc_url=None,
    )
    app.state.service = service
    problems.install(app)
    v1 = APIRouter(prefix="/v1")
    v1.include_router(read.routes, responses=error_responses(401, 429))
    v1.include_router(write.routes, responses=error_responses(401, 403, 429, 503))
    v1.include_router(admin.routes, responses=error_responses(401, 403, 429, 503))
    app.include_router(v1)
    app.include_router(_operations)
    app.mount("/console", Console())
    app.openapi = lambda: describe(app, anonymous_read=service.settings.anonymous_read)
    if service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(BodyLimitMiddleware, limit=service.settings.max_body_bytes)
    app.add_middleware(ObservabilityMiddleware)
    return app


_operations = APIRouter(tags=["operations"])


@_operations.get("/", include_in_schema=False)
async def root() -> Response:
    """Redirect to the console."""
    return RedirectResponse("/console/")


@_operations.get("/health/live")
async def live() -> Health:
    """Check that the process responds."""
    return Health(status="ok")


@_operations.get("/health/ready", responses=error_responses(503))
async def ready(request: Request) -> Health:
    """Check that lists can be computed, which does not need the store."""
    if not request.app.state.service.alive:
        raise Problem(
            503,
            "a thread of the service has ended; its log has the reason",
            headers={"Retry-After": "10"},  # after a restart
        )
    return Health(status="ok")


@_operations.get("/metrics", response_class=PlainTextResponse)
async def prometheus(request: Request) -> Response:
    """Return metrics in the Prometheus text format."""
    service: Service = request.app.state.service
    counts = await run_sync(service.deployment.index.counts)  # waits while lists are computed
    for kind in ("warm", "cold", "warming"):
        metrics.ITEMS.labels(kind).set(counts[kind])
    metrics.WAITING.set(service.waiting)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
