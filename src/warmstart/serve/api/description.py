"""The OpenAPI document, derived by FastAPI from the routes and then completed."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from warmstart.serve.api.problems import MEDIA


def operation_id(route: APIRoute) -> str:
    """Use the name of the function as the id of the operation."""
    return route.name


def describe(app: FastAPI, *, anonymous_read: bool) -> dict[str, Any]:
    """Build the OpenAPI document, once for each application.

    Args:
        app: application with all its routes.
        anonymous_read: whether read requests need no key.
    """
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        for operations in found["paths"].values():
            for operation in operations.values():
                _finish(operation, anonymous_read=anonymous_read)
        app.openapi_schema = found
    return app.openapi_schema


def _finish(operation: dict[str, Any], *, anonymous_read: bool) -> None:
    first, _, rest = operation.pop("description").partition("\n\n")
    operation["summary"] = first.replace("\n", " ").removesuffix(".")
    if rest:
        operation["description"] = rest
    responses = operation["responses"]
    for status, response in responses.items():
        if status[0] in "45":
            (schema,) = response["content"].values()
            response["content"] = {MEDIA: schema}
    if anonymous_read and "security" in operation and "403" not in responses:
        operation["security"].append({})  # a read route: it may be called without a key
