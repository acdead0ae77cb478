"""Where a member reads on after a poll that failed, with kafka-python's own account of what it holds."""

from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.consumer.subscription_state import (  # type: ignore[import-untyped]  # no type information
    SubscriptionState,
)
from kafka.errors import KafkaTimeoutError  # type: ignore[import-untyped]  # kafka-python ships no type information
from kafka.structs import OffsetAndMetadata, TopicPartition  # type: ignore[import-untyped]  # no type information

from pipelines.streaming.kafka.connection import KafkaConnection
from pipelines.streaming.settings import KafkaSettings, StreamSettings
from protector_models.moderation.errors import BrokerUnavailableError

PARTITIONS = [TopicPartition("in", number) for number in range(4)]
some_partitions = st.sets(st.sampled_from(PARTITIONS))


def subscribed(held: Collection[Any]) -> SubscriptionState:
    """Build the account of a member that has got to offset 100 of each partition it holds."""
    subscription = SubscriptionState("earliest")
    subscription.subscribe(topics=["in"])
    subscription.assign_from_subscribed(held)
    for partition in held:
        subscription.seek(partition, 100)
    return subscription


def poll_in_vain(subscription: SubscriptionState, meanwhile: Callable[[], None]) -> None:
    """Let a poll fail in which something happens."""

    def poll(**_: Any) -> Any:
        meanwhile()
        raise KafkaTimeoutError

    connection = KafkaConnection(KafkaSettings(), StreamSettings(source_topic="in"), member="a")
    connection._consumer = SimpleNamespace(_subscription=subscription, poll=poll)
    with pytest.raises(BrokerUnavailableError):
        connection.poll(timeout_s=0.0, max_records=10)


def positions(subscription: SubscriptionState) -> dict[Any, int | None]:
    return {
        partition: None if state.position is None else state.position.offset
        for partition, state in subscription.assignment.items()
    }


@given(held=some_partitions, gone=some_partitions, given_after=some_partitions, read=some_partitions)
def test_what_stayed_goes_back_and_what_came_begins_where_its_group_has_got_to(
    held: set[Any], gone: set[Any], given_after: set[Any], read: set[Any]
) -> None:
    subscription = subscribed(held)
    stayed = held - gone

    def change_and_read() -> None:
        subscription.assign_from_subscribed(stayed)
        subscription.assign_from_subscribed(stayed | given_after)
        for partition in read & subscription.assignment.keys():
            subscription.seek(partition, 60)
            subscription.assignment[partition].position = OffsetAndMetadata(70, "", -1)

    poll_in_vain(subscription, change_and_read)
    assert positions(subscription) == dict.fromkeys(given_after) | dict.fromkeys(stayed, 100)
