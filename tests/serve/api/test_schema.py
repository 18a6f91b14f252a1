"""The API against its own description: whatever is sent, what comes back is as described."""

import json
import re
from collections import Counter

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.engine import events, from_schema
from schemathesis.python import asgi

from warmstart.serve.api.app import create_app
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.keys import make_key

CONFIG = {
    "seed": 0,
    "continue-on-failure": True,
    "generation": {"max-examples": 10, "deterministic": True, "mode": "all", "database": "none"},
    "phases": {"stateful": {"enabled": False}},
    # A description cannot say all: either user or history; an item that is known; a text in one of
    # the columns that the model reads. What breaks such a rule gets 422 though it fits the schema.
    "checks": {"positive_data_acceptance": {"enabled": False}},
}

UNKNOWN = {  # they ask for a user, a key and a folder that there is
    "POST /v1/recommend",
    "DELETE /v1/admin/keys/{key}",
    "POST /v1/admin/model",
}


@pytest.fixture
def made(tmp_path_factory, model_folder, lm_folder):
    """The application with all that runs behind it, and a key that may do everything."""
    from warmstart.serve.settings import Settings

    folder = tmp_path_factory.mktemp("schema")
    service = Service(
        Settings(
            model=model_folder,
            lm=str(lm_folder),
            store=f"sqlite:///{folder / 'store.db'}",
            models_folder=folder,  # no model to swap in: each would be loaded
            rate_limit="1000000/second",
        )
    )
    token = make_key(service.store, "tests", "admin")
    service.keys.load(service.store.keys())
    yield create_app(service), token
    asgi.shutdown_lifespans()


def sent(app, token):
    """Statuses by operation, and what was wrong, of a run over all operations."""
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
            statuses[event.recorder.label, status] += 1
            for check in event.recorder.checks.get(name, []):
                if check.failure_info is not None:
                    asked = f"{interaction.request.method} {interaction.request.uri}"
                    wrong.append(f"{asked} {interaction.request.body}: {check.failure_info}")
    return statuses, wrong


@pytest.mark.parametrize("with_key", [True, False])
def test_whatever_is_sent_the_answer_is_as_described(made, with_key):
    app, token = made
    statuses, wrong = sent(app, token if with_key else None)
    assert not wrong, "\n\n".join(wrong[:5])
    assert all(status is not None and status < 500 for _, status in statuses)
    for verb, path, operation in operations(app.openapi()):
        label = f"{verb.upper()} {path}"
        mine = {status: n for (name, status), n in statuses.items() if name == label}
        assert sum(mine.values()) >= 5, label
        opened = any(status < 300 for status in mine)
        opened = any(status < 300 for status in mine)
        if "security" in operation and not with_key:
            assert not opened, (label, mine)
        elif label not in UNKNOWN:
            assert opened, (label, mine)


def test_the_checks_would_notice(made):
    """That a wrong answer fails, on an application that gives one."""
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


def test_it_is_of_openapi_3_1(description):
    assert re.fullmatch(r"3\.1\.\d+", description["openapi"])
    assert description["info"]["title"] == "warmstart"


def test_every_schema_is_in_one_place_and_used(description):
    text = json.dumps(description)
    schemas = description["components"]["schemas"]
    assert "$defs" not in text
    assert not {"HTTPValidationError", "ValidationError"} & set(schemas)
    used = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert used == set(schemas)


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does(description):
    found = operations(description)
    assert len({operation["operationId"] for *_, operation in found}) == len(found)
    for _, path, operation in found:
        assert re.fullmatch(r"[a-z_]+", operation["operationId"])
        assert len(operation["summary"].split()) >= 3, path
        assert not operation["summary"].endswith(".")
        assert operation["tags"], path


def test_keys_are_asked_for_where_they_are_needed(description):
    (scheme,) = description["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for _, path, operation in operations(description):
        needed = path.startswith("/v1/")
        assert bool(operation.get("security")) == needed, path
        assert ("401" in operation["responses"]) == needed, path


def test_reading_needs_no_key_where_anybody_may_read(settings):
    service = Service(settings.model_copy(update={"anonymous_read": True}))
    try:
        for verb, path, operation in operations(create_app(service).openapi()):
            free = {} in operation.get("security", [])
            ask = verb == "get" or path in {"/v1/recommend", "/v1/simulate"}
            assert free == (ask and path.startswith("/v1/") and "/admin/" not in path), path
    finally:
        service.close()


def test_every_error_is_a_problem(description):
    for verb, path, operation in operations(description):
        for status, answer in operation["responses"].items():
            if status < "400":
                continue
            ((media, content),) = answer["content"].items()
            assert media == "application/problem+json", (verb, path, status)
            assert content["schema"] == {"$ref": "#/components/schemas/ProblemDetails"}
            assert ("Retry-After" in answer.get("headers", {})) == (status in {"429", "503"})
        bodies = {"400", "413", "415", "422"} <= set(operation["responses"])
        assert bodies == ("requestBody" in operation), path
