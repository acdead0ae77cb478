"""A detector and a learned row that are as simple as a word, for tests of the evaluation."""

from collections.abc import Mapping, Sequence

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment, Coverage, ItemFailure


class WordDetector:
    """Scores by the word "bad" and by "violent"; fails on "fail"; reads nothing of what is not ASCII."""

    revision = "words@1"

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        return [self._assess(exchange) for exchange in exchanges]

    def _assess(self, exchange: Exchange) -> Assessment | ItemFailure:
        text = exchange.response
        if "fail" in text:
            return ItemFailure(error="Broken", message="asked to fail")
        num_read = sum(character.isascii() for character in text)
        return Assessment(
            harmfulness=0.9 if "bad" in text else 0.1,
            categories={"violence": 0.8 if "violent" in text else 0.0, "sexual": 0.0},
            detector=self.revision,
            truncated=num_read < len(text),
            coverage=Coverage.of(exchange, characters_evaluated=num_read, characters_total=len(text)),
        )


class LetterRow:
    """A learned row: the more letters b, the more harmful; it knows no categories."""

    name = "letters b"

    def __init__(self, threshold: float | None) -> None:
        self.threshold = threshold

    def score_rows(self, exchanges: Sequence[Exchange]) -> list[float]:
        return [float(exchange.response.count("b")) for exchange in exchanges]

    def score_categories(self, exchanges: Sequence[Exchange]) -> list[Mapping[str, float]]:
        return [{} for _ in exchanges]
