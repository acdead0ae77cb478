"""Trains every judge, measures each on what was held out, and writes them with their card."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from protector_models.checkpoints.cards import hash_file
from protector_models.evaluation import metrics
from protector_models.judges.character_judge import CharacterJudge
from protector_models.judges.fluency_judge import FLUENCY_FILE, FluencyJudge
from protector_models.judges.shipped_judges import (
    ENCODER_WEIGHTS_FILE,
    HARM,
    TOXIC_WORDS_FILE,
    TOXICITY,
    JudgesCard,
    ScoresTexts,
)
from protector_models.judges.toxic_words import ToxicWords
from protector_models.training.judges.character_recipe import CharacterRecipe, fit_character_judge
from protector_models.training.judges.fluency_recipe import FluencyRecipe, train_fluency
from protector_models.training.judges.fluency_rows import Sentences, break_sentence, read_sentences
from protector_models.training.judges.judge_rows import JudgedTexts, read_harm_texts, read_toxicity_texts
from protector_models.training.judges.toxic_lexicon import MIN_LOG_ODDS, MIN_TEXTS, learn_toxic_words

JUDGES_NAME = "weir-judges"
MAX_SAFE_SHARE = 0.01
_NUM_RESAMPLES = 500

Figures = dict[str, float | int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgesRecipe:
    """Every choice of the judges."""

    characters: CharacterRecipe = field(default_factory=CharacterRecipe)
    fluency: FluencyRecipe = field(default_factory=FluencyRecipe)

    def flatten(self) -> dict[str, str | int | float]:
        """Returns the choices by name, as the card lists them."""
        choices = {f"characters_{name}": value for name, value in asdict(self.characters).items()}
        choices |= {f"fluency_{name}": value for name, value in asdict(self.fluency).items()}
        return choices | {"toxic_words_min_texts": MIN_TEXTS, "toxic_words_min_log_odds": MIN_LOG_ODDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Whom the training tells how far it is."""

    report_judge: Callable[[str], None]
    """Called with the name of the judge that is trained next."""
    report_step: Callable[[float], None]
    """Called after each step of the judge of fluency with its recent loss."""


def train_judges(
    data: Path, directory: Path, *, encoder_directory: Path, recipe: JudgesRecipe, progress: Progress
) -> JudgesCard:
    """Writes a weights directory; figures are measured on the weights as shipped.

    Raises:
        RecordError: the data cannot be used.
        ValueError: the data cannot give a judge.
    """
    directory.mkdir(parents=True, exist_ok=True)
    progress.report_judge(TOXICITY)
    toxicity = _fit(read_toxicity_texts(data), recipe.characters, directory, TOXICITY)
    progress.report_judge(HARM)
    harm_texts = read_harm_texts(data, seed=recipe.characters.seed)
    harm = _fit(harm_texts, recipe.characters, directory, HARM)
    harm_judge = CharacterJudge.load(directory, HARM)
    threshold = _choose_threshold(harm_judge, harm_texts)
    harm |= {"harm_recall": measure_recall(harm_judge, harm_texts, threshold)}
    progress.report_judge("fluency")
    training, held_out = read_sentences(data)
    words = learn_toxic_words(
        (pair.source for pair in training.pairs for _ in pair.rewrites),
        (rewrite for pair in training.pairs for rewrite in pair.rewrites),
    )
    (directory / TOXIC_WORDS_FILE).write_text("\n".join(words) + "\n", encoding="utf-8")
    network = train_fluency(
        training,
        ToxicWords(words),
        encoder_directory=encoder_directory,
        recipe=recipe.fluency,
        report_step=progress.report_step,
    )
    network.save(directory / FLUENCY_FILE)
    judge = FluencyJudge.load(directory, encoder_directory=encoder_directory, rank=recipe.fluency.rank)
    fluency = measure_fluency(judge, held_out, ToxicWords(words), seed=recipe.fluency.seed)
    names = [*(f"{judge}.{kind}" for judge in (TOXICITY, HARM) for kind in ("json", "safetensors"))]
    names += [TOXIC_WORDS_FILE, FLUENCY_FILE]
    card = JudgesCard(
        name=JUDGES_NAME,
        files={name: hash_file(directory / name) for name in names},
        recipe=recipe.flatten(),
        validation=toxicity | harm | {"toxic_words": len(words)} | fluency,
        encoder_sha256=hash_file(encoder_directory / ENCODER_WEIGHTS_FILE),
        fluency_rank=recipe.fluency.rank,
        harm_threshold=threshold,
    )
    card.save(directory)
    return card


