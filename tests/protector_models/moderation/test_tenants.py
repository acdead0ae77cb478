"""Events of tenants that the policy does not name do not pass unnoticed."""

import hashlib
import logging

import pytest

from protector_models.moderation.fakes import FakeDetoxifier, FakeGenerator
from protector_models.moderation.policy.policy import Policy, TenantOverrides
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import Action, Failure, Verdict
from tests.builders import event, policy, rule
from tests.protector_models.moderation.rig import apart_from_cached, build_rig, verdicts

UNKNOWN = ["Kids", "kids ", " kids", "kid", "KIDS", "k\u0131ds", "x" * 512]


def _policy(*, on_unknown_tenant: str = "default_rules") -> Policy:
    """Build a policy that blocks for kids what it rewrites for everybody else."""
    return policy(
        tenants={"kids": TenantOverrides(rules=(rule(0.3, Action.BLOCK),))}, on_unknown_tenant=on_unknown_tenant
    )


@pytest.mark.parametrize("tenant", UNKNOWN)
async def test_an_event_of_an_unknown_tenant_has_the_rules_for_everybody_and_is_counted(tenant: str) -> None:
    rig = build_rig(policy=_policy(), detoxifier=FakeDetoxifier())
    batch = [event("harm=0.4", tenant=tenant), event("harm=0.4", tenant="kids"), event("harm=0.4")]
    outcomes = verdicts(await rig.moderator.moderate(batch))
    assert [outcome.action for outcome in outcomes] == [Action.ALLOW, Action.BLOCK, Action.ALLOW]
    counted = ("weir_unknown_tenants_total", frozenset({("action", "default_rules")}))
    assert rig.metrics.counts[counted] == rig.metrics.total("weir_unknown_tenants_total") == 1


@pytest.mark.parametrize("tenant", UNKNOWN)
async def test_where_the_policy_refuses_them_they_fail_alone_and_no_model_is_asked(tenant: str) -> None:
    rig = build_rig(policy=_policy(on_unknown_tenant="refuse"), generator=FakeGenerator())
    batch = [event("harm=0.4", tenant="kids"), event(None, tenant=tenant), event("Take the bus.")]
    known, failure, default = await rig.moderator.moderate(batch)
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.error) == (Stage.ASSESS, "UnknownTenant")
    assert tenant not in failure.message
    alone = build_rig(policy=_policy(on_unknown_tenant="refuse"))
    assert apart_from_cached([known, default]) == apart_from_cached(
        await alone.moderator.moderate([batch[0], batch[2]])
    )
    assert len(rig.detector.assessed) == 2
    assert rig.metrics.total("weir_failures_total") == 1


async def test_to_a_policy_that_names_no_tenants_none_is_unknown(caplog: pytest.LogCaptureFixture) -> None:
    rig = build_rig(policy=policy())
    (outcome,) = await rig.moderator.moderate([event(tenant="acme")])
    assert isinstance(outcome, Verdict)
    assert rig.metrics.total("weir_unknown_tenants_total") == 0
    assert caplog.records == []


async def test_an_unknown_tenant_is_told_once_by_a_digest_that_finds_it(caplog: pytest.LogCaptureFixture) -> None:
    rig = build_rig(policy=_policy())
    names = ["Kids", "line\nbreak", "y" * 512]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await rig.moderator.moderate([event(tenant=name) for name in names])
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    for name, line in zip(names, told, strict=True):
        assert name not in line
        assert hashlib.sha256(name.encode()).hexdigest()[:12] in line
        assert f"{len(name)} characters" in line
    assert rig.metrics.total("weir_unknown_tenants_total") == 9


async def test_not_more_tenants_are_told_of_than_are_remembered(caplog: pytest.LogCaptureFixture) -> None:
    rig = build_rig(policy=_policy())
    with caplog.at_level(logging.WARNING):
        await rig.moderator.moderate([event(tenant=f"tenant-{number}") for number in range(1_100)])
        await rig.moderator.moderate([event(tenant=f"tenant-{number}") for number in range(1_100)])
    assert len(caplog.records) == 1_000
    assert rig.metrics.total("weir_unknown_tenants_total") == 2_200
