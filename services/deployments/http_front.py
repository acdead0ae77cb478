"""The HTTP front in a Ray Serve replica: the application of `services.http`, over models that are other deployments."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog
from starlette.types import ASGIApp

from protector_models.mllms.mllm import open_chat_model
from protector_models.moderation.errors import DependencyError, ModelUnavailableError
from protector_models.moderation.one_turn import make_turn
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.ports import Moderates
from protector_models.moderation.verdict import Verdict
from services.configuration import ModerationSettings
from services.counters.replica_counters import RayMetrics
from services.deployments.calls import ServeHandle
from services.deployments.ingress import require_ingress
from services.deployments.model_rows import connect_models
from services.http.app import build_app
from services.http.moderators import Moderators, Readiness
from services.http.settings import HttpSettings
from services.logs import configure_logs
from services.moderators import open_moderator, verdict_cache
from services.patience import Patience, report_tries
from services.persistent_ports import ask_persistently
from services.policy_reload import PoliciesInForce
from services.stores.redis_charges import make_charges

_WARM_UP = Patience(initial_s=0.5, max_s=5)
"""Models are waited for without end: a new replica would only wait anew."""
_WARM_UP_EVENT = make_turn("How do I get home?", "Take the bus.", event_id="warm-up")

_log = structlog.get_logger(__name__)


class HttpFront:
    """Answers HTTP for as long as the replica lives; its models may come up later, and `/readyz` says when."""

    def __init__(
        self,
        settings: ModerationSettings,
        http: HttpSettings,
        policy: Policy,
        *,
        handles: Mapping[str, ServeHandle],
        shadow_policy: Policy | None = None,
    ) -> None:
        """Put a front together; it connects when Serve starts the application. It has a process of its own.

        Args:
            settings: of the models, the cache and the logs.
            http: of the front.
            policy: turns assessments into actions, unless the file that the settings name has another one by now.
            handles: to the models that are configured, by the names of their rows.
            shadow_policy: decides beside it, and changes nothing.

        Raises:
            ConfigurationError: Ray was started with another ingress than `http.ingress`, or lets everybody in.
        """
        require_ingress(http)
        configure_logs(settings.log)
        self._settings = settings
        self._http = http
        self._policy = policy
        self._shadow_policy = shadow_policy
        self._handles = handles
        self._metrics = RayMetrics()
        self._readiness = Readiness()
        self._opening: asyncio.Task[None] | None = None
        self._charges = make_charges(settings.redis, metrics=self._metrics)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the application; called by Serve."""
        return build_app(
            settings=self._http,
            policy=self._policy,
            readiness=self._readiness,
            metrics=self._metrics,
            charges=self._charges,
            beside=self._moderators_beside,
            # Serve does, with the id that the request came with.
            sends_request_id=False,
        )

    async def check_health(self) -> None:
        """Raise where a new replica could do better.

        Raises:
            Exception: what ended the connection to the models for good.
        """
        if self._opening is not None and self._opening.done() and not self._opening.cancelled():
            self._opening.result()

    @asynccontextmanager
    async def _moderators_beside(self) -> AsyncIterator[None]:
        """Have the models connected while the block runs. Returns at once: the replica is up before they are."""
        self._opening = asyncio.create_task(self._keep_open())
        try:
            yield
        finally:
            self._opening.cancel()
            await asyncio.wait([self._opening])
            await self._charges.close()

    async def _keep_open(self) -> None:
        settings, http, metrics = self._settings, self._http, self._metrics
        async with AsyncExitStack() as stack:
            cache = await stack.enter_async_context(verdict_cache(settings, metrics))
            models = await _WARM_UP.keep_trying(
                partial(connect_models, self._handles, settings.serve),
                after=DependencyError,
                report=report_tries(_log, "the models are not up yet; trying again"),
            )
            asked = ask_persistently(models, patience=Patience.from_settings(http), metrics=metrics)
            policies = PoliciesInForce(settings, self._policy, self._shadow_policy, metrics=metrics)
            policy = await policies.begin()
            moderator = await stack.enter_async_context(open_moderator(settings, policy, metrics, cache, asked))
            chat = open_chat_model(settings.mllm, asked.generator)
            if chat is not None:
                stack.push_async_callback(chat.close)
            moderators = Moderators.of(policies.put_over(moderator), cache, chat=chat)
            await _WARM_UP.keep_trying(
                partial(_warm_up, moderators.live),
                after=DependencyError,
                report=report_tries(_log, "the models do not answer yet; trying again"),
            )
            self._readiness.moderators = moderators
            _log.info("the HTTP front is ready")

            def switch() -> None:
                self._readiness.moderators = Moderators.of(policies.put_over(moderator), cache, chat=chat)

            try:
                async with policies.watching(switch):
                    await asyncio.Event().wait()
            finally:
                self._readiness.moderators = None


async def _warm_up(moderator: Moderates) -> None:
    """Have something judged.

    Raises:
        DependencyError: a model is not up yet, also where the policy goes on without it.
    """
    (outcome,) = await moderator.moderate([_WARM_UP_EVENT])
    if isinstance(outcome, Verdict) and outcome.assessment is None:
        raise ModelUnavailableError("nothing was judged yet")
