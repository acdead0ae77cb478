"""Batches of texts that nobody has judged: answers that Weir ships, each with a number of its own at its end."""

from collections.abc import Iterator, Sequence

from pipelines.bench.stream_events import distinct_conversations

_NUM_ANSWERS = 500


def load_answers() -> list[str]:
    """Return answers that Weir ships."""
    return [str(event["response"]) for event in distinct_conversations(_NUM_ANSWERS)]


def make_unseen_batches(answers: Sequence[str], run: str, batch_size: int) -> Iterator[list[str]]:
    """Yield batches without an end; the same run gives the same ones, and another run none of them.

    Args:
        answers: what they are made of, in turn.
        run: a name that is in every text.
        batch_size: texts in each batch.
    """
    number = 0
    while True:
        yield [
            f"{answers[position % len(answers)]} ({run} {position})" for position in range(number, number + batch_size)
        ]
        number += batch_size
