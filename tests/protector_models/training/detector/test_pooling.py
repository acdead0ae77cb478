"""Training pools in torch, serving in numpy: both give the same vectors."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protector_models.detectors.shipped.detector_heads import NUM_POOLED, DetectorHeads
from protector_models.detectors.shipped.window_layout import PairLayout
from protector_models.training.detector.answer_draws import DrawnAnswer
from protector_models.training.detector.batches import LabelledWindow, collate
from protector_models.training.detector.pooling import pool_pieces, pool_tokens
from tests.protector_models.training.builders import make_example

pytestmark = pytest.mark.training

NUM_UNITS = 5
LAYOUT = PairLayout(start_id=101, separator_id=102)
# Heads that hand the pooled vector through.
EYE = np.eye(NUM_POOLED * NUM_UNITS, dtype=np.float32)
ZEROS = np.zeros(NUM_POOLED * NUM_UNITS, dtype=np.float32)
HEADS = DetectorHeads(piece_weight_KP=EYE, piece_bias_K=ZEROS, whole_weight_KP=EYE, whole_bias_K=ZEROS)


@st.composite
def windows(draw: st.DrawFn) -> LabelledWindow:
    lengths = draw(st.lists(st.integers(1, 5), max_size=4))
    edges = [sum(lengths[:place]) for place in range(len(lengths) + 1)]
    pieces = list(pairwise(edges))
    # The first pieces may be context that is judged elsewhere.
    pieces = pieces[draw(st.integers(0, max(0, len(pieces) - 1))) :]
    window = LAYOUT.join([5] * draw(st.integers(0, 4)), [6] * edges[-1], pieces)
    drawn = DrawnAnswer(example=make_example(), harmful=1.0, prompt="", pieces=[], is_answer=True)
    return LabelledWindow(drawn=drawn, window=window, piece_labels=(None,) * len(window.pieces))


@given(st.lists(windows(), min_size=1, max_size=4), st.integers(0, 1_000))
def test_padded_batches_and_single_windows_are_pooled_alike(made: list[LabelledWindow], seed: int) -> None:
    batch = collate(made)
    hidden_BTH = torch.randn(*batch.ids_BT.shape, NUM_UNITS, generator=torch.Generator().manual_seed(seed)) * 3
    pieces_SP = pool_pieces(hidden_BTH, batch.mask_BT, batch.pieces_BT, batch.windows_S).numpy()
    whole_BP = pool_tokens(hidden_BTH, batch.mask_BT, batch.segments_BT).numpy()
    served = [
        HEADS.score(hidden_TH[: len(one.window.input_ids)], one.window)
        for hidden_TH, one in zip(hidden_BTH.numpy(), made, strict=True)
    ]
    # float32 sums in another order.
    np.testing.assert_allclose(np.concatenate([one.pieces_SK for one in served]), pieces_SP, atol=1e-5)
    np.testing.assert_allclose(np.stack([one.whole_K for one in served]), whole_BP, atol=1e-5)
