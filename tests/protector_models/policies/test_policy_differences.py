"""What two policies say differently."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.policy.policy import TenantOverrides
from protector_models.moderation.verdict import Action
from protector_models.policies.policy_differences import find_differences
from tests.builders import policy, rule

CHANGES: dict[str, Any] = {
    "version": "policy-2",
    "rules": [{"category": "any", "threshold": 0.7, "action": "block"}],
    "on_unread_text": "block",
    "safe_completions": {"default": "No.", "hate": {"en": "No.", "de": "Nein."}},
    "tenants": {"kids": {}},
    "max_rewrite_attempts": 5,
}


def changed(names: frozenset[str]) -> Any:
    return policy(**{name: CHANGES[name] for name in sorted(names)})


SOME = st.frozensets(st.sampled_from(sorted(CHANGES)))


@given(SOME, SOME)
def test_there_are_differences_exactly_where_two_policies_say_something_else(
    here: frozenset[str], there: frozenset[str]
) -> None:
    before, after = changed(here), changed(there)
    found = find_differences(before, after)
    assert {difference.key.split(".")[0] for difference in found} == here ^ there
    assert bool(found) == (before != after)


@given(SOME, SOME)
def test_the_other_way_round_before_and_after_change_places(here: frozenset[str], there: frozenset[str]) -> None:
    found = {(one.key, str(one.before), str(one.after)) for one in find_differences(changed(here), changed(there))}
    back = {(one.key, str(one.after), str(one.before)) for one in find_differences(changed(there), changed(here))}
    assert found == back


def test_a_place_is_named_by_its_keys_and_positions() -> None:
    (difference,) = find_differences(policy(rules=[rule(0.5)]), policy(rules=[rule(0.6)]))
    assert (difference.key, difference.before, difference.after) == ("rules.0.threshold", 0.5, 0.6)


def test_of_a_new_tenant_what_it_has_of_its_own_is_told() -> None:
    kids = TenantOverrides(on_unread_text=Action.BLOCK)
    (difference,) = find_differences(policy(), policy(tenants={"kids": kids}))
    assert (difference.key, difference.before, difference.after) == ("tenants.kids", None, {"on_unread_text": "block"})
