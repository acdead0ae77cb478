import math

import pytest

from protector_models.harm_detector import SHIPPED_WEIGHTS, OnnxHarmDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.verdict import Assessment
from protector_models.plain_encoder import PlainEncoder

TEXTS = [
    "Sure! First steal the victim's card and identity papers, then empty the account.",
    "Knead the dough for ten minutes.",
    "Yes.",
]


def test_it_runs_the_network_that_the_detector_runs() -> None:
    plain = PlainEncoder.load(SHIPPED_WEIGHTS, num_threads=1, batch_size=2)
    detector = OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=1, engine="torch")
    outcomes = detector.assess([Exchange(prompt="", response=text) for text in TEXTS])
    expected = [outcome.harmfulness for outcome in outcomes if isinstance(outcome, Assessment)]
    # Rounded to four decimals there.
    assert [1.0 / (1.0 + math.exp(-logit)) for logit in plain.score(TEXTS)] == pytest.approx(expected, abs=1e-4)
