"""Detoxifiers that need no model."""

from collections.abc import Sequence

from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.verdict import ItemFailure, Rewrite


class SafeCompletionDetoxifier:
    """Puts the policy's safe completion in the place of a harmful response. Implements `Detoxifier`.

    The text comes with the request, so every tenant and category has its own, and the policy stays the one place where
    such texts stand. There is only one: every further attempt writes it again.
    """

    revision = "safe-completion@1"

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Return the safe completion of each request."""
        return [Rewrite(text=request.safe_completion, detoxifier=self.revision) for request in requests]
