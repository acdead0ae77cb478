"""OpenAI's own client, unmodified, against a real server."""

import asyncio
import socket
from collections.abc import Iterator, Sequence

import openai
import pytest
from openai.types import ModerationMultiModalInputParam

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fakes import FakeHarmDetector
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from services.http.settings import HttpSettings, RateLimit, RateLimitSettings
from tests.services.http.front import HARM_ME, Front
from tests.services.http.keys import KEYS, bearer
from tests.services.http.served import serving

_BEGUN = (
    b"POST /v1/moderations HTTP/1.1\r\nhost: front\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
)
"""A request whose body does not come."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    front = Front(
        settings=HttpSettings(keys=KEYS), images={"data:image/png;base64,AAAA": b"harm=0.9 category=violence"}
    )
    with serving(front.app) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    key = bearer("acme")["authorization"].removeprefix("Bearer ")
    with openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0) as found:
        yield found


def ask_until_refused(client: openai.OpenAI) -> None:
    while True:
        client.moderations.create(input="fine")


def test_a_tenants_limit_is_one_that_the_client_knows() -> None:
    limits = RateLimitSettings(default=RateLimit(requests_per_minute=1))
    with (
        serving(Front(settings=HttpSettings(rate_limits=limits)).app) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        answer = client.moderations.with_raw_response.create(input="fine")
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as caught:
            client.moderations.create(input="fine")
    assert (caught.value.code, caught.value.type) == ("rate_limited", "rate_limit_error")
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 61


def test_a_text(client: openai.OpenAI) -> None:
    answer = client.moderations.create(input=HARM_ME)
    [result] = answer.results
    assert answer.id.startswith("modr-")
    assert answer.model == "fake-detector@1"
    assert result.flagged is True
    assert (result.categories.hate, result.categories.hate_threatening) == (True, False)
    assert (result.category_scores.hate, result.category_scores.violence_graphic) == (0.9, 0.0)
    assert result.category_applied_input_types.hate == ["text"]
    assert result.category_applied_input_types.violence_graphic == []
    # What stands beside OpenAI's own is kept.
    assert (result.categories.model_extra or {})["privacy"] is False
    assert (result.model_extra or {})["weir"]["action"] == "rewrite"


def test_texts_and_the_answer_is_of_the_form_that_the_client_declares(client: openai.OpenAI) -> None:
    answer = client.moderations.create(input=["fine", HARM_ME], model="omni-moderation-latest")
    assert [result.flagged for result in answer.results] == [False, True]
    # The client itself constructs without looking; its types are strict where they are asked to be.
    type(answer).model_validate(answer.model_dump(by_alias=True), strict=True)


def test_parts_with_images(client: openai.OpenAI) -> None:
    parts: list[ModerationMultiModalInputParam] = [
        {"type": "text", "text": "Look!"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    answer = client.moderations.create(input=parts)
    [result] = answer.results
    assert result.categories.violence is True
    assert result.category_applied_input_types.violence == ["text", "image"]


def test_errors_are_those_that_the_client_knows(client: openai.OpenAI, address: str) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.moderations.create(input="")
    assert (bad.value.code, bad.value.param, bad.value.type) == ("invalid_value", "input", "invalid_request_error")
    assert bad.value.request_id is not None
    with pytest.raises(openai.NotFoundError):
        client.moderations.create(input="fine", model="gpt-5")
    with (
        openai.OpenAI(base_url=f"{address}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.moderations.create(input="fine")


class _BusyAtFirst(FakeHarmDetector):
    """Is away when it is asked for the first time."""

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score, or be away."""
        if not self.assessed:
            self.assessed.extend(exchanges)
            raise ModelUnavailableError("away")
        return await super().assess(exchanges)


def test_the_client_tries_again_what_was_refused_for_an_outage() -> None:
    front = Front(detector=_BusyAtFirst())
    with serving(front.app) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        with pytest.raises(openai.InternalServerError) as refused:
            client.with_options(max_retries=0).moderations.create(input="fine")
        assert (refused.value.status_code, refused.value.code) == (503, "model_unavailable")
        front.detector.assessed.clear()
        assert client.moderations.create(input="fine").results[0].flagged is False


def test_the_client_is_told_of_overload_and_the_place_of_one_that_hangs_up_is_free() -> None:
    front = Front(settings=HttpSettings(max_concurrent_requests=1))
    with serving(front.app) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as slow:
            slow.sendall(_BEGUN)
            with pytest.raises(openai.RateLimitError) as refused:
                ask_until_refused(client.with_options(max_retries=0))
        assert refused.value.response.headers["retry-after"] == "1"
        assert client.moderations.create(input="fine").results[0].flagged is False


def test_the_asynchronous_client_is_answered_too(address: str) -> None:
    async def ask() -> bool:
        key = bearer("kids")["authorization"].removeprefix("Bearer ")
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=key) as client:
            return (await client.moderations.create(input=HARM_ME)).results[0].flagged

    assert asyncio.run(ask()) is True
