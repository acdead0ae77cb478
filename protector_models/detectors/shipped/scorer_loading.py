"""Loading the engine, or the two, that score the windows of a weights directory."""

from pathlib import Path

from protector_models.checkpoints.cards import CheckpointCard, CheckpointError
from protector_models.detectors.shipped.detector_heads import HEADS_FILE, DetectorHeads
from protector_models.detectors.shipped.pair_scorer import CalibratedScorer, PairScorer
from protector_models.detectors.shipped.weights_in_use import (
    ACCURATE_FOLDER,
    MODEL_FILE,
    TOKENIZER_FILE,
    WeightsInUse,
)
from protector_models.detectors.shipped.window_layout import PAIR_LAYOUT
from protector_models.detectors.shipped.window_scorer import OnnxWindowScorer, WindowScorer
from protector_models.moderation.errors import ConfigurationError
from protector_models.settings import Device, Engine


def load_scorer(weights: WeightsInUse, *, num_threads: int, engine: Engine, device: Device) -> WindowScorer:
    """Load what scores windows.

    Args:
        weights: whose.
        num_threads: CPU threads that compute.
        engine: what runs the encoders.
        device: where torch computes.

    Raises:
        CheckpointError: a file is missing, damaged or of another prompt layout.
        ConfigurationError: the engine or the device is not to be had here.
    """

    def load(directory: Path, card: CheckpointCard) -> WindowScorer:
        heads = _load_heads(directory, card)
        return _load_engine(directory / MODEL_FILE, heads, num_threads=num_threads, engine=engine, device=device)

    pair = weights.pair
    if pair is None:
        return load(weights.directory, weights.card)
    fast = load(weights.directory, pair.fast)
    accurate = load(weights.directory / ACCURATE_FOLDER, pair.accurate)
    return PairScorer(
        CalibratedScorer(scorer=fast, calibrations=pair.fast.calibrations),
        CalibratedScorer(scorer=accurate, calibrations=pair.accurate.calibrations),
        band=pair.pairing.band,
        accurate_share=pair.pairing.accurate_share,
    )


def _load_heads(directory: Path, card: CheckpointCard) -> DetectorHeads:
    if card.layout != PAIR_LAYOUT:
        raise CheckpointError(f"{directory}: trained with layout {card.layout}, this code builds {PAIR_LAYOUT}")
    missing = {MODEL_FILE, HEADS_FILE, TOKENIZER_FILE} - card.files.keys()
    if missing:
        raise CheckpointError(f"{directory}: the card gives no hash for {', '.join(sorted(missing))}")
    heads = DetectorHeads.load(directory / HEADS_FILE)
    if heads.num_logits != len(card.calibrations):
        raise CheckpointError(
            f"{directory}: heads of {heads.num_logits} outputs, the card has {len(card.calibrations)}"
        )
    return heads


def _load_engine(
    model_file: Path, heads: DetectorHeads, *, num_threads: int, engine: Engine, device: Device
) -> WindowScorer:
    if engine == "onnx":
        return OnnxWindowScorer.load(model_file, heads, num_threads=num_threads)
    try:
        # Takes seconds to import: only where it computes.
        from protector_models.detectors.shipped.torch_window_scorer import TorchWindowScorer  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(f"detector.engine: 'torch' needs torch, transformers and onnx: {error}") from error
    return TorchWindowScorer.load(model_file, heads, device=device, num_threads=num_threads)
