"""The application of the REST API; a running service describes it at ``/docs``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from warmstart.serve.api import admin, converse, problems, read, write
from warmstart.serve.api.access import AccessMiddleware
from warmstart.serve.api.description import describe, operation_id
from warmstart.serve.api.middleware import ObservabilityMiddleware
from warmstart.serve.api.problems import Problem, error_responses
from warmstart.serve.api.schemas import Health
from warmstart.serve.api.static import PackageFiles
from warmstart.serve.api.threads import Threads
from warmstart.serve.engine import metrics
from warmstart.serve.engine.batcher import Batcher
from warmstart.serve.engine.conversations import Conversations
from warmstart.serve.engine.service import Service
from warmstart.version import __version__


def create_app(service: Service) -> FastAPI:
    """Build the application of a service; its lifespan starts and closes the service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        app.state.batcher = Batcher(service)
        app.state.conversations = Conversations(service)
        reporting = asyncio.create_task(_report_metrics(service))
        yield
        reporting.cancel()
        app.state.batcher.close()
        app.state.conversations.close()
        await run_sync(service.close)

    app = FastAPI(
        title="warmstart",
        version=__version__,
        summary="Recommends items, including those that nobody has clicked yet.",
        lifespan=lifespan,
        generate_unique_id_function=operation_id,
        docs_url=None,  # ours loads no script from the network
        redoc_url=None,
    )
    app.state.service, app.state.batcher, app.state.threads = service, None, Threads()
    problems.install(app)
    app.router.routes.insert(0, read.recommend_route)  # the first one is found soonest
    v1 = APIRouter(prefix="/v1")
    v1.include_router(read.routes, responses=error_responses(401, 429))
    v1.include_router(converse.routes, responses=error_responses(401, 429))
    v1.include_router(write.routes, responses=error_responses(401, 403, 429, 503))
    v1.include_router(admin.routes, responses=error_responses(401, 403, 429, 503))
    app.include_router(v1)
    app.include_router(_operations)
    app.mount("/docs/files", PackageFiles("fastapi_offline", "static"))
    app.mount("/console", PackageFiles("warmstart.serve", "console"))
    app.openapi = lambda: describe(app, anonymous_read=service.settings.anonymous_read)
    app.add_middleware(
        AccessMiddleware, service=service, body_seconds=service.settings.max_body_seconds
    )
    if service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(ObservabilityMiddleware)
    return app


async def _report_metrics(service: Service) -> None:
    """Keep the gauges of this worker up to date: another one may be asked for them."""
    while service.settings.workers > 1:
        service.update_metrics()
        await asyncio.sleep(1.0)


_operations = APIRouter(tags=["operations"])


@_operations.get("/", include_in_schema=False)
async def root() -> Response:
    """Redirect to the console."""
    return RedirectResponse("/console/")


@_operations.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """Redirect to the page that describes the API."""
    return RedirectResponse("/console/docs.html")


@_operations.get("/health/live")
async def live() -> Health:
    """Check that the process responds."""
    return Health(status="ok")


@_operations.get("/health/lists", responses=error_responses(503))
async def lists(request: Request) -> Health:
    """Check that lists can be computed, from what this replica knows; the store is not needed."""
    if request.app.state.batcher is None:
        raise Problem(503, "the service is starting", headers={"Retry-After": "1"})
    return Health(status="ok")


@_operations.get("/health/ready", responses=error_responses(503))
async def ready(request: Request) -> Health:
    """Check that everything advances: lists, changes, keys, encodings, and with them the store."""
    stalled = request.app.state.service.stalled()
    if stalled:
        parts = ", ".join(f"{name} ({seconds:.0f} s)" for name, seconds in stalled.items())
        detail = f"these parts do not advance: {parts}; the log has the reason"
        raise Problem(503, detail, headers={"Retry-After": "10"})
    return Health(status="ok")


@_operations.get("/metrics", response_class=PlainTextResponse)
async def prometheus(request: Request) -> Response:
    """Return metrics in the Prometheus text format; from numbers at hand, without any wait."""
    request.app.state.service.update_metrics()
    return Response(metrics.report(), media_type=CONTENT_TYPE_LATEST)
