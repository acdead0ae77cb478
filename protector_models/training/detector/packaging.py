"""From trained models to a weights directory that the service loads: export, int8, calibration, thresholds, card.

Shapes: S pieces of one row, K outputs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tokenizers import Tokenizer

from protector_models.checkpoints.cards import Calibration, CheckpointCard, hash_file
from protector_models.detectors.shipped.bag_of_words import BAG_OF_WORDS_FILE, BagOfWords
from protector_models.detectors.shipped.detector_heads import HEADS_FILE
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.window_aggregation import ALONE, ANSWER, FIRST_CATEGORY
from protector_models.detectors.shipped.window_layout import PAIR_LAYOUT
from protector_models.evaluation.detector.bag_of_words_judge import BagOfWordsJudge
from protector_models.records.category_map import TRAINED_CATEGORIES
from protector_models.records.examples import Example
from protector_models.training.detector.answer_draws import DrawPlan
from protector_models.training.detector.bag_of_words_recipe import OUTPUTS, BagOfWordsRecipe
from protector_models.training.detector.calibration import UNCALIBRATED, fit_calibration
from protector_models.training.detector.detector_network import DetectorNetwork
from protector_models.training.detector.detector_recipe import DetectorRecipe
from protector_models.training.detector.held_out import (
    HeldOutLogits,
    HeldOutScores,
    choose_for_baseline,
    judge_held_out,
    score_held_out,
)
from protector_models.training.detector.onnx_export import export_fp32
from protector_models.training.detector.thresholds import THRESHOLD_RULE
from protector_models.training.export import Bits, copy_tokenizer, quantise

DETECTOR_NAME = "weir-minilm"
ENCODER_WEIGHTS_FILE = "model.safetensors"


def package_detector(
    network: DetectorNetwork,
    bag_of_words: BagOfWords | None,
    validation: Sequence[Example],
    *,
    tokenizer: Tokenizer,
    tokenizer_directory: Path,
    directory: Path,
    recipe: DetectorRecipe,
    num_threads: int,
    report_rows: Callable[[int], None],
    origin: Mapping[str, str | int | float],
    name: str = DETECTOR_NAME,
    bits: Bits = 8,
) -> CheckpointCard:
    """Writes a weights directory; calibration and thresholds are fitted on the weights as they will be served.

    Args:
        network: the trained encoder.
        bag_of_words: the trained sparse model; None: the directory holds none.
        validation: held-out examples.
        tokenizer: the encoder's, without cutting and padding.
        tokenizer_directory: where its file lies.
        directory: made if it does not exist; an fp32 graph is left beside the int8 one for comparisons.
        recipe: the choices of the run, written into the card.
        num_threads: of the scoring.
        report_rows: called with the number of rows scored since the last call.
        origin: what the network began as, and which rows and which teacher it learned from; written into the card
            beside the recipe.
        name: of the model.
        bits: of a weight in the file, see `quantise`.

    Raises:
        ValueError: the held-out slice cannot give a threshold.
    """
    directory.mkdir(parents=True, exist_ok=True)
    network.heads().save(directory / HEADS_FILE)
    files = [
        quantise(export_fp32(network, directory), directory, bits=bits),
        copy_tokenizer(tokenizer_directory, directory),
        directory / HEADS_FILE,
    ]
    if bag_of_words is not None:
        bag_of_words.save(directory / BAG_OF_WORDS_FILE)
        files.append(directory / BAG_OF_WORDS_FILE)
    card = CheckpointCard(
        name=name,
        layout=PAIR_LAYOUT,
        files={file.name: hash_file(file) for file in files},
        categories=TRAINED_CATEGORIES,
        calibrations=(UNCALIBRATED,) * len(OUTPUTS),
        threshold=0.5,
        threshold_rule="not chosen yet",
        bag_of_words_threshold=None if bag_of_words is None else 0.5,
        budget_thresholds={},
        recipe=asdict(recipe) | asdict(DrawPlan()) | _describe_words(bag_of_words) | dict(origin),
        validation={},
    )
    # Saved without calibration and thresholds: they are found with the detector as served, which reads the card.
    card.save(directory)
    detector = OnnxHarmDetector.load(directory, num_threads=num_threads, weights="fast")
    held_out = score_held_out(detector, validation, tokenizer, report_rows=report_rows)
    calibrations = _calibrate(held_out)
    judged = judge_held_out(
        HeldOutScores.of(held_out.answers, held_out.logits, calibrations),
        HeldOutScores.of(held_out.alone, held_out.logits_alone, calibrations),
        category_names=card.categories,
    )
    words_threshold = choose_for_baseline(BagOfWordsJudge.load(directory), validation) if bag_of_words else None
    card = card.model_copy(
        update={
            "calibrations": calibrations,
            "bag_of_words_threshold": words_threshold,
            "threshold": judged.choice.threshold,
            "threshold_rule": THRESHOLD_RULE,
            "budget_thresholds": judged.budget_thresholds,
            "validation": judged.figures,
        }
    )
    card.save(directory)
    return card


def _describe_words(bag_of_words: BagOfWords | None) -> dict[str, str | int | float]:
    if bag_of_words is None:
        return {}
    return {f"bag_of_words_{name}": value for name, value in asdict(BagOfWordsRecipe()).items()}


def _calibrate(held_out: HeldOutLogits) -> tuple[Calibration, ...]:
    """Fits each output on the piece of every row that is worst."""
    found: dict[int, tuple[list[float], list[float | None]]] = {}

    def add(output: int, logit: float, label: float | None) -> None:
        logits, labels = found.setdefault(output, ([], []))
        logits.append(logit)
        labels.append(label)

    rows = [(ANSWER, row, one) for row, one in zip(held_out.answers, held_out.logits, strict=True) if row.prompt]
    rows += [(ALONE, row, one) for row, one in zip(held_out.alone, held_out.logits_alone, strict=True)]
    for head, row, logits_SK in rows:
        worst = int(logits_SK[:, head].argmax())
        add(head, float(logits_SK[worst, head]), row.harmful)
        for place, label in enumerate(row.categories or ()):
            output = FIRST_CATEGORY + place
            add(output, float(logits_SK[worst, output]), label if row.harmful == 1.0 else None)
    return tuple(fit_calibration(*found.get(output, ([], []))) for output in range(len(OUTPUTS)))
