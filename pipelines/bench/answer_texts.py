"""Texts to measure a detector on: answers that Weir ships, each cut to exactly as many tokens as it should have.

Prose, not words drawn at random: what two detectors share between them depends on what they read.
"""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

from pipelines.bench.stream_events import BenchmarkError, distinct_conversations

_NUM_CONVERSATIONS = 2_000
_TOKEN = re.compile(r"[A-Za-z]+|[.,!?;:]")
_MARK = re.compile(r" ([.,!?;:])")


class AnswerTexts:
    """Draws texts; the same seed gives the same ones.

    Of an answer the words are kept that are one token each, and the marks between them.
    """

    def __init__(self, tokenizer_file: Path, *, seed: int) -> None:
        # Continuations begin with ##; a whole word of the vocabulary is one token.
        vocabulary = json.loads(tokenizer_file.read_text(encoding="utf-8"))["model"]["vocab"]
        self._answers = [
            [token for token in _TOKEN.findall(str(event["response"])) if token.lower() in vocabulary]
            for event in distinct_conversations(_NUM_CONVERSATIONS)
        ]
        random.Random(seed).shuffle(self._answers)

    def draw(self, number: int, num_tokens: int) -> list[str]:
        """Return the beginnings of so many answers, each of them so many tokens; short answers are passed over.

        Raises:
            BenchmarkError: no answer is long enough.
        """
        long_enough = [answer[:num_tokens] for answer in self._answers if len(answer) >= num_tokens]
        if not long_enough:
            raise BenchmarkError(f"no answer has {num_tokens} tokens")
        return [_join(long_enough[place % len(long_enough)]) for place in range(number)]


def _join(tokens: Sequence[str]) -> str:
    return _MARK.sub(r"\1", " ".join(tokens))