def measure_fluency(judge: ScoresTexts, held_out: Sentences, words: ToxicWords, *, seed: int) -> Figures:
    """Measures how well the judge tells sentences that people wrote from broken ones.

    `fluency_auroc`: rewrites by people against the same toxic sentences without their toxic words. The other two are
    there because a judge could do that by the presence of toxic words: toxic sentences as they were written against the
    same without their toxic words, and harmless rewrites as they were written against the same, broken.
    """
    rng = random.Random(seed)
    rewrites: list[str] = []
    sources: list[str] = []
    deleted: list[str] = []
    broken: list[str] = []
    for pair in held_out.pairs:
        without = words.delete(pair.source)
        if without and without != pair.source:
            rewrites.append(pair.rewrites[0])
            sources.append(pair.source)
            deleted.append(without)
        broken += [text for text in [break_sentence(pair.rewrites[0], rng)] if text]
    texts = {"rewrites": rewrites, "sources": sources, "deleted": deleted, "broken": broken}
    scores = {name: judge.score(found) for name, found in texts.items()}
    return (
        {"fluency_sentences": len(deleted)}
        | _rank("fluency_auroc", scores["rewrites"], scores["deleted"])
        | _rank("fluency_auroc_toxic_against_deleted", scores["sources"], scores["deleted"])
        | _rank("fluency_auroc_harmless_against_broken", scores["rewrites"], scores["broken"])
        | {f"fluency_mean_{name}": round(float(np.mean(found)), 3) for name, found in scores.items()}
    )


def measure_recall(judge: ScoresTexts, texts: JudgedTexts, threshold: float) -> float:
    """Returns the share of the held-out harmful answers that reach the threshold: how much of harm the judge sees."""
    scores = judge.score([row.text for row in texts.held_out if row.label])
    return round(sum(score >= threshold for score in scores) / len(scores), 4)


def _fit(texts: JudgedTexts, recipe: CharacterRecipe, directory: Path, name: str) -> Figures:
    fitted = fit_character_judge([row.text for row in texts.training], [row.label for row in texts.training], recipe)
    fitted.save(directory, name)
    judge = CharacterJudge.load(directory, name)
    scores: Mapping[bool, list[float]] = {
        label: judge.score([row.text for row in texts.held_out if row.label is label]) for label in (True, False)
    }
    return {f"{name}_held_out": len(texts.held_out)} | _rank(f"{name}_auroc", scores[True], scores[False])


def _choose_threshold(judge: ScoresTexts, texts: JudgedTexts) -> float:
    """Returns the lowest score that at most 1% of the held-out safe answers reach, rounded up to 4 decimals."""
    scores = sorted(judge.score([row.text for row in texts.held_out if not row.label]), reverse=True)
    if len(scores) < 1 / MAX_SAFE_SHARE:
        raise ValueError(f"harm: {len(scores)} held-out safe answers cannot tell a share of {MAX_SAFE_SHARE}")
    highest_allowed = scores[int(MAX_SAFE_SHARE * len(scores))]
    return min(1.0, round(highest_allowed + 1e-4, 4))


def _rank(name: str, above: Sequence[float], below: Sequence[float]) -> Figures:
    """Measures how often the first kind scores above the second, with its interval."""
    labels_N = np.array([True] * len(above) + [False] * len(below))
    scores_N = np.array([*above, *below], dtype=np.float64)
    found = metrics.estimate(metrics.auroc, labels_N, scores_N, num_resamples=_NUM_RESAMPLES, seed=0)
    if found.value is None or found.interval is None:
        raise ValueError(f"{name}: expected held-out texts of both kinds, got {len(above)} and {len(below)}")
    return {
        name: round(found.value, 4),
        f"{name}_low": round(found.interval.low, 4),
        f"{name}_high": round(found.interval.high, 4),
    }
