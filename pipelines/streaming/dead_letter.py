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
    weir-versions              "name=version" of the policy, models and program, separated by spaces
    weir-value-omitted-bytes   only where the value was too large to be published again: its size

Headers that the record had before are kept, but for older ones of these names.
"""

from collections import deque
from collections.abc import Mapping

from pipelines.streaming.broker import UNREADABLE_HEADER, Headers, OutgoingRecord, Record
from protector_models.moderation.errors import WeirError
from protector_models.moderation.verdict import Failure

_PREFIX = "weir-"
_FACTS = (
    *("original-topic", "original-partition", "original-offset", "original-timestamp", "group", "stage", "error"),
    *("message", "attempt", "versions", "value-omitted-bytes"),
)
_OWN = frozenset(_PREFIX + name for name in _FACTS)
_FACT_BYTES = 1_000
"""What a header holds at most: a letter must fit where its record did not."""
RECORD_OVERHEAD_BYTES = 500
"""Room for what the broker itself adds to a record."""


class RunawayDeadLettersError(WeirError):
    """So many records became dead letters that something else must be wrong; the worker stops."""


def dead_letter(
    record: Record, failure: Failure, *, topic: str, group: str, versions: Mapping[str, str], record_max_bytes: int
) -> OutgoingRecord:
    """Return the dead letter for a record.

    Args:
        record: as it was read.
        failure: why it ended here.
        topic: the dead-letter topic.
        group: the consumer group that read the record.
        versions: versions of policy, models and program.
        record_max_bytes: the largest record the broker takes; a larger value is left out, and the headers say where the
            original stands.
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
        "versions": " ".join(f"{name}={version}" for name, version in sorted(versions.items())),
    }
    own = tuple((_PREFIX + name, text.encode("utf-8", "replace")[:_FACT_BYTES]) for name, text in facts.items())
    letter = OutgoingRecord(
        topic=topic, key=record.key, value=record.value, headers=(*original_headers(record.headers), *own)
    )
    if letter.size_bytes() + RECORD_OVERHEAD_BYTES <= record_max_bytes:
        return letter
    omitted = (_PREFIX + "value-omitted-bytes", str(len(record.value or b"")).encode())
    return OutgoingRecord(topic=topic, key=_short(record.key), value=None, headers=(*own, omitted))


def attempt_of(headers: Headers) -> int:
    """Return how often a record has become a dead letter before; 0 for a record that never did, or says nonsense."""
    value = dict(headers).get(_PREFIX + "attempt", b"0")
    return int(value) if value.isdigit() and len(value) < 10 else 0


def original_headers(headers: Headers) -> Headers:
    """Return the headers of a record without those that a dead letter adds."""
    return tuple((name, value) for name, value in headers if name not in _OWN)


def facts_of(headers: Headers) -> dict[str, str]:
    """Return what a dead letter's headers say, by name without prefix."""
    return {
        name.removeprefix(_PREFIX): value.decode("utf-8", "replace")
        for name, value in headers
        if name.startswith(_PREFIX)
    }


def replayed(letter: Record) -> OutgoingRecord:
    """Return the record to put back where a dead letter came from; it remembers how often it has failed.

    Raises:
        ValueError: the letter's value was omitted, or it does not say where it came from.
    """
    facts = facts_of(letter.headers)
    if "value-omitted-bytes" in facts:
        raise ValueError(
            f"its value of {facts['value-omitted-bytes']} bytes was too large to keep; replay the original"
        )
    if UNREADABLE_HEADER in dict(letter.headers):
        raise ValueError("it stands for a record that could not be read; replay the original record")
    if "original-topic" not in facts:
        raise ValueError("it has no header weir-original-topic; expected a dead letter of Weir")
    attempt = (_PREFIX + "attempt", str(attempt_of(letter.headers)).encode())
    return OutgoingRecord(
        topic=facts["original-topic"],
        key=letter.key,
        value=letter.value,
        headers=(*original_headers(letter.headers), attempt),
    )


class RunawayLimit:
    """Notices when too large a share of the last records were dead letters."""

    def __init__(self, *, window: int, share: float | None) -> None:
        """Start with an empty window.

        Args:
            window: at least this many records are looked at.
            share: in (0, 1]; None never trips.
        """
        self._groups: deque[tuple[int, int]] = deque()
        self._window = window
        self._share = share
        self._records = 0
        self._dead = 0

    def check(self, *, num_records: int, num_dead_letters: int) -> None:
        """Look at a group of records that is about to be published, after those observed before.

        Raises:
            RunawayDeadLettersError: the window is full and more than the share of it are dead letters.
        """
        records, dead = self._records + num_records, self._dead + num_dead_letters
        if self._share is not None and records >= self._window and dead > self._share * records:
            raise RunawayDeadLettersError(
                f"{dead} of the last {records} records became dead letters; "
                f"expected at most {self._share:.0%} (stream.dead_letters.runaway_share)"
            )

    def observe(self, *, num_records: int, num_dead_letters: int) -> None:
        """Take note of a group that was published; groups that the window does not need any more are forgotten."""
        self._groups.append((num_records, num_dead_letters))
        self._records += num_records
        self._dead += num_dead_letters
        while self._records - self._groups[0][0] >= self._window:
            records, dead = self._groups.popleft()
            self._records -= records
            self._dead -= dead


def _short(key: bytes | None) -> bytes | None:
    return None if key is None else key[:512]
