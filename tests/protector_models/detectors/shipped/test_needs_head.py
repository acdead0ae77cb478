from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.checkpoints.cards import CheckpointCard, CheckpointError, hash_file
from protector_models.detectors.shipped.needs_head import (
    NEEDS,
    NEEDS_FILE,
    NEEDS_FOLDER,
    NUM_BUCKETS,
    NeedsCard,
    NeedsHead,
    hash_pieces,
)
from protector_models.detectors.shipped.weights_in_use import MODEL_FILE, SHIPPED_WEIGHTS

NUM_POOLED = 6


def make_head(seed: int = 0) -> NeedsHead:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        # What half precision can say, so that weights come back as they were.
        return rng.normal(size=shape).astype(np.float16).astype(np.float32)

    return NeedsHead(
        pooled_weight_NP=draw(len(NEEDS), NUM_POOLED),
        bucket_weight_BN=draw(NUM_BUCKETS, len(NEEDS)),
        bias_N=draw(len(NEEDS)),
        careless_weight_P=draw(NUM_POOLED),
        careless_bias_1=draw(1),
    )


def pool(num_passages: int) -> np.ndarray:
    return np.random.default_rng(num_passages).normal(size=(num_passages, NUM_POOLED)).astype(np.float32)


def fast_card(encoder: str) -> CheckpointCard:
    return CheckpointCard.load(SHIPPED_WEIGHTS).model_copy(update={"files": {MODEL_FILE: encoder}})


def save_folder(directory: Path, encoder: str) -> None:
    folder = directory / NEEDS_FOLDER
    folder.mkdir()
    make_head().save(folder / NEEDS_FILE)
    digest = hash_file(folder / NEEDS_FILE)
    NeedsCard(name="made-up", files={NEEDS_FILE: digest}, recipe={}, validation={}, encoder_sha256=encoder).save(folder)


texts = st.text(st.sampled_from("ab c'"), max_size=20)


@given(st.lists(texts, min_size=1, max_size=4), texts)
def test_more_that_is_said_makes_nobody_need_less(passages: list[str], more: str) -> None:
    head, pooled = make_head(), pool(len(passages) + 1)
    fewer = head.find_needs(passages, pooled[:-1])
    needs = head.find_needs([*passages, more], pooled)
    assert all(needs[need] >= fewer[need] for need in NEEDS)
    assert all(0.0 <= score <= 1.0 for score in needs.values())


@given(texts)
def test_pieces_are_each_counted_once_whatever_the_case(text: str) -> None:
    buckets = hash_pieces(text)
    assert buckets.tolist() == sorted(set(buckets.tolist()))
    assert buckets.tolist() == hash_pieces(text.upper()).tolist()
    assert all(0 <= bucket < NUM_BUCKETS for bucket in buckets)


def test_weights_come_back_as_they_were_saved(tmp_path: Path) -> None:
    head = make_head()
    head.save(tmp_path / NEEDS_FILE)
    read = NeedsHead.read(tmp_path / NEEDS_FILE)
    assert read.find_needs(["a b"], pool(1)) == head.find_needs(["a b"], pool(1))
    assert read.find_carelessness(pool(2)) == head.find_carelessness(pool(2))


def test_a_directory_without_a_head_has_none(tmp_path: Path) -> None:
    assert NeedsHead.load(tmp_path, fast_card("0" * 64)) is None


def test_a_head_of_another_encoder_is_refused(tmp_path: Path) -> None:
    save_folder(tmp_path, "0" * 64)
    assert NeedsHead.load(tmp_path, fast_card("0" * 64)) is not None
    with pytest.raises(CheckpointError, match="it is for another: run `weir train needs`"):
        NeedsHead.load(tmp_path, fast_card("1" * 64))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    save_folder(tmp_path, "0" * 64)
    (tmp_path / NEEDS_FOLDER / NEEDS_FILE).write_bytes(b"")
    with pytest.raises(CheckpointError, match="SHA-256"):
        NeedsHead.load(tmp_path, fast_card("0" * 64))
    with pytest.raises(CheckpointError, match="no needs head"):
        NeedsHead.read(tmp_path / NEEDS_FOLDER / NEEDS_FILE)
