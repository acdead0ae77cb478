"""The description of the routes: true to what they take and give, by examples that a fuzzer makes of it."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.http.settings import HttpSettings
from tests.services.http.front import Front
from tests.services.http.keys import KEYS, bearer

schema = schemathesis.openapi.from_asgi("/openapi.json", Front(settings=HttpSettings(keys=KEYS)).app)


@schema.parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_are_as_described_and_never_a_fault(case: Any) -> None:
    answer = case.call(headers=bearer("acme"))
    case.validate_response(
        answer,
        checks=[not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance],
    )


async def test_every_route_is_described_with_its_body_and_its_errors() -> None:
    described = (await Front().get("/openapi.json")).json()
    assert set(described["paths"]) == {
        *("/v1/moderations", "/v1/chat/moderations", "/v1/conversations:moderate", "/v1/policies"),
        *("/beta/litellm_basic_guardrail_api", "/healthz", "/readyz", "/v1/chat/completions"),
    }
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert "422" not in operation["responses"] or "not_judged" in operation["responses"]["422"]["description"]
            if method == "post":
                assert operation["requestBody"]["content"]["application/json"]["schema"], path
                assert {"400", "401", "413", "429", "503"} <= set(operation["responses"])
    assert "HTTPValidationError" not in described["components"]["schemas"]
