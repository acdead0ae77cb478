"""Events of tenants that a policy does not name: counted, told once, refused where the policy says so."""

import logging
from collections import Counter
from collections.abc import Sequence

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.ports import Metrics
from protector_models.moderation.revisions import hash_text
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import Failure

_MAX_TOLD = 1_000
"""Names that are remembered as told; beyond them no further one is."""

_log = logging.getLogger(__name__)


class TenantCheck:
    """Looks for events of unknown tenants."""

    def __init__(self, policy: Policy, *, metrics: Metrics) -> None:
        """Make a check.

        Args:
            policy: names tenants, and says what becomes of events of others.
            metrics: counts those.
        """
        self._policy = policy
        self._metrics = metrics
        self._told: set[str] = set()

    def refuse(self, event: ConversationEvent) -> Failure | None:
        """Return the failure that an event of an unknown tenant is, where the policy refuses those; else None."""
        if self._policy.on_unknown_tenant != "refuse" or self._policy.knows_tenant(event.tenant):
            return None
        named = len(self._policy.tenants)
        message = f"tenant: expected one of the {named} that the policy names, or 'default'"
        return Failure(stage=Stage.ASSESS, error="UnknownTenant", message=message)

    def count(self, events: Sequence[ConversationEvent]) -> None:
        """Count events of unknown tenants, of a batch that came to its end; tell of each tenant once, by a digest."""
        unknown = Counter(event.tenant for event in events if not self._policy.knows_tenant(event.tenant))
        if not unknown:
            return
        self._metrics.count("weir_unknown_tenants_total", unknown.total(), action=self._policy.on_unknown_tenant)
        for tenant in unknown:
            if tenant not in self._told and len(self._told) < _MAX_TOLD:
                self._told.add(tenant)
                # Not the name: where a producer's columns are shifted, text of a conversation stands in its place.
                _log.warning(
                    "a tenant is not in the policy: its name has %d characters and the digest %s: %s",
                    len(tenant),
                    hash_text(tenant),
                    self._policy.on_unknown_tenant,
                )
