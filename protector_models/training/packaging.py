"""From trained models to a weights directory that the service loads: export, int8, calibration, thresholds, card.

Shapes: R held-out windows, K outputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from protector_models.checkpoints import CheckpointCard, LogitMix, hash_file
from protector_models.detectors.bag_of_words import BAG_OF_WORDS_FILE, BagOfWords
from protector_models.detectors.harm_detector import MODEL_FILE, OnnxHarmDetector
from protector_models.detectors.prompts import MAX_PROMPT_TOKENS, MAX_RESPONSE_TOKENS, PAIR_LAYOUT, PairLayout
from protector_models.detectors.window_scorer import OnnxWindowScorer
from protector_models.evaluation.bag_of_words_judge import BagOfWordsJudge
from protector_models.training.bag_of_words_recipe import OUTPUTS, BagOfWordsRecipe
from protector_models.training.batches import CutPlan, encode_examples
from protector_models.training.calibration import HeldOutLogits, fit_mix
from protector_models.training.category_map import TRAINED_CATEGORIES
from protector_models.training.detector_network import DetectorNetwork
from protector_models.training.detector_recipe import DetectorRecipe
from protector_models.training.examples import Example
from protector_models.training.export import copy_tokenizer, export_fp32, quantise
from protector_models.training.held_out import choose_for_baseline, judge_held_out, select_alone, select_answers
from protector_models.training.sources import RowKind
from protector_models.training.thresholds import THRESHOLD_RULE

DETECTOR_NAME = "weir-minilm"
ENCODER_WEIGHTS_FILE = "model.safetensors"


def package_detector(
    network: DetectorNetwork,
    bag_of_words: BagOfWords,
    validation: Sequence[Example],
    *,
    tokenizer: Tokenizer,
    encoder_directory: Path,
    directory: Path,
    recipe: DetectorRecipe,
    num_threads: int,
    report_rows: Callable[[int], None],
) -> CheckpointCard:
    """Writes a weights directory; calibration and thresholds are fitted on the weights as they will be served.

    Args:
        network: the trained encoder.
        bag_of_words: the trained sparse model.
        validation: held-out examples.
        tokenizer: the encoder's, without cutting and padding.
        encoder_directory: where tokenizer.json lies.
        directory: made if it does not exist; an fp32 graph is left beside the int8 one for comparisons.
        recipe: the choices of the run, written into the card.
        num_threads: of the scoring.
        report_rows: called with the number of rows scored since the last call; each held-out row is scored twice.

    Raises:
        ValueError: the held-out slice cannot give a threshold.
    """
    directory.mkdir(parents=True, exist_ok=True)
    bag_of_words.save(directory / BAG_OF_WORDS_FILE)
    files = [
        quantise(export_fp32(network, directory), directory),
        copy_tokenizer(encoder_directory, directory),
        directory / BAG_OF_WORDS_FILE,
    ]
    mixes = _fit_mixes(directory, validation, tokenizer, num_threads=num_threads, report_rows=report_rows)
    card = CheckpointCard(
        name=DETECTOR_NAME,
        layout=PAIR_LAYOUT,
        files={file.name: hash_file(file) for file in files},
        categories=TRAINED_CATEGORIES,
        mixes=mixes,
        threshold=0.5,
        threshold_rule="not chosen yet",
        bag_of_words_threshold=0.5,
        budget_thresholds={},
        recipe=asdict(recipe)
        | asdict(CutPlan())
        | {f"bag_of_words_{name}": value for name, value in asdict(BagOfWordsRecipe()).items()}
        | {"encoder_sha256": hash_file(encoder_directory / ENCODER_WEIGHTS_FILE)},
        validation={},
    )
    # Saved once without thresholds: they are chosen on scores of the detector as served, which reads the card.
    card.save(directory)
    detector = OnnxHarmDetector.load(directory, num_threads=num_threads)
    judged = judge_held_out(detector, validation, report_rows=report_rows)
    words_alone = BagOfWordsJudge.load(directory)
    card = card.model_copy(
        update={
            "bag_of_words_threshold": choose_for_baseline(words_alone, validation),
            "threshold": judged.choice.threshold,
            "threshold_rule": THRESHOLD_RULE,
            "budget_thresholds": judged.budget_thresholds,
            "validation": judged.figures,
        }
    )
    card.save(directory)
    return card


def count_scored_rows(validation: Sequence[Example]) -> int:
    """Returns how many rows `package_detector` will report."""
    return 2 * (len(select_answers(validation)) + len(select_alone(validation)))


def _fit_mixes(
    directory: Path,
    validation: Sequence[Example],
    tokenizer: Tokenizer,
    *,
    num_threads: int,
    report_rows: Callable[[int], None],
) -> tuple[LogitMix, ...]:
    """Fits on the first window of every held-out answer with its prompt, and of everything held out without one."""
    scorer = OnnxWindowScorer.load(directory / MODEL_FILE, num_threads=num_threads)
    bag_of_words = BagOfWords.load(directory / BAG_OF_WORDS_FILE)
    layout = PairLayout.for_vocabulary(tokenizer)

    def score(rows: Sequence[Example]) -> HeldOutLogits:
        encoded = encode_examples(rows, tokenizer)
        windows = [
            layout.join(row.prompt_ids[:MAX_PROMPT_TOKENS], row.response_ids[:MAX_RESPONSE_TOKENS]) for row in encoded
        ]
        logits = HeldOutLogits(
            encoder_RK=np.stack(scorer.score(windows)).astype(np.float64),
            bag_of_words_RK=np.stack(bag_of_words.score(windows)).astype(np.float64),
            labels_RK=np.stack([_label(row.example) for row in encoded]),
        )
        report_rows(len(rows))
        return logits

    answers = score(select_answers(validation))
    alone_rows = select_alone(validation)
    alone = score(alone_rows)
    # Answers without their prompts are answers once more: a category is fitted on texts and prompts beside them.
    others = alone.pick([index for index, row in enumerate(alone_rows) if row.kind is not RowKind.ANSWER])
    categories = answers.join(others)
    return (
        fit_mix(answers, 0),
        fit_mix(alone, 1),
        *(fit_mix(categories, output) for output in range(2, len(OUTPUTS))),
    )


def _label(example: Example) -> npt.NDArray[np.float64]:
    labels = (example.harmful, example.harmful, *(example.categories or (None,) * len(TRAINED_CATEGORIES)))
    return np.array([np.nan if label is None else label for label in labels])
