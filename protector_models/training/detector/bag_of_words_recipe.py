"""The recipe of the bag of words: one logistic regression per output over windows drawn as the encoder's are.

Shapes: R drawn windows, N buckets, K outputs: answer, alone, then one per trained category.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]  # ships no types
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]  # ships no types

from protector_models.detectors.shipped.bag_of_words import NUM_BUCKETS, BagOfWords, hash_features
from protector_models.detectors.shipped.window_layout import TokenPair
from protector_models.records.category_map import TRAINED_CATEGORIES
from protector_models.records.mix import RowKind
from protector_models.training.detector.answer_draws import AnswerDraws, PiecedExample
from protector_models.training.detector.batches import LabelledWindow, WindowMaker, teaches_alone

OUTPUTS = ("answer", "alone", *TRAINED_CATEGORIES)
"""Names of the K outputs, in the order of the served network's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BagOfWordsRecipe:
    """Every choice of the fit."""

    seed: int = 17
    windows_per_row: int = 1
    """Random windows drawn of every row."""
    inverse_regularisation: float = 2.0
    """C of the logistic regression: higher trusts rare words more. Chosen with whole sources held out."""


def train_bag_of_words(
    rows: Sequence[PiecedExample],
    draws: AnswerDraws,
    maker: WindowMaker,
    recipe: BagOfWordsRecipe,
    *,
    report_outputs: Callable[[int], None],
) -> BagOfWords:
    """Fits the model; the same rows and recipe give the same weights.

    Args:
        rows: training rows, cut into pieces.
        draws: draws answers from them, as for the encoder.
        maker: makes windows of what is drawn.
        recipe: the choices of the fit.
        report_outputs: called with 1 after each of the K outputs.

    Raises:
        ValueError: an output has rows of one label only.
    """
    rng = random.Random(recipe.seed)
    made = [maker.make(draws.draw(row, rng), rng) for _ in range(recipe.windows_per_row) for row in rows]
    features_RN = featurise([one.window for one in made])
    labels_RK = np.array([_label(one) for one in made], dtype=np.float64)
    weights_R = np.array([one.drawn.example.weight for one in made])
    weights_NK = np.zeros((NUM_BUCKETS, len(OUTPUTS)), dtype=np.float32)
    biases_K = np.zeros(len(OUTPUTS), dtype=np.float32)
    for output, name in enumerate(OUTPUTS):
        known_R = np.flatnonzero(~np.isnan(labels_RK[:, output]))
        labels = labels_RK[known_R, output]
        if len(np.unique(labels)) < 2:
            raise ValueError(f"bag of words: {name} has rows of one label only")
        regression = LogisticRegression(
            C=recipe.inverse_regularisation, solver="liblinear", random_state=recipe.seed, max_iter=200
        )
        regression.fit(features_RN[known_R], labels, sample_weight=weights_R[known_R])
        weights_NK[:, output] = regression.coef_[0]
        biases_K[output] = regression.intercept_[0]
        report_outputs(1)
    return BagOfWords(weights_NK=weights_NK, biases_K=biases_K)


def featurise(windows: Sequence[TokenPair]) -> csr_matrix:
    """Returns the features [R, N] of windows as the served model weighs them."""
    found = [hash_features(window) for window in windows]
    starts = np.cumsum([0, *(len(features) for features in found)])
    values = np.concatenate([np.full(len(features), 1.0 / np.sqrt(max(1, len(features)))) for features in found])
    return csr_matrix((values, np.concatenate(found), starts), shape=(len(windows), NUM_BUCKETS))


def _label(made: LabelledWindow) -> npt.NDArray[np.float64]:
    drawn = made.drawn
    heads = (drawn.harmful if drawn.is_answer else None, drawn.harmful if teaches_alone(made) else None)
    is_harmful = drawn.harmful == 1.0 and drawn.example.kind is not RowKind.PREFERENCE
    categories = (drawn.example.categories if is_harmful else None) or (None,) * len(TRAINED_CATEGORIES)
    return np.array([np.nan if label is None else label for label in (*heads, *categories)])
