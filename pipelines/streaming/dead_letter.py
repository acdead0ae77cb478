"""Dead letters: records that could not be moderated, kept whole, with headers that say where they came from and why.

Headers (all UTF-8 text, at most 1,000 bytes each):

    weir-original-topic        the topic the record was read from
    weir-original-partition    its partition
    weir-original-offset       its offset
    weir-original-timestamp    its timestamp, milliseconds since 1970
    weir-group                 the consumer group that read it
    weir-stage                 decode, images, generate, assess, rewrite, verify or publish
    weir-error                 a short class of error
    weir-message               what was wrong and what was expected; never text of the conversation
    weir-attempt               1 for the first time; one more each time a replayed record fails again
    weir-versions              "name=version" of weir, policy, detector, and of detoxifier, images and mllm where they
                               are on, separated by spaces; a space or % within a version is %20 or %25
    weir-value-null            only where the record had neither key nor value; the letter has an empty value, since
                               such a record cannot be published
    weir-value-omitted-bytes   only where the letter would have been too large: the size of the value, which it lacks
    weir-headers-omitted-bytes only where it was too large even so: the size of those of its own headers that it lacks
    weir-key-omitted-bytes     only where it still was: the size of what the key lacks at its end

Headers that the record had before are kept, but for older ones of these names.
"""

from collections.abc import Mapping
from dataclasses import replace

from pipelines.streaming.broker import UNREADABLE_HEADER, Headers, OutgoingRecord, Record
from pipelines.streaming.versions import encode_versions
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import Failure

_PREFIX = "weir-"
_FACTS = (
    *("original-topic", "original-partition", "original-offset", "original-timestamp", "group", "stage", "error"),
    *("message", "attempt", "versions", "value-null"),
    *("value-omitted-bytes", "headers-omitted-bytes", "key-omitted-bytes"),
)
_OWN = frozenset(_PREFIX + name for name in _FACTS)
_FACT_BYTES = 1_000
"""What a header holds at most: a letter must fit where its record did not."""
RECORD_OVERHEAD_BYTES = 500
"""Room for what the broker itself adds to a record."""
LEAST_RECORD_BYTES = 10_000
"""A broker that takes no record of this size does not take every dead letter either."""
_OMISSIONS_BYTES = 150
"""Room for the headers that say what was left out beside the value."""


def dead_letter(
    record: Record, failure: Failure, *, topic: str, group: str, versions: Mapping[str, str], record_max_bytes: int
) -> OutgoingRecord:
    """Return the dead letter for a record.

    Args:
        record: as it was read.
        failure: why it ended here.
        topic: the dead-letter topic.
        group: the consumer group that read the record.
        versions: of policy, models and program, as they are now.
        record_max_bytes: the largest record the broker takes; what is too large is left out, first the value, and the
            headers say where the original stands.
    """
    facts = {
        "original-topic": record.source.topic,
        "original-partition": str(record.source.partition),
        "original-offset": str(record.offset),
        "original-timestamp": str(record.timestamp_ms),
        "group": group,
        "stage": failure.stage.value,
        "error": failure.error,
        "message": failure.message,
        "attempt": str(attempt_of(record.headers) + 1),
        "versions": encode_versions(versions),
    }
    own = tuple((_PREFIX + name, text.encode("utf-8", "replace")[:_FACT_BYTES]) for name, text in facts.items())
    if record.key is None and record.value is None:
        own = (*own, (_PREFIX + "value-null", b"1"))
    room = record_max_bytes - RECORD_OVERHEAD_BYTES
    letter = _letter(topic, record.key, record.value, (*original_headers(record.headers), *own))
    if letter.size_bytes() <= room:
        return letter
    if record.value is not None:
        own = (*own, _omission("value", len(record.value)))
    letter = _letter(topic, record.key, None, (*original_headers(record.headers), *own))
    return letter if letter.size_bytes() <= room else _shortened(letter, own, room=room - _OMISSIONS_BYTES)


def attempt_of(headers: Headers) -> int:
    """Return how often a record has become a dead letter before; 0 for a record that never did, or says nonsense."""
    return _number((dict(headers).get(_PREFIX + "attempt") or b"").decode("ascii", "replace")) or 0


def original_headers(headers: Headers) -> Headers:
    """Return the headers of a record without those that a dead letter adds."""
    return tuple((name, value) for name, value in headers if name not in _OWN)


def facts_of(headers: Headers) -> dict[str, str]:
    """Return what a dead letter's headers say, by name without prefix."""
    return {
        name.removeprefix(_PREFIX): value.decode("utf-8", "replace")
        for name, value in headers
        if name.startswith(_PREFIX) and value is not None
    }


def failure_of(letter: OutgoingRecord) -> Failure:
    """Return why a record became this dead letter."""
    facts = facts_of(letter.headers)
    return Failure(stage=Stage(facts["stage"]), error=facts["error"], message=facts["message"])


def replayed(letter: Record) -> OutgoingRecord:
    """Return the record to put back where a dead letter came from; it remembers how often it has failed.

    Raises:
        ValueError: something of its record was omitted or never there, or it does not say where it came from.
    """
    facts = facts_of(letter.headers)
    if UNREADABLE_HEADER in dict(letter.headers):
        raise ValueError("it stands for a record that could not be read; replay the original record")
    if "value-null" in facts:
        raise ValueError("its record had neither key nor value; there is nothing to put back")
    for part in ("value", "headers", "key"):
        if omitted := facts.get(f"{part}-omitted-bytes"):
            raise ValueError(f"{omitted} bytes of its {part} were too large to keep; replay the original")
    if "original-topic" not in facts:
        raise ValueError("it has no header weir-original-topic; expected a dead letter of Weir")
    attempt = (_PREFIX + "attempt", str(attempt_of(letter.headers)).encode())
    return OutgoingRecord(
        topic=facts["original-topic"],
        key=letter.key,
        value=letter.value,
        headers=(*original_headers(letter.headers), attempt),
        partition=_number(facts.get("original-partition", "")),
    )


def _number(text: str) -> int | None:
    """Return what a header says in up to nine digits; None where it says anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _letter(topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> OutgoingRecord:
    """Return a letter that can be published: one without a key has a value, be it an empty one."""
    return OutgoingRecord(topic=topic, key=key, value=b"" if key is None and value is None else value, headers=headers)


def _shortened(letter: OutgoingRecord, own: Headers, *, room: int) -> OutgoingRecord:
    """Return a letter without those of its record's headers, and without the end of the key, that do not fit."""
    headers = original_headers(letter.headers)
    fitting = _fitting(headers, room - len(letter.key or b"") - _size_bytes(own))
    if fitting != headers:
        own = (*own, _omission("headers", _size_bytes(headers) - _size_bytes(fitting)))
    key = letter.key
    if key is not None and len(key) > (most := max(0, room - _size_bytes(own))):
        own = (*own, _omission("key", len(key) - most))
        key = key[:most]
    return replace(letter, key=key, headers=(*fitting, *own))


def _fitting(headers: Headers, room: int) -> Headers:
    """Return the headers that fit, the first ones first; one that does not fit makes way for smaller ones."""
    fitting: list[tuple[str, bytes | None]] = []
    for header in headers:
        if (size := _size_bytes((header,))) <= room:
            fitting.append(header)
            room -= size
    return tuple(fitting)


def _size_bytes(headers: Headers) -> int:
    return OutgoingRecord(topic="", key=None, value=None, headers=headers).size_bytes()


def _omission(what: str, num_bytes: int) -> tuple[str, bytes]:
    return (f"{_PREFIX}{what}-omitted-bytes", str(num_bytes).encode())
