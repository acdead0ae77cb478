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

from protector_models.detectors.bag_of_words import NUM_BUCKETS, BagOfWords, hash_features
from protector_models.detectors.prompts import PairLayout, TokenPair
from protector_models.training.batches import CutPlan, EncodedExample, cut_example, teaches_alone
from protector_models.training.category_map import TRAINED_CATEGORIES
from protector_models.training.examples import Example
from protector_models.training.sources import RowKind

OUTPUTS = ("answer", "alone", *TRAINED_CATEGORIES)
"""Names of the K outputs, in the order of the served network's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BagOfWordsRecipe:
    """Every choice of the fit."""

    seed: int = 17
    windows_per_row: int = 2
    """Random windows drawn of every row."""
    inverse_regularisation: float = 2.0
    """C of the logistic regression: higher trusts rare words more. Chosen with whole sources held out."""


def train_bag_of_words(
    rows: Sequence[EncodedExample],
    layout: PairLayout,
    recipe: BagOfWordsRecipe,
    *,
    report_outputs: Callable[[int], None],
) -> BagOfWords:
    """Fits the model; the same rows and recipe give the same weights.

    Args:
        rows: encoded training rows.
        layout: joins prompt and response.
        recipe: the choices of the fit.
        report_outputs: called with 1 after each of the K outputs.

    Raises:
        ValueError: an output has rows of one label only.
    """
    rng = random.Random(recipe.seed)
    drawn = [
        (row.example, cut_example(row, layout, CutPlan(), rng)) for _ in range(recipe.windows_per_row) for row in rows
    ]
    features_RN = featurise([window for _, window in drawn])
    labels_RK = np.array([_label(example, window) for example, window in drawn], dtype=np.float64)
    weights_R = np.array([example.weight for example, _ in drawn])
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


def _label(example: Example, window: TokenPair) -> npt.NDArray[np.float64]:
    is_answer = example.kind in (RowKind.ANSWER, RowKind.PREFERENCE)
    heads = (example.harmful if is_answer else None, example.harmful if teaches_alone(example, window) else None)
    categories = example.categories or (None,) * len(TRAINED_CATEGORIES)
    return np.array([np.nan if label is None else label for label in (*heads, *categories)])
