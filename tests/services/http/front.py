"""The HTTP front over a Moderator of fakes, called in this process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from protector_models.moderation.fake_chat import FakeChatModel
from protector_models.moderation.fakes import (
    FakeDetoxifier,
    FakeGenerator,
    FakeHarmDetector,
    FakeImageReader,
    FakeImageSource,
    RecordedMetrics,
)
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.ports import ChatModel, VerdictCache
from services.http.app import build_app
from services.http.moderators import Moderators, Readiness
from services.http.settings import HttpSettings
from services.stores.charges import Charges
from tests.builders import policy as build_policy

HARM_ME = "harm=0.9 category=hate"
"""A text that the fake detector finds harmful."""


@dataclass(kw_only=True)
class Front:
    """The application, and its fakes at hand."""

    settings: HttpSettings = field(default_factory=HttpSettings)
    policy: Policy = field(default_factory=build_policy)
    detector: FakeHarmDetector = field(default_factory=FakeHarmDetector)
    detoxifier: FakeDetoxifier | None = field(default_factory=FakeDetoxifier)
    generator: FakeGenerator | None = None
    chat: ChatModel | None = field(default_factory=FakeChatModel)
    images: Mapping[str, bytes] = field(default_factory=dict)
    """Bytes of images, by their references."""
    is_ready: bool = True
    metrics: RecordedMetrics = field(default_factory=RecordedMetrics)
    cache: VerdictCache = field(default_factory=lambda: MemoryVerdictCache(max_entries=1_000))
    charges: Charges | None = None

    def __post_init__(self) -> None:
        self.readiness = Readiness()
        self._put_together()
        self.app = build_app(
            settings=self.settings,
            policy=self.policy,
            readiness=self.readiness,
            metrics=self.metrics,
            charges=self.charges,
        )

    def begin_anew(self) -> None:
        """Forget all that was judged; to build another application would take longer."""
        self.detector.assessed.clear()
        self.cache = MemoryVerdictCache(max_entries=1_000)
        self._put_together()

    def _put_together(self) -> None:
        self.moderator = Moderator(
            policy=self.policy,
            detector=self.detector,
            cache=self.cache,
            metrics=self.metrics,
            detoxifier=self.detoxifier,
            generator=self.generator,
            image_source=FakeImageSource(self.images),
            image_reader=FakeImageReader(),
        )
        if self.is_ready:
            self.become_ready()

    def become_ready(self) -> None:
        """Have the models come up."""
        self.readiness.moderators = Moderators.of(self.moderator, self.cache, chat=self.chat)

    def client(self, *, host: str = "127.0.0.1") -> httpx.AsyncClient:
        """Return a client that calls from an address."""
        transport = httpx.ASGITransport(app=self.app, client=(host, 50_000))
        return httpx.AsyncClient(transport=transport, base_url="http://front")

    async def post(
        self, path: str, content: object, *, headers: Mapping[str, str] | None = None, host: str = "127.0.0.1"
    ) -> httpx.Response:
        """Post JSON; bytes are posted as they are."""
        async with self.client(host=host) as client:
            if isinstance(content, bytes):
                json_headers = {"content-type": "application/json", **(headers or {})}
                return await client.post(path, content=content, headers=json_headers)
            return await client.post(path, json=content, headers=headers)

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Get a page."""
        async with self.client() as client:
            return await client.get(path, headers=headers)

    async def moderate(self, given: object, **more: object) -> dict[str, Any]:
        """Return OpenAI's answer to an input."""
        answer = await self.post("/v1/moderations", {"input": given, **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Return the error in OpenAI's envelope."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    found: dict[str, Any] = body["error"]
    return found
