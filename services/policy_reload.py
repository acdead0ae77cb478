"""The policy file while a service runs: a changed one is noticed, checked, and takes the place of the one in force."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import structlog

from protector_models.checkpoints.cards import CheckpointError
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.ports import Metrics
from protector_models.policies.policy_file import PolicyFileError, parse_policy
from services.configuration import ModerationSettings
from services.policies_in_force import require_fitting_policy

_Outcome = Literal["loaded", "refused", "unreadable", "failed"]

_STILL_S = 0.2
"""A file is taken at the start of a replica when it stays the same for so long."""

_log = structlog.get_logger(__name__)


class PolicyReload:
    """Holds the policy in force, and looks after its file. All that blocks is done beside the event loop.

    A file that cannot be used changes nothing: the policy before it stays in force, until the file changes again. Each
    content is counted and told once, without quoting anything of it. Where no file is configured nothing happens.
    """

    def __init__(self, path: Path | None, policy: Policy, *, settings: ModerationSettings, metrics: Metrics) -> None:
        """Begin with a policy.

        Args:
            path: the file; None: there is none.
            policy: the one that was in force when the service was put together.
            settings: say how often to look, and which models a policy must fit.
            metrics: counts changed files.
        """
        self._path = path
        self._settings = settings
        self._metrics = metrics
        self._seen: str | None = None
        """Digest of the content at the last look; None where it could not be read, or there was none."""
        self._settled: str | None = None
        """Digest of the last content that was loaded or refused."""
        self._failed: str | None = None
        """Digest of the last content that could not be tried for another reason, and is tried again at each look."""
        self._is_missing = False
        self.policy = policy
        """The policy in force."""

    async def begin(self) -> Policy:
        """Load what the file holds by now, and return the policy in force: the file may be newer than the service.

        Where changed files are not looked for, it is not looked at here either.
        """
        if self._settings.policy_reload_s is not None and self._path is not None:
            await self.look()
            await asyncio.sleep(_STILL_S)
            await self.look()
        return self.policy

    async def look(self) -> bool:
        """Look at the file; return whether another policy is in force now.

        What it holds is loaded when it is the same as at the look before: what is being written is not taken by halves.
        """
        path = self._path
        if path is None:
            return False
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            self._seen = None
            if not self._is_missing:
                self._keep("unreadable", error)
            self._is_missing = True
            return False
        self._is_missing = False
        digest = hashlib.sha256(content).hexdigest()
        is_still, self._seen = digest == self._seen, digest
        return is_still and digest != self._settled and await self._try(content, digest, path)

    @asynccontextmanager
    async def watching(self, switch: Callable[[Policy], None]) -> AsyncIterator[None]:
        """Look again and again while the block runs.

        Args:
            switch: called on the event loop with each policy that comes into force.
        """
        watch = asyncio.create_task(self._watch(switch))
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.wait([watch])

    async def _watch(self, switch: Callable[[Policy], None]) -> None:
        interval_s = self._settings.policy_reload_s
        while interval_s is not None and self._path is not None:
            await asyncio.sleep(interval_s)
            if await self.look():
                switch(self.policy)

    async def _try(self, content: bytes, digest: str, path: Path) -> bool:
        try:
            policy = await asyncio.to_thread(self._load, content, path)
        except CheckpointError as error:
            # Of a model, not of the policy: it may pass.
            return self._fail(digest, error)
        except ConfigurationError as error:
            self._settled = digest
            self._keep("refused", error)
            return False
        except Exception as error:  # noqa: BLE001  (whatever it is, the policy in force goes on, and so does the watch)
            return self._fail(digest, error)
        self._settled = digest
        return self._take(policy)

    def _fail(self, digest: str, error: Exception) -> bool:
        if self._failed != digest:
            self._keep("failed", error)
        self._failed = digest
        return False

    def _load(self, content: bytes, path: Path) -> Policy:
        policy = parse_policy(content, path)
        require_fitting_policy(policy, self._settings)
        return policy

    def _take(self, policy: Policy) -> bool:
        before = self.policy.revision
        if policy.revision == before:
            return False
        self.policy = policy
        self._count("loaded")
        _log.info("another policy is in force", file=str(self._path), policy=policy.revision, before=before)
        return True

    def _keep(self, outcome: _Outcome, error: Exception) -> None:
        self._count(outcome)
        # Not the message: it quotes the file.
        lines = [fault.line for fault in error.faults] if isinstance(error, PolicyFileError) else []
        _log.error(
            "the policy file cannot be used; the policy before it stays in force (`weir policy check` says why)",
            file=str(self._path),
            outcome=outcome,
            error=type(error).__name__,
            lines=lines,
            policy=self.policy.revision,
        )

    def _count(self, outcome: _Outcome) -> None:
        self._metrics.count("weir_policy_reloads_total", outcome=outcome)


class PoliciesInForce:
    """The policy in force and the shadow policy beside it, where there is one; their files are looked after."""

    def __init__(
        self, settings: ModerationSettings, policy: Policy, shadow_policy: Policy | None, *, metrics: Metrics
    ) -> None:
        """Begin with what was in force when the service was put together; see `PolicyReload`."""
        self._live = PolicyReload(settings.policy, policy, settings=settings, metrics=metrics)
        self._shadow: PolicyReload | None = None
        if shadow_policy is not None:
            self._shadow = PolicyReload(settings.shadow_policy, shadow_policy, settings=settings, metrics=metrics)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._live.policy

    async def begin(self) -> Policy:
        """Load what the files hold by now, and return the policy in force."""
        if self._shadow is not None:
            await self._shadow.begin()
        return await self._live.begin()

    def put_over(self, moderator: Moderator) -> Moderator:
        """Return a moderator with the same models that has these policies, as they are now."""
        return moderator.under(self.policy, shadow_policy=None if self._shadow is None else self._shadow.policy)

    @asynccontextmanager
    async def watching(self, switch: Callable[[], None]) -> AsyncIterator[None]:
        """Look at the files again and again while the block runs.

        Args:
            switch: called on the event loop whenever there is another policy.
        """
        async with AsyncExitStack() as stack:
            for reload in (self._live, self._shadow):
                if reload is not None:
                    await stack.enter_async_context(reload.watching(lambda _: switch()))
            yield
