"""The judges of the detoxifier's evaluation: what each looks for, and how the shipped ones are loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field

from protector_models.checkpoints.cards import CheckpointError, WeightsCard, hash_file
from protector_models.judges.toxic_words import ToxicWords

SHIPPED_JUDGES = Path(__file__).parents[1] / "weights" / "judges"
TOXICITY = "toxicity"
HARM = "harm"
TOXIC_WORDS_FILE = "toxic_words.txt"
ENCODER_WEIGHTS_FILE = "model.safetensors"


class ScoresTexts(Protocol):
    """A judge of single texts. Blocks."""

    def score(self, texts: Sequence[str]) -> list[float]:
        """Returns how surely each text is what the judge looks for, in order, in [0, 1]."""
        ...


class ComparesTexts(Protocol):
    """A judge of pairs of texts. Blocks."""

    def compare(self, left: Sequence[str], right: Sequence[str]) -> list[float]:
        """Returns how near each pair is in meaning, in order, in [0, 1]."""
        ...


class JudgesCard(WeightsCard):
    """The card of the judges that were trained here."""

    encoder_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the base encoder's weights: what the judge of fluency is an adapter of, and what compares meanings."""
    fluency_rank: Annotated[int, Field(ge=1)]
    """Rank of that adapter."""
    harm_threshold: Annotated[float, Field(ge=0.0, le=1.0)]
    """The lowest score from which on at most 1% of the held-out safe answers are called harmful."""

    def make_revision(self) -> str:
        """Returns "name@revision": equal revisions mean equal judgements."""
        return self.make_revision_of(
            {"encoder": self.encoder_sha256, "rank": self.fluency_rank, "harm_threshold": self.harm_threshold}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TextJudges:
    """The judges of single rewrites."""

    toxicity: ScoresTexts
    """From 0.5 on a text counts as toxic."""
    fluency: ScoresTexts
    similarity: ComparesTexts


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """All judges, and the list of words of the row to beat."""

    texts: TextJudges
    harm: ScoresTexts
    """Judges answers; from the card's threshold on one counts as harmful."""
    toxic_words: ToxicWords
    card: JudgesCard


def load_judges(directory: Path, *, encoder_directory: Path, num_threads: int) -> Judges:
    """Loads the judges that `weir train judges` wrote.

    Args:
        directory: their weights directory.
        encoder_directory: the base encoder in Hugging Face form.
        num_threads: CPU threads of torch, in the whole process.

    Raises:
        CheckpointError: the weights are missing or damaged, or the encoder is not the one they were trained on.
    """
    # Imported here, not above: a report is made without them, and they take seconds.
    import torch  # noqa: PLC0415

    from protector_models.judges.character_judge import CharacterJudge  # noqa: PLC0415
    from protector_models.judges.fluency_judge import FluencyJudge  # noqa: PLC0415
    from protector_models.judges.similarity_judge import SimilarityJudge  # noqa: PLC0415

    card = JudgesCard.load(directory)
    found = hash_file(encoder_directory / ENCODER_WEIGHTS_FILE)
    if found != card.encoder_sha256:
        raise CheckpointError(
            f"{encoder_directory / ENCODER_WEIGHTS_FILE}: SHA-256 is {found}, the judges need {card.encoder_sha256}"
        )
    torch.set_num_threads(num_threads)
    return Judges(
        texts=TextJudges(
            toxicity=CharacterJudge.load(directory, TOXICITY),
            fluency=FluencyJudge.load(directory, encoder_directory=encoder_directory, rank=card.fluency_rank),
            similarity=SimilarityJudge.load(encoder_directory),
        ),
        harm=CharacterJudge.load(directory, HARM),
        toxic_words=ToxicWords.load(directory / TOXIC_WORDS_FILE),
        card=card,
    )
