"""Who may call, and whose rules hold."""

import json

import pytest
from pydantic import ValidationError

from protector_models.moderation.policy.policy import TenantOverrides
from protector_models.moderation.verdict import Action
from services.http.settings import ApiKeySettings, HttpSettings
from tests.builders import policy, rule
from tests.services.http.front import Front, error_of
from tests.services.http.keys import KEYS, bearer
from tests.wire import encode

WITH_KEYS = HttpSettings(host="0.0.0.0", keys=KEYS)
STRICT_KIDS = policy(tenants={"kids": TenantOverrides(rules=(rule(0.2, Action.BLOCK),))})
EVENTS = "/v1/conversations:moderate"
CALLS = ["/v1/moderations", "/v1/chat/moderations", EVENTS, "/beta/litellm_basic_guardrail_api"]


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {bearer('acme')['authorization'][7:]}"},
        {"authorization": f"Bearer {KEYS[0].sha256}"},
        {"authorization": "Bearer kö"},
        {"x-api-key": ""},
        {"x-api-key": "wrong"},
        {"x-api-key": bearer("acme")["authorization"]},
        {"x-api-key": bearer("acme")["authorization"][7:], "authorization": "Bearer wrong"},
    ],
    ids=str,
)
async def test_without_a_known_key_nothing_is_read_or_judged(path: str, headers: dict[str, str]) -> None:
    front = Front(settings=WITH_KEYS)
    latin = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = await front.post(path, b"no JSON", headers=latin)  # type: ignore[arg-type]  # bytes are headers, too
    error = error_of(answer, 401)
    assert (error["code"], error["type"]) == ("invalid_api_key", "authentication_error")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (await front.get("/v1/policies")).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_with_a_key_calls_come_from_anywhere(scheme: str) -> None:
    key = bearer("acme")["authorization"].removeprefix("Bearer ")
    front = Front(settings=WITH_KEYS)
    answer = await front.post(
        "/v1/moderations", {"input": "fine"}, headers={"authorization": f"{scheme} {key}"}, host="203.0.113.7"
    )
    assert answer.status_code == 200


async def test_a_key_may_come_in_the_header_that_gateways_have_for_it() -> None:
    front = Front(settings=WITH_KEYS, policy=STRICT_KIDS)
    key = bearer("kids")["authorization"].removeprefix("Bearer ")
    answer = await front.post("/v1/moderations", {"input": "harm=0.3"}, headers={"x-api-key": key})
    assert answer.json()["results"][0]["flagged"] is True


async def test_a_keys_tenant_has_its_own_rules() -> None:
    front = Front(settings=WITH_KEYS, policy=STRICT_KIDS)
    flagged = {
        tenant: (await front.post("/v1/moderations", {"input": "harm=0.3"}, headers=bearer(tenant))).json()["results"][
            0
        ]["flagged"]
        for tenant in ("acme", "kids")
    }
    assert flagged == {"acme": False, "kids": True}
    conversation = {"input": [{"role": "assistant", "content": "harm=0.3"}]}
    [result] = (await front.post("/v1/chat/moderations", conversation, headers=bearer("kids"))).json()["results"]
    assert result["weir"]["action"] == "block"


async def test_an_event_that_names_no_tenant_is_of_the_keys_and_one_of_another_is_refused() -> None:
    front = Front(settings=WITH_KEYS, policy=STRICT_KIDS)
    for unnamed in (encode("tenant", response="harm=0.3"), encode(response="harm=0.3", tenant=None)):
        answer = (await front.post(EVENTS, unnamed, headers=bearer("kids"))).json()
        assert (answer["tenant"], answer["action"]) == ("kids", "block")
    own = await front.post(EVENTS, encode(tenant="kids"), headers=bearer("kids"))
    assert own.json()["tenant"] == "kids"
    for other in ("acme", "default"):
        error = error_of(await front.post(EVENTS, encode(tenant=other), headers=bearer("kids")), 403)
        assert (error["code"], error["type"], error["param"]) == ("tenant_mismatch", "permission_error", "tenant")
    batch = {"events": [json.loads(encode(tenant="kids")), json.loads(encode(tenant="acme"))]}
    assert (await front.post(EVENTS, batch, headers=bearer("kids"))).status_code == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.8.8.8", 200),
        ("::1", 200),
        ("203.0.113.7", 403),
        ("10.0.0.1", 403),
        ("testclient", 403),
    ],
)
async def test_without_keys_only_this_machine_is_answered(host: str, status: int) -> None:
    answer = await Front().post("/v1/moderations", {"input": "fine"}, host=host)
    assert answer.status_code == status
    if status == 403:
        assert error_of(answer, 403)["code"] == "not_from_this_machine"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/"])
async def test_pages_that_tell_nothing_of_anybody_need_no_key(path: str) -> None:
    assert (await Front(settings=WITH_KEYS).get(path)).status_code == 200


async def test_a_tenant_reads_its_own_rules_and_no_others() -> None:
    front = Front(settings=WITH_KEYS, policy=STRICT_KIDS)
    listed = (await front.get("/v1/policies", headers=bearer("kids"))).json()
    assert listed["object"] == "list"
    [kids] = listed["data"]
    assert (kids["tenant"], kids["policy_version"]) == ("kids", front.policy.revision)
    assert kids["rules"]["rules"] == [{"category": "any", "threshold": 0.2, "action": "block"}]
    [acme] = (await front.get("/v1/policies", headers=bearer("acme"))).json()["data"]
    assert "block" not in json.dumps(acme["rules"]["rules"])


async def test_without_keys_the_rules_of_all_are_read() -> None:
    listed = (await Front(policy=STRICT_KIDS).get("/v1/policies")).json()
    assert [one["tenant"] for one in listed["data"]] == ["default", "kids"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "localhost.example.org"])
def test_a_front_without_keys_listens_on_this_machine_alone(host: str) -> None:
    with pytest.raises(ValidationError, match="expected a loopback address"):
        HttpSettings(host=host)
    assert HttpSettings(host=host, keys=KEYS).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_addresses_of_this_machine_need_no_keys(host: str) -> None:
    assert HttpSettings(host=host).host == host


@pytest.mark.parametrize("sha256", ["", "abc", KEYS[0].sha256.upper(), "g" * 64])
def test_what_is_no_hash_is_refused(sha256: str) -> None:
    with pytest.raises(ValidationError, match="sha256"):
        ApiKeySettings(tenant="acme", sha256=sha256)


def test_a_key_is_of_one_tenant() -> None:
    with pytest.raises(ValidationError, match="expected each sha256 once"):
        HttpSettings(keys=(KEYS[0], KEYS[0].model_copy(update={"tenant": "other"})))
