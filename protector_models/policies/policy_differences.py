"""What two policies say differently, place by place."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from protector_models.moderation.policy.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One place at which two policies differ."""

    key: str
    """Keys and positions with dots between them, such as `rules.0.threshold`."""
    before: object
    """As JSON can say it; None where the first policy has nothing there."""
    after: object
    """None where the second policy has nothing there."""


def find_differences(before: Policy, after: Policy) -> list[Difference]:
    """Return where two policies differ, defaults that were left unsaid among it; none where their revisions are equal.

    The order is that of the keys of a policy, then of what it names itself.
    """
    return list(_differences(before.model_dump(mode="json"), after.model_dump(mode="json"), ""))


def _differences(before: object, after: object, key: str) -> Iterator[Difference]:
    # None stands for what is not there: to a policy it is the same.
    if before == after:
        return
    left, right = _children(before), _children(after)
    if left is None or right is None:
        yield Difference(key=key, before=_said(before), after=_said(after))
        return
    for step in dict.fromkeys([*left, *right]):
        yield from _differences(left.get(step), right.get(step), f"{key}.{step}" if key else step)


def _children(value: object) -> Mapping[str, object] | None:
    if isinstance(value, Mapping):
        return value
    # Lists of plain values are told as wholes: a method has no place of its own.
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return {str(position): item for position, item in enumerate(value)}
    return None


def _said(value: object) -> object:
    """Return a value without what says nothing in it."""
    if isinstance(value, list):
        return [_said(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {key: said for key, item in value.items() if (said := _said(item)) not in (None, {})}
