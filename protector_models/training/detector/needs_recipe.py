"""The recipe of the needs head: logistic regressions over the vectors of the encoder as shipped, which stays.

Figures are those of a cross-validation: what a text gets from the four fifths of the rows that it is not in, by hash
of its words. What ships is fitted on all of them.

Shapes: R rows, P pooled units, B buckets, N needs.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]  # ships no types
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]  # ships no types

from protector_models.checkpoints.cards import Calibration, hash_file
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.needs_head import (
    NEEDS,
    NEEDS_FILE,
    NEEDS_FOLDER,
    NUM_BUCKETS,
    NeedsCard,
    NeedsHead,
    hash_pieces,
)
from protector_models.detectors.shipped.scorer_loading import load_scorer
from protector_models.detectors.shipped.weights_in_use import MODEL_FILE, find_weights_in_use
from protector_models.detectors.shipped.window_aggregation import Numbers
from protector_models.moderation.conversation import Exchange
from protector_models.records.examples import check_may_train_on, read_training_set
from protector_models.records.needs_texts import load_answer_texts, load_needs_texts
from protector_models.training.detector.calibration import fit_calibration

HEAD_NAME = "weir-needs"

_TEXT_SETS = {
    "chatterbot": 300,
    "sgd_service": 300,
    "piqa": 300,
    "halueval_general": 400,
    "sms_spam": 400,
    "refusal_direction_benign": 300,
    "medquad": 150,
    "gpteacher": 150,
    "self_instruct": 200,
    "toxichat_reddit": 300,
}
"""Sets whose harmless texts, or prompts, stand for what people write who need nothing of this, and how many of each."""
_ANSWER_SETS = {
    "counsel_chat": 300,
    "crisis_lines": 60,
    "halueval_general": 200,
    "sgd_service": 150,
    "piqa": 150,
    "chatterbot": 150,
    "oa_answers": 80,
}
"""The same for answers with their prompts."""
_MAX_CHARACTERS = 1_200
_BUDGETS = (0.01, 0.02, 0.05, 0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsRecipe:
    """Every choice of the fit."""

    seed: int = 17
    num_folds: int = 5
    pairs_per_answer: int = 5
    """Texts of people in need that every written answer is read beside."""
    pooled_inverse_regularisation: float = 0.1
    words_inverse_regularisation: float = 10.0
    pooled_scale: float = 6.0
    """Length of a standardised pooled vector."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Fit:
    """A linear model of one output."""

    weight: Numbers
    bias: float

    def score(self, features: "csr_matrix | Numbers") -> Numbers:
        scores: Numbers = features @ self.weight + self.bias
        return scores

    def calibrated(self, calibration: Calibration) -> "_Fit":
        return _Fit(weight=self.weight * calibration.scale, bias=self.bias * calibration.scale + calibration.bias)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A text to learn from; `prompt` where it is an answer."""

    text: str
    prompt: str = ""
    labels: tuple[bool, ...]
    kind: str
    """Of a written one; else empty."""


def train_needs(
    data: Path,
    directory: Path,
    recipe: NeedsRecipe,
    *,
    num_threads: int,
    report_rows: Callable[[int], None] = lambda _: None,
) -> NeedsCard:
    """Fit the head for the fast detector of a weights directory, and write it into its folder `needs`.

    Args:
        data: directory with one directory of records per training set.
        directory: of the detector.
        recipe: the choices of the fit.
        num_threads: that compute.
        report_rows: called with the number of texts read since the last call.

    Raises:
        CheckpointError: there is no detector in the directory.
        RecordError: a training set is missing or damaged.
        ValueError: the data is evaluation data.
    """
    check_may_train_on(data)
    found = find_weights_in_use(directory, "fast")
    scorer = load_scorer(found, num_threads=num_threads, engine="onnx", device="cpu")
    detector = OnnxHarmDetector.compose(directory, found.card, scorer)
    rng = random.Random(recipe.seed)
    figures: dict[str, float | int | None] = {}
    texts = _list_texts(data, rng)
    answers = _list_answers(data, [row.text for row in texts if any(row.labels)], recipe, rng)

    def read(rows: Sequence[_Row]) -> list[tuple[list[str], npt.NDArray[np.float32]]]:
        pooled = []
        for row in rows:
            pooled += detector.find_pooled([Exchange(prompt=row.prompt, response=row.text)])
            report_rows(1)
        return pooled

    fits = _fit_needs(texts, read(texts), recipe, figures)
    careless = _fit_carelessness(answers, read(answers), recipe, figures)
    head = NeedsHead(
        pooled_weight_NP=np.stack([pooled.weight for pooled, _ in fits]).astype(np.float32),
        bucket_weight_BN=np.stack([words.weight for _, words in fits], axis=1).astype(np.float32),
        bias_N=np.array([pooled.bias + words.bias for pooled, words in fits], dtype=np.float32),
        careless_weight_P=careless.weight.astype(np.float32),
        careless_bias_1=np.array([careless.bias], dtype=np.float32),
    )
    folder = directory / NEEDS_FOLDER
    folder.mkdir(exist_ok=True)
    head.save(folder / NEEDS_FILE)
    card = NeedsCard(
        name=HEAD_NAME,
        files={NEEDS_FILE: hash_file(folder / NEEDS_FILE)},
        recipe={**asdict(recipe), "num_texts": len(texts), "num_answers": len(answers)},
        validation=figures,
        encoder_sha256=found.card.files[MODEL_FILE],
    )
    card.save(folder)
    return card


def _list_texts(data: Path, rng: random.Random) -> list[_Row]:
    rows = [
        _Row(text=row.text, labels=tuple(need in row.needs for need in NEEDS), kind=row.kind)
        for row in load_needs_texts()
    ]
    for name, number in _TEXT_SETS.items():
        records = read_training_set(data, f"{name}/train")
        found = sorted({record.text or record.prompt for record in records if record.label == 0})
        usable = [text for text in found if 0 < len(text) <= _MAX_CHARACTERS]
        rows += [
            _Row(text=text, labels=(False,) * len(NEEDS), kind="")
            for text in rng.sample(usable, min(number, len(usable)))
        ]
    return rows


def _list_answers(data: Path, needy: Sequence[str], recipe: NeedsRecipe, rng: random.Random) -> list[_Row]:
    rows = [
        _Row(text=answer.text, prompt=prompt, labels=(answer.careless,), kind="careless" if answer.careless else "kind")
        for answer in load_answer_texts()
        for prompt in rng.sample(list(needy), recipe.pairs_per_answer)
    ]
    for name, number in _ANSWER_SETS.items():
        records = read_training_set(data, f"{name}/train")
        usable = [record for record in records if record.label == 0 and record.prompt and record.response]
        rows += [
            _Row(text=record.response, prompt=record.prompt, labels=(False,), kind="")
            for record in rng.sample(usable, min(number, len(usable)))
        ]
    return rows


def _fit_needs(
    rows: Sequence[_Row],
    read: Sequence[tuple[list[str], npt.NDArray[np.float32]]],
    recipe: NeedsRecipe,
    figures: dict[str, float | int | None],
) -> list[tuple[_Fit, _Fit]]:
    """Return for each need the fits over vectors and over pieces of words, calibrated; their sum is its logit."""
    owner_S = np.concatenate([np.full(len(passages), place) for place, (passages, _) in enumerate(read)])
    pooled_SP, unscale = _standardise(np.concatenate([pooled for _, pooled in read]), recipe)
    words_SB = _featurise([passage for passages, _ in read for passage in passages])
    fold_S = _list_folds(rows, recipe)[owner_S]
    # A piece of a needy text may say nothing of it: of these only what stands for a whole window teaches.
    is_whole_S: npt.NDArray[np.bool_] = np.concatenate([_find_wholes(passages) for passages, _ in read])
    labels_RN: npt.NDArray[np.bool_] = np.array([row.labels for row in rows])
    needs_nothing_S: npt.NDArray[np.bool_] = np.array([not any(row.labels) for row in rows])[owner_S]
    teaches_S = is_whole_S | needs_nothing_S
    fits: list[tuple[_Fit, _Fit]] = []
    for place, need in enumerate(NEEDS):
        labels_S = labels_RN[owner_S, place]

        def fit(chosen_S: npt.NDArray[np.bool_], labels_S: npt.NDArray[np.bool_] = labels_S) -> tuple[_Fit, _Fit]:
            return (
                _regress(pooled_SP[chosen_S], labels_S[chosen_S], recipe.pooled_inverse_regularisation),
                _regress(words_SB[chosen_S], labels_S[chosen_S], recipe.words_inverse_regularisation, sparse=True),
            )

        logits_S = np.zeros(len(owner_S))
        for fold in range(recipe.num_folds):
            pooled, words = fit(teaches_S & (fold_S != fold))
            held_S = fold_S == fold
            logits_S[held_S] = pooled.score(pooled_SP[held_S]) + words.score(words_SB[held_S])
        logits_R = np.full(len(rows), -np.inf)
        np.maximum.at(logits_R, owner_S, logits_S)
        calibration = fit_calibration(logits_R.tolist(), labels_RN[:, place].astype(float).tolist())
        figures |= _describe(need, rows, labels_RN, place, logits_R * calibration.scale + calibration.bias)
        pooled, words = fit(teaches_S)
        half = Calibration(scale=calibration.scale, bias=calibration.bias / 2)
        fits.append((unscale(pooled.calibrated(half)), words.calibrated(half)))
    return fits


def _fit_carelessness(
    rows: Sequence[_Row],
    read: Sequence[tuple[list[str], npt.NDArray[np.float32]]],
    recipe: NeedsRecipe,
    figures: dict[str, float | int | None],
) -> _Fit:
    pooled_RP, unscale = _standardise(np.stack([pooled.mean(axis=0) for _, pooled in read]), recipe)
    labels_R = np.array([row.labels[0] for row in rows])
    fold_R = _list_folds(rows, recipe)
    logits_R = np.zeros(len(rows))
    for fold in range(recipe.num_folds):
        learned = fold_R != fold
        fit = _regress(pooled_RP[learned], labels_R[learned], recipe.pooled_inverse_regularisation)
        logits_R[~learned] = fit.score(pooled_RP[~learned])
    calibration = fit_calibration(logits_R.tolist(), labels_R.astype(float).tolist())
    scores_R = 1.0 / (1.0 + np.exp(-(logits_R * calibration.scale + calibration.bias)))
    for threshold in (0.2, 0.35, 0.5):
        for kind in ("careless", "kind", ""):
            chosen = np.array([row.kind == kind for row in rows])
            figures[f"{kind or 'ordinary'}_answers_from_{threshold}"] = _share(scores_R[chosen] >= threshold)
    fit = _regress(pooled_RP, labels_R, recipe.pooled_inverse_regularisation)
    return unscale(fit.calibrated(calibration))


def _describe(
    need: str, rows: Sequence[_Row], labels_RN: npt.NDArray[np.bool_], place: int, logits_R: Numbers
) -> dict[str, float | int | None]:
    """Return thresholds by the share of sound-alike texts that they flag, with what else they do."""
    scores_R = 1.0 / (1.0 + np.exp(-logits_R))
    needs_nothing_R = ~labels_RN.any(axis=1)
    is_written_R = np.array([bool(row.kind) for row in rows])
    alike = np.sort(scores_R[needs_nothing_R & is_written_R])
    figures: dict[str, float | int | None] = {f"{need}_texts": int(labels_RN[:, place].sum())}
    for budget in _BUDGETS:
        threshold = round(float(alike[len(alike) - int(budget * len(alike)) - 1]) + 0.0001, 4)
        name = f"{need}_at_{budget:g}"
        figures[f"{name}_threshold"] = threshold
        figures[f"{name}_recall"] = _share(scores_R[labels_RN[:, place]] >= threshold)
        figures[f"{name}_ordinary"] = _share(scores_R[needs_nothing_R & ~is_written_R] >= threshold)
    return figures


def _share(flags: npt.NDArray[np.bool_]) -> float:
    return round(float(flags.mean()), 4)


def _find_wholes(passages: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which passages are all of a window: those that hold all passages since the last such."""
    wholes: list[bool] = []
    pieces: list[str] = []
    for passage in passages:
        is_whole = bool(pieces) and passage == " ".join(pieces)
        pieces = [] if is_whole else [*pieces, passage]
        wholes.append(is_whole)
    return np.array(wholes)


