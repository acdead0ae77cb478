"""Detoxifiers that need no model."""

from collections.abc import Sequence

from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.verdict import ItemFailure, Rewrite


class SafeCompletionDetoxifier:
    """Puts the policy's safe completion in the place of a harmful response. Implements `Detoxifier`.

    The text comes with the request, so every tenant and category has its own, and the policy stays the one place where
    such texts stand. There is only one: a second attempt has nothing else to offer and fails.
    """

    revision = "safe-completion@1"

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Return the safe completion of each request."""
        return [self._rewrite(request) for request in requests]

    def _rewrite(self, request: RewriteRequest) -> Rewrite | ItemFailure:
        if request.attempt > 0:
            return ItemFailure(
                error="NothingElseToOffer",
                message=f"attempt {request.attempt}: expected 0",
            )
        return Rewrite(text=request.safe_completion, detoxifier=self.revision)
