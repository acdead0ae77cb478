"""The HTTP front's deployment without Ray: handles to deployments in this process, and a real server in front."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray.exceptions import ActorDiedError

from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.policy.policy import Policy
from protector_models.policies.policy_file import load_policy
from services.configuration import ModerationSettings
from services.deployments.http_front import HttpFront
from services.deployments.replicas import DetectorReplica
from services.http.settings import HttpSettings, RateLimit, RateLimitSettings
from services.policies_in_force import load_shadow_policy
from services.settings import ModelDeadlines, ServeSettings
from tests.logs import logs_of_its_own
from tests.protector_models.endpoints.chat_server import Reply, answer, stream
from tests.protector_models.endpoints.chat_thread import serve_chat
from tests.protector_models.synchronous_detector import load_plain
from tests.services.deployments.fake_handle import FakeDeployment, FakeHandle
from tests.services.http.served import serving

PATIENCE_S = 60.0
SETTINGS = ModerationSettings(serve=ServeSettings(deadlines=ModelDeadlines(connect_s=0.2)))
IMPATIENT = HttpSettings(retry_initial_s=0.01, retry_max_s=0.02, retry_give_up_s=0.1)


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    with logs_of_its_own():
        yield


@contextmanager
def front(
    detector: FakeDeployment,
    *,
    http: HttpSettings = IMPATIENT,
    settings: ModerationSettings = SETTINGS,
    policy: Policy | None = None,
) -> Iterator[tuple[HttpFront, httpx.Client]]:
    """Start a front as Serve does."""
    handles, shadow = {"detector": FakeHandle(detector)}, load_shadow_policy(settings)
    started = HttpFront(settings, http, policy or load_policy(None), handles=handles, shadow_policy=shadow)
    with serving(started.__serve_build_asgi_app__()) as address, httpx.Client(base_url=address) as client:
        yield started, client


def wait_until_ready(client: httpx.Client) -> None:
    ends_at_s = time.monotonic() + PATIENCE_S
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < ends_at_s
        time.sleep(0.02)


async def check_until_ill(front: HttpFront) -> None:
    ends_at_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends_at_s:
        await front.check_health()


def ask(client: httpx.Client, text: str) -> httpx.Response:
    return client.post("/v1/moderations", json={"input": text})


def test_a_front_answers_once_its_models_do() -> None:
    deployment = FakeDeployment(DetectorReplica(load_plain), hangs=True)
    with front(deployment) as (_, client):
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert ask(client, "fine").json()["error"]["code"] == "not_ready"
        deployment.hangs = False
        wait_until_ready(client)
        assert ask(client, "harm=0.9").json()["results"][0]["flagged"] is True


def test_models_are_warm_before_the_front_is_ready() -> None:
    deployment = FakeDeployment(DetectorReplica(load_plain))
    with front(deployment) as (_, client):
        wait_until_ready(client)
        assert len(deployment.calls) == 2, "the revision, and the warm-up"


def test_a_model_that_is_away_for_a_moment_costs_no_request() -> None:
    deployment = FakeDeployment(DetectorReplica(load_plain))
    with front(deployment, http=HttpSettings(retry_initial_s=0.01)) as (_, client):
        wait_until_ready(client)
        deployment.failures.append(ModelUnavailableError("away"))
        assert ask(client, "fine").status_code == 200


def test_a_model_that_stays_away_is_503_and_is_found_when_it_is_back() -> None:
    deployment = FakeDeployment(DetectorReplica(load_plain))
    with front(deployment) as (_, client):
        wait_until_ready(client)
        deployment.failures.extend(ActorDiedError() for _ in range(1_000))
        answer = ask(client, "one")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_unavailable")
        deployment.failures.clear()
        assert ask(client, "two").status_code == 200


def test_an_mllm_behind_an_endpoint_is_chatted_with_through_the_front() -> None:
    def reply(_: int, body: dict[str, Any]) -> Reply:
        said = body["messages"][-1]["content"]
        return stream({"content": said}) if body.get("stream") else answer(said)

    deployment = FakeDeployment(DetectorReplica(load_plain))
    with serve_chat(reply) as endpoint:
        mllm = MllmSettings(kind="openai", model="m", base_url=endpoint.base_url)
        with front(deployment, settings=SETTINGS.model_copy(update={"mllm": mllm})) as (_, client):
            wait_until_ready(client)
            asked = {"messages": [{"role": "user", "content": "Take the bus."}]}
            whole = client.post("/v1/chat/completions", json=asked).json()
            assert whole["choices"][0]["message"]["content"] == "Take the bus."
            streamed = client.post("/v1/chat/completions", json={**asked, "stream": True}).text
            assert '"content":"Take the bus."' in streamed
            assert streamed.endswith("data: [DONE]\n\n")


class Sleeper(DetectorReplica):
    """Says who it is, and judges nothing while it sleeps."""

    num_asked = 0
    sleeps = True

    async def assess(self, *args: Any, **named: Any) -> list[Assessment | ItemFailure]:
        """Judge, or not."""
        self.num_asked += 1
        if self.sleeps:
            raise ModelUnavailableError("asleep")
        return await super().assess(*args, **named)


def test_a_front_is_ready_only_once_its_models_have_judged_also_where_the_policy_goes_on_without_them() -> None:
    replica = Sleeper(load_plain)
    goes_on = load_policy(None).model_copy(update={"on_detector_outage": "open"})
    with front(FakeDeployment(replica), policy=goes_on) as (_, client):
        ends_at_s = time.monotonic() + PATIENCE_S
        while replica.num_asked < 20:  # more often than one call asks
            assert time.monotonic() < ends_at_s
            time.sleep(0.01)
        assert client.get("/readyz").status_code == 503
        replica.sleeps = False
        wait_until_ready(client)
        replica.sleeps = True
        (result,) = ask(client, "harm=0.9").json()["results"]
        assert (result["flagged"], result["weir"]["evaluation_status"]["assessment"]) == (False, "failed")


def test_limits_are_in_force_before_the_models_are_up() -> None:
    limits = RateLimitSettings(default=RateLimit(requests_per_minute=1))
    deployment = FakeDeployment(DetectorReplica(load_plain), hangs=True)
    with front(deployment, http=HttpSettings(rate_limits=limits)) as (_, client):
        codes = [ask(client, "fine").json()["error"]["code"] for _ in range(2)]
    assert codes == ["not_ready", "rate_limited"]


async def test_a_front_whose_models_can_never_be_reached_is_ill() -> None:
    deployment = FakeDeployment(object())
    with front(deployment) as (started, client):
        with pytest.raises(AttributeError):
            await check_until_ill(started)
        assert client.get("/readyz").status_code == 503


async def test_a_front_that_has_not_begun_is_well() -> None:
    settings = ModerationSettings()
    await HttpFront(settings, HttpSettings(), load_policy(None), handles={}).check_health()


POLICY = "version: {}\nrules: [{{category: any, threshold: {}, action: block}}]\nsafe_completions: {{default: No.}}\n"


def policy_when(client: httpx.Client, is_reached: Callable[[str], bool]) -> str:
    """Wait until verdicts name a policy; return it."""
    ends_at_s = time.monotonic() + PATIENCE_S
    while True:
        named = str(ask(client, "harm=0.5").json()["results"][0]["weir"]["policy_version"])
        if is_reached(named):
            return named
        assert time.monotonic() < ends_at_s, named
        time.sleep(0.01)


def test_a_policy_file_that_changes_is_in_force_without_a_restart_and_one_that_cannot_be_used_is_not(
    tmp_path: Path,
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.format("second", 0.9))
    settings = ModerationSettings(policy=file, policy_reload_s=0.01)
    deployment = FakeDeployment(DetectorReplica(load_plain))
    with front(deployment, settings=settings) as (_, client):
        wait_until_ready(client)
        # The file is newer than the policy that the front was made with.
        assert policy_when(client, lambda _: True) == load_policy(file).revision
        file.write_text(POLICY.format("third", "46%"))
        assert policy_when(client, lambda _: True).startswith("second@")
        file.write_text(POLICY.format("fourth", 0.4))
        assert policy_when(client, lambda named: named.startswith("fourth@")) == load_policy(file).revision
        assert ask(client, "harm=0.5").json()["results"][0]["flagged"] is True
        assert client.get("/v1/policies").json()["data"][0]["policy_version"] == load_policy(file).revision


def test_a_shadow_policy_is_reported_and_its_file_looked_after(tmp_path: Path) -> None:
    file = tmp_path / "next.yaml"
    file.write_text(POLICY.format("next", 0.4))
    settings = ModerationSettings(shadow_policy=file, policy_reload_s=0.01)
    with front(FakeDeployment(DetectorReplica(load_plain)), settings=settings) as (_, client):
        wait_until_ready(client)

        def shadow() -> dict[str, object]:
            (result,) = ask(client, "harm=0.45").json()["results"]
            assert (result["flagged"], result["weir"]["policy_version"]) == (False, load_policy(None).revision)
            found: dict[str, object] = result["weir"]["shadow_policy"]
            return found

        expected = {"policy_version": load_policy(file).revision, "action": "block", "category": "unspecified"}
        assert shadow() == expected
        file.write_text(POLICY.format("later", 0.6))
        ends_at_s = time.monotonic() + PATIENCE_S
        while shadow() == expected:
            assert time.monotonic() < ends_at_s
        assert shadow() == {"policy_version": load_policy(file).revision, "action": "allow", "category": None}