def _list_folds(rows: Sequence[_Row], recipe: NeedsRecipe) -> npt.NDArray[np.int64]:
    digests = [int(hashlib.sha256(row.text.encode()).hexdigest(), 16) for row in rows]
    return np.array([digest % recipe.num_folds for digest in digests])


def _standardise(pooled: npt.NDArray[np.float32], recipe: NeedsRecipe) -> tuple[Numbers, Callable[[_Fit], _Fit]]:
    """Return vectors of even scale, and what makes a fit over them one over the vectors as they were."""
    mean_P, deviation_P = pooled.mean(axis=0, dtype=np.float64), pooled.std(axis=0, dtype=np.float64) + 1e-6
    scale_P = recipe.pooled_scale / np.sqrt(pooled.shape[1]) / deviation_P

    def unscale(fit: _Fit) -> _Fit:
        return _Fit(weight=fit.weight * scale_P, bias=fit.bias - float(fit.weight @ (mean_P * scale_P)))

    return (pooled - mean_P) * scale_P, unscale


def _featurise(passages: Sequence[str]) -> csr_matrix:
    found = [hash_pieces(passage) for passage in passages]
    starts = np.cumsum([0, *(len(buckets) for buckets in found)])
    values = np.concatenate([np.full(len(buckets), 1.0 / np.sqrt(max(1, len(buckets)))) for buckets in found])
    return csr_matrix((values, np.concatenate(found), starts), shape=(len(found), NUM_BUCKETS))


def _regress(
    features: "csr_matrix | Numbers", labels: npt.NDArray[np.bool_], inverse: float, *, sparse: bool = False
) -> _Fit:
    regression = LogisticRegression(C=inverse, solver="liblinear" if sparse else "lbfgs", max_iter=500, random_state=0)
    regression.fit(features, labels)
    return _Fit(weight=regression.coef_[0], bias=float(regression.intercept_[0]))
