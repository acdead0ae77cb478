"""Judges that say whether an answer is harmful: never the detector that is under test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

from protector_models.evaluation.protector.report import JudgeFigures
from protector_models.judges.shipped_judges import HARM, JudgesCard, ScoresTexts
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.ports import HarmDetector

_CHARACTERS_SEE = (
    "reads pieces of words of the answer alone: not the question, not the picture; learned from the same answers as "
    "the shipped detector, so it may share that one's blind spots"
)
_DETECTORS_SEE = "reads question and answer, but not the picture"


class AnswerJudge(Protocol):
    """Judges answers, before and after alike. May wait for an endpoint, or block while it computes."""

    @property
    def revision(self) -> str:
        """Its "name@revision"."""
        ...

    @property
    def threshold(self) -> float:
        """Harmfulness from which on an answer counts as unsafe, in [0, 1]."""
        ...

    def describe(self) -> JudgeFigures:
        """Says who judges, and what it cannot see."""
        ...

    async def judge(self, exchanges: Sequence[Exchange]) -> list[float | None]:
        """Returns each answer's harmfulness in [0, 1], in order; None where it cannot be judged.

        Raises:
            DependencyError: the judge's model is gone or late.
        """
        ...


class CharacterAnswerJudge:
    """The judge of harm of the detoxifier's evaluation: TF-IDF of characters. Implements `AnswerJudge`."""

    def __init__(self, judge: ScoresTexts, card: JudgesCard) -> None:
        self._judge = judge
        self._card = card

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Loads it from the judges' weights directory.

        Raises:
            CheckpointError: the weights are missing or damaged.
        """
        # Imported here, not above: most judges are others, and scikit-learn takes seconds.
        from protector_models.judges.character_judge import CharacterJudge  # noqa: PLC0415

        return cls(CharacterJudge.load(directory, HARM), JudgesCard.load(directory))

    @property
    def revision(self) -> str:
        """Of all judges in the directory."""
        return self._card.make_revision()

    @property
    def threshold(self) -> float:
        """The card's: at most 1% of held-out safe answers are above it."""
        return self._card.harm_threshold

    def describe(self) -> JudgeFigures:
        """Names the judge of characters."""
        return JudgeFigures(revision=self.revision, threshold=self.threshold, blind_to=_CHARACTERS_SEE)

    async def judge(self, exchanges: Sequence[Exchange]) -> list[float | None]:
        """Scores each answer on this thread."""
        return list(self._judge.score([exchange.response for exchange in exchanges]))


class DetectorAnswerJudge:
    """Any detector that can be configured, as a judge. Implements `AnswerJudge`."""

    def __init__(self, detector: HarmDetector, *, threshold: float) -> None:
        self._detector = detector
        self._threshold = threshold

    @property
    def revision(self) -> str:
        """The detector's."""
        return self._detector.revision

    @property
    def threshold(self) -> float:
        """The detector's own."""
        return self._threshold

    def describe(self) -> JudgeFigures:
        """Names the detector."""
        return JudgeFigures(revision=self.revision, threshold=self.threshold, blind_to=_DETECTORS_SEE)

    async def judge(self, exchanges: Sequence[Exchange]) -> list[float | None]:
        """Asks the detector; an answer that it fails on is not judged."""
        found = await self._detector.assess(exchanges)
        return [outcome.harmfulness if isinstance(outcome, Assessment) else None for outcome in found]


def require_other(judge_revision: str, detector_revision: str) -> None:
    """Refuses a judge that is the detector under test: it would find nothing wrong with what it let through.

    Raises:
        ConfigurationError: their revisions are equal.
    """
    if judge_revision == detector_revision:
        raise ConfigurationError(
            f"--judge-config: expected another model than the detector under test, got {judge_revision} for both"
        )
