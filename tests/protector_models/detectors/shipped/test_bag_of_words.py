from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.checkpoints.cards import CheckpointError
from protector_models.detectors.shipped.bag_of_words import BAG_OF_WORDS_FILE, NUM_BUCKETS, BagOfWords, hash_features
from protector_models.detectors.shipped.window_layout import MAX_PROMPT_TOKENS, MAX_RESPONSE_TOKENS, PairLayout

LAYOUT = PairLayout(start_id=101, separator_id=102)
TOKENS = st.lists(st.integers(103, 30_521), max_size=40)


@pytest.fixture
def words() -> BagOfWords:
    rng = np.random.default_rng(0)
    return BagOfWords(
        weights_NK=rng.normal(size=(NUM_BUCKETS, 3)).astype(np.float16).astype(np.float32),
        biases_K=np.array([0.5, -1.0, 0.0], dtype=np.float32),
    )


@given(TOKENS, TOKENS)
def test_features_are_buckets_each_once_in_rising_order(prompt: list[int], response: list[int]) -> None:
    features = hash_features(LAYOUT.join(prompt, response)).tolist()
    assert features == sorted(set(features))
    assert all(0 <= feature < NUM_BUCKETS for feature in features)
    most = len(set(prompt)) + len(set(response)) + max(0, len(response) - 1)
    assert len(features) <= most


def test_the_same_words_count_apart_in_prompt_response_and_order() -> None:
    texts = [LAYOUT.join([5, 6], [7, 8]), LAYOUT.join([7, 8], [5, 6]), LAYOUT.join([5, 6], [8, 7])]
    assert len({tuple(hash_features(text).tolist()) for text in texts}) == 3


def test_a_vocabulary_spreads_over_the_buckets() -> None:
    ids = list(range(1_000, 1_000 + MAX_RESPONSE_TOKENS * 100))
    windows = [LAYOUT.join([], ids[i : i + MAX_RESPONSE_TOKENS]) for i in range(0, len(ids), MAX_RESPONSE_TOKENS)]
    found = np.concatenate([hash_features(window) for window in windows])
    # 16,000 words and as many pairs into 131,072 buckets: about 12% share one by chance.
    assert len(np.unique(found)) > 0.8 * len(found)


def test_a_window_scores_the_same_bits_in_any_company(words: BagOfWords) -> None:
    rng = np.random.default_rng(1)
    windows = [
        LAYOUT.join(
            rng.integers(103, 30_000, rng.integers(0, MAX_PROMPT_TOKENS)).tolist(),
            rng.integers(103, 30_000, rng.integers(0, MAX_RESPONSE_TOKENS)).tolist(),
        )
        for _ in range(50)
    ]
    together = words.score(windows)
    alone = [words.score([window])[0] for window in reversed(windows)]
    assert [logits.tobytes() for logits in together] == [logits.tobytes() for logits in reversed(alone)]


def test_a_window_without_words_gets_the_biases(words: BagOfWords) -> None:
    assert words.score([LAYOUT.join([], [])])[0].tolist() == words.biases_K.tolist()


def test_saved_weights_come_back(words: BagOfWords, tmp_path: Path) -> None:
    file = tmp_path / BAG_OF_WORDS_FILE
    words.save(file)
    window = LAYOUT.join([5, 6], [7, 8])
    assert BagOfWords.load(file).score([window])[0].tobytes() == words.score([window])[0].tobytes()


def test_a_file_that_holds_no_such_weights_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / BAG_OF_WORDS_FILE
    with pytest.raises(CheckpointError, match=BAG_OF_WORDS_FILE):
        BagOfWords.load(file)
    file.write_bytes(b"not safetensors")
    with pytest.raises(CheckpointError, match=BAG_OF_WORDS_FILE):
        BagOfWords.load(file)
    BagOfWords(weights_NK=np.zeros((8, 3), np.float32), biases_K=np.zeros(3, np.float32)).save(file)
    with pytest.raises(CheckpointError, match="shape"):
        BagOfWords.load(file)
