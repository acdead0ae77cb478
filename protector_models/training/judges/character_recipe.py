"""The recipe of the character judges: two fits, the second over the pieces that weighed most in the first.

Shapes: R texts, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]  # ships no types

from protector_models.judges.character_judge import CharacterJudge, make_vectorizer


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterRecipe:
    """Every choice of a fit."""

    seed: int = 17
    num_candidates: int = 120_000
    """Pieces of the first fit: the most frequent ones."""
    num_pieces: int = 60_000
    """Pieces of the judge."""
    min_texts: int = 3
    """Texts that a piece stands in at least."""
    inverse_regularisation: float = 4.0
    """C of the logistic regression, chosen on held-out training texts."""


def fit_character_judge(texts: Sequence[str], labels: Sequence[bool], recipe: CharacterRecipe) -> CharacterJudge:
    """Fits a judge; both classes weigh alike, however many texts they have. Same texts and recipe, same judge.

    Raises:
        ValueError: one class only.
    """
    if len(set(labels)) < 2:
        raise ValueError(f"a judge needs texts of both classes, got {len(labels)} of one")
    labels_R = np.array(labels)
    candidates = make_vectorizer(None, max_features=recipe.num_candidates, min_df=recipe.min_texts)
    first = _regress(candidates.fit_transform(texts), labels_R, recipe)
    # A stable sort: among equal weights the piece that comes first in the alphabet is kept, in every run.
    heaviest = np.sort(np.argsort(-np.abs(first.coef_[0]), kind="stable")[: recipe.num_pieces])
    pieces = tuple(str(piece) for piece in candidates.get_feature_names_out()[heaviest])
    vectorizer = make_vectorizer(pieces)
    second = _regress(vectorizer.fit_transform(texts), labels_R, recipe)
    return CharacterJudge(
        pieces=pieces,
        inverse_frequencies_F=vectorizer.idf_.astype(np.float32),
        weights_F=second.coef_[0].astype(np.float32),
        bias=float(second.intercept_[0]),
    )


def _regress(features_RF: object, labels_R: object, recipe: CharacterRecipe) -> LogisticRegression:
    regression = LogisticRegression(
        C=recipe.inverse_regularisation, class_weight="balanced", solver="liblinear", random_state=recipe.seed
    )
    return regression.fit(features_RF, labels_R)
