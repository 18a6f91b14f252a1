"""The API against its own OpenAPI document: every response to any request is as described."""

import json
import re
from collections import Counter

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.engine import events, from_schema
from schemathesis.python import asgi

from tests.serve.api.test_invalid_requests import LEAKS
from warmstart.serve.api.app import create_app
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.keys import make_key

CONFIG = {
    "seed": 0,
    "continue-on-failure": True,
    "generation": {"max-examples": 10, "deterministic": True, "mode": "all", "database": "none"},
    "phases": {"stateful": {"enabled": False}},
    # The document cannot express every rule: either user or history; a known item; a text in one of
    # the text columns. A request that breaks such a rule gets 422 although it fits the schema.
    "checks": {"positive_data_acceptance": {"enabled": False}},
}

UNKNOWN = {  # need an existing user, key or folder, which generated requests do not have
    "POST /v1/recommend",
    "POST /v1/converse",  # and a model that can be asked in words
    "DELETE /v1/admin/keys/{key}",
    "POST /v1/admin/model",
}


@pytest.fixture
def made(tmp_path_factory, model_folder, lm_folder):
    """The application with a running service, and an admin key."""
    from warmstart.serve.settings import Settings

    folder = tmp_path_factory.mktemp("schema")
    service = Service(
        Settings(
            model=model_folder,
            encoder=str(lm_folder),
            store=f"sqlite:///{folder / 'store.db'}",
            models_folder=folder,  # contains no model, as each would be loaded
            rate_limit="1000000/second",
        )
    )
    token = make_key(service.store, "tests", "admin")
    service.keys.load(service.store.keys.all())
    yield create_app(service), token
    asgi.shutdown_lifespans()


def fuzz(app, token):
    """Send generated requests to all operations; return statuses by operation, and failures."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    config = SchemathesisConfig.from_dict({**CONFIG, "headers": headers})
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    statuses, wrong = Counter(), []
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            wrong.append(str(event))
        if not isinstance(event, events.ScenarioFinished):
            continue
        for name, interaction in event.recorder.interactions.items():
            status = interaction.response.status_code if interaction.response else None
            if interaction.response and LEAKS.search(interaction.response.text):
                wrong.append(f"a message of pydantic: {interaction.response.text}")
            statuses[event.recorder.label, status] += 1
            for check in event.recorder.checks.get(name, []):
                if check.failure_info is not None:
                    sent = f"{interaction.request.method} {interaction.request.uri}"
                    wrong.append(f"{sent} {interaction.request.body}: {check.failure_info}")
    return statuses, wrong


@pytest.mark.parametrize("with_key", [True, False])
def test_every_response_is_as_described(made, with_key):
    app, token = made
    statuses, wrong = fuzz(app, token if with_key else None)
    assert not wrong, "\n\n".join(wrong[:5])
    assert all(status is not None and status < 500 for _, status in statuses)
    for verb, path, operation in operations(app.openapi()):
        label = f"{verb.upper()} {path}"
        mine = {status: n for (name, status), n in statuses.items() if name == label}
        assert sum(mine.values()) >= 5, label
        succeeded = any(status < 300 for status in mine)
        if "security" in operation and not with_key:
            assert not succeeded, (label, mine)
        elif label not in UNKNOWN:
            assert succeeded, (label, mine)


def test_a_wrong_response_fails_the_checks(made):
    """Check the checks, with a document that the application does not follow."""
    app, _ = made
    wrong = json.loads(json.dumps(app.openapi()))
    health = wrong["components"]["schemas"]["Health"]
    health["properties"]["status"] = {"type": "integer"}
    described = schemathesis.openapi.from_dict(wrong)
    described.app = app
    case = described["/health/live"]["GET"].Case()
    with pytest.raises(FailureGroup, match="not of type"):
        case.call_and_validate()


# -- the description --


@pytest.fixture
def description(made):
    return made[0].openapi()


def operations(description):
    return [
        (verb, path, operation)
        for path, verbs in description["paths"].items()
        for verb, operation in verbs.items()
    ]


def test_the_document_is_openapi_3_1(description):
    assert re.fullmatch(r"3\.1\.\d+", description["openapi"])
    assert description["info"]["title"] == "warmstart"


def test_every_schema_is_a_component_and_used(description):
    text = json.dumps(description)
    schemas = description["components"]["schemas"]
    assert "$defs" not in text
    assert not {"HTTPValidationError", "ValidationError"} & set(schemas)
    used = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert used == set(schemas)


def test_every_operation_has_a_unique_id_and_a_summary(description):
    found = operations(description)
    assert len({operation["operationId"] for *_, operation in found}) == len(found)
    for _, path, operation in found:
        assert re.fullmatch(r"[a-z_]+", operation["operationId"])
        assert len(operation["summary"].split()) >= 3, path
        assert not operation["summary"].endswith(".")
        assert operation["tags"], path


def test_operations_that_need_a_key_are_marked(description):
    (scheme,) = description["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for _, path, operation in operations(description):
        needed = path.startswith("/v1/")
        assert bool(operation.get("security")) == needed, path
        assert ("401" in operation["responses"]) == needed, path


def test_read_operations_need_no_key_with_anonymous_read(settings):
    service = Service(settings.model_copy(update={"anonymous_read": True}))
    try:
        for verb, path, operation in operations(create_app(service).openapi()):
            free = {} in operation.get("security", [])
            reads = verb == "get" or path in {"/v1/recommend", "/v1/converse", "/v1/simulate"}
            assert free == (reads and path.startswith("/v1/") and "/admin/" not in path), path
    finally:
        service.close()


def test_every_error_is_a_problem(description):
    for verb, path, operation in operations(description):
        for status, response in operation["responses"].items():
            if status < "400":
                continue
            ((media, content),) = response["content"].items()
            assert media == "application/problem+json", (verb, path, status)
            assert content["schema"] == {"$ref": "#/components/schemas/ProblemDetails"}
            assert ("Retry-After" in response.get("headers", {})) == (
                status in {"429", "503", "504"}
            )
        bodies = {"400", "413", "415", "422"} <= set(operation["responses"])
        assert bodies == ("requestBody" in operation), path
