"""What Ray Serve runs: thin shells that load a model, warm it up, and pass calls on under the caller's deadline.

Callers send micro-batches, so nothing is batched here. `remaining_s` is how long the caller still waits: expired work
is refused, and a call that the caller gives up is cancelled by Serve, on whatever queue it waits.
"""

from collections.abc import Callable, Sequence

from protector_models.chat_endpoint import ChatEndpointGenerator
from protector_models.deadlines import within
from protector_models.detoxifier import ModelDetoxifier
from protector_models.in_process import InProcessHarmDetector, SynchronousHarmDetector
from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.verdict import Assessment, ItemFailure, Rewrite
from protector_models.settings import MllmSettings

_HEALTH_EXCHANGE = Exchange(prompt="How are you?", response="I am fine, thank you.")
_HEALTH_TIMEOUT_S = 25.0

_WARM_UP_EXCHANGES = [
    Exchange(prompt="How are you? " * length, response="I am fine, thank you. " * length) for length in (1, 4, 16, 64)
]
"""Short and long ones: the first run on each length of input is the slow one."""


class DetectorReplica:
    """A harm detector. It is ready when it has scored something."""

    def __init__(self, load: Callable[[], SynchronousHarmDetector], *, concurrency: int) -> None:
        """Load the model and run it.

        Args:
            load: gives the loaded model.
            concurrency: calls that compute at the same time.

        Raises:
            ModelUnavailableError: the model cannot score the texts of the warm-up.
        """
        model = load()
        _require_assessments(model.revision, model.assess(_WARM_UP_EXCHANGES))
        self._revision = model.revision
        self._detector = InProcessHarmDetector(model, timeout_s=_HEALTH_TIMEOUT_S, concurrency=concurrency)

    async def revision(self) -> str:
        """Return the model's "name@revision"."""
        return self._revision

    async def assess(self, exchanges: Sequence[Exchange], remaining_s: float) -> list[Assessment | ItemFailure]:
        """Score each exchange.

        Raises:
            ModelUnavailableError: the caller's time was over before the scores were there.
        """
        return await self._detector.assess(exchanges, timeout_s=remaining_s)

    async def check_health(self) -> None:
        """Run the model, on the threads that calls run on: a wedged thread is as bad as a broken model.

        Raises:
            ModelUnavailableError: it gave no finite score, or none in time.
        """
        _require_assessments(self._revision, await self._detector.assess([_HEALTH_EXCHANGE]))


class DetoxifierReplica:
    """A detoxifier. It is ready when its edit model has edited something."""

    def __init__(self, load: Callable[[], ModelDetoxifier]) -> None:
        """Load the detoxifier and run its edit model.

        Args:
            load: gives the loaded detoxifier.

        Raises:
            ModelUnavailableError: the edit model cannot handle the texts of the warm-up.
        """
        self._detoxifier = load()
        self._detoxifier.warm_up()

    async def revision(self) -> str:
        """Return the detoxifier's "name@revision"."""
        return self._detoxifier.revision

    async def rewrite(self, requests: Sequence[RewriteRequest], remaining_s: float) -> list[Rewrite | ItemFailure]:
        """Rewrite each response.

        Raises:
            ModelUnavailableError: the caller's time was over before the rewrites were there.
        """
        return await within(
            remaining_s, lambda: self._detoxifier.rewrite(requests), waiting_for=self._detoxifier.revision
        )

    async def check_health(self) -> None:
        """Run the edit model. The health of a generative model behind an endpoint is the endpoint's.

        Raises:
            ModelUnavailableError: it gave no text, or none in time.
        """
        await self._detoxifier.check_health(timeout_s=_HEALTH_TIMEOUT_S)

    async def close(self) -> None:
        """Give threads and connections up."""
        await self._detoxifier.close()


class MllmReplica:
    """An MLLM behind an endpoint. Its health is the endpoint's: starting the replica again would not mend it."""

    def __init__(self, settings: MllmSettings) -> None:
        self._generator = ChatEndpointGenerator.from_settings(settings)

    async def revision(self) -> str:
        """Return the MLLM's "name@revision"."""
        return self._generator.revision

    async def generate(self, events: Sequence[ConversationEvent], remaining_s: float) -> list[str | ItemFailure]:
        """Answer each conversation.

        Raises:
            ModelUnavailableError: the endpoint is gone, busy or late, or the caller's time is over.
        """
        return await within(remaining_s, lambda: self._generator.generate(events), waiting_for=self._generator.revision)

    async def close(self) -> None:
        """Close the connections."""
        await self._generator.close()


def _require_assessments(revision: str, outcomes: Sequence[Assessment | ItemFailure]) -> None:
    """Raise unless every outcome is an assessment, whose scores are finite numbers in [0, 1] by its type."""
    for outcome in outcomes:
        if isinstance(outcome, ItemFailure):
            raise ModelUnavailableError(f"{revision}: a text of ours, expected a score, got {outcome.error}")
