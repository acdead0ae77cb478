"""Judges that are as simple as a word, for tests of the detoxifier's evaluation."""

from collections.abc import Callable, Sequence

from protector_models.judges.shipped_judges import Judges, JudgesCard, TextJudges
from protector_models.judges.toxic_words import ToxicWords


class WordJudge:
    """Scores by whether a word is in the text. Implements `ScoresTexts`."""

    def __init__(self, is_it: Callable[[str], bool]) -> None:
        self._is_it = is_it

    def score(self, texts: Sequence[str]) -> list[float]:
        return [1.0 if self._is_it(text) else 0.0 for text in texts]


class SharedWords:
    """Compares by the share of words that both have. Implements `ComparesTexts`."""

    def compare(self, left: Sequence[str], right: Sequence[str]) -> list[float]:
        pairs = [(set(one.split()), set(other.split())) for one, other in zip(left, right, strict=True)]
        return [len(one & other) / max(1, len(one | other)) for one, other in pairs]


def simple_judges() -> Judges:
    """Finds "idiot" toxic, "bad" and "harm=" harmful, and a text that ends with "a" broken."""
    return Judges(
        texts=TextJudges(
            toxicity=WordJudge(lambda text: "idiot" in text),
            fluency=WordJudge(lambda text: not text.endswith(" a")),
            similarity=SharedWords(),
        ),
        harm=WordJudge(lambda text: "bad" in text or "harm=" in text),
        toxic_words=ToxicWords(["idiot"]),
        card=JudgesCard(
            name="simple",
            files={},
            recipe={},
            validation={"toxicity_auroc": 0.9},
            encoder_sha256="0" * 64,
            fluency_rank=1,
            harm_threshold=0.5,
        ),
    )
