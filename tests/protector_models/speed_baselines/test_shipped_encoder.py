import pytest
from tokenizers import Tokenizer

from protector_models.detectors.shipped.detector_heads import HEADS_FILE, DetectorHeads
from protector_models.detectors.shipped.torch_window_scorer import TorchWindowScorer
from protector_models.detectors.shipped.weights_in_use import MODEL_FILE, SHIPPED_WEIGHTS, TOKENIZER_FILE
from protector_models.detectors.shipped.window_layout import PairLayout
from protector_models.speed_baselines.shipped_encoder import PlainShippedEncoder

pytestmark = pytest.mark.training

TEXTS = [
    "Sure! First steal the victim's card and identity papers, then empty the account.",
    "Knead the dough for ten minutes.",
    "Yes.",
]


def test_it_runs_the_network_that_the_detector_runs() -> None:
    plain = PlainShippedEncoder.load(SHIPPED_WEIGHTS, num_threads=1, batch_size=2)
    scorer = TorchWindowScorer.load(
        SHIPPED_WEIGHTS / MODEL_FILE, DetectorHeads.load(SHIPPED_WEIGHTS / HEADS_FILE), device="cpu", num_threads=1
    )
    tokenizer = Tokenizer.from_file(str(SHIPPED_WEIGHTS / TOKENIZER_FILE))
    tokenizer.no_padding()
    layout = PairLayout.for_vocabulary(tokenizer)
    windows = [layout.join([], tokenizer.encode(text, add_special_tokens=False).ids) for text in TEXTS]
    answer_logits = [float(found.pieces_SK[0, 0]) for found in scorer.score(windows)]
    # The same weights in fp32; other padding gives sums of another order, some 1e-6 of logits between -7 and 5.
    assert plain.score(TEXTS) == pytest.approx(answer_logits, abs=1e-4)
