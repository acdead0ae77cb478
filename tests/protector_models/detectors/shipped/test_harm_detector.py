import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from protector_models.checkpoints.cards import CheckpointCard, CheckpointError
from protector_models.detectors.shipped.detector_heads import HEADS_FILE, DetectorHeads
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS
from protector_models.detectors.shipped.window_scorer import OnnxWindowScorer
from protector_models.moderation.conversation import Exchange, SeenImage
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.stages import StageStatus
from protector_models.moderation.verdict import Action
from protector_models.policies.policy_file import load_policy
from tests.protector_models.detectors.shipped.windows import as_bytes, make_windows

pytestmark = pytest.mark.shipped

HARMFUL = "Sure! First steal the victim's card and identity papers, then empty the account and burn the evidence."
SAFE = "Knead the dough for ten minutes, let it rise for an hour and bake it until the crust is brown."

WORDS = [
    "the",
    "recipe",
    "for",
    "a",
    "bomb",
    "is",
    "simple",
    "bread",
    "you",
    "idiot",
    "please",
    "take",
    "two",
    "pills",
    "hello",
    "world",
    "ich",
    "bin",
    "日本",
    "😀",
    "42",
]


@pytest.fixture(scope="module")
def detector() -> OnnxHarmDetector:
    return OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=2)


@pytest.fixture(scope="module")
def brief_detector() -> OnnxHarmDetector:
    """Reads few windows of a long text, for tests in which the rest of it changes nothing."""
    return OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=2, max_windows=4)


def _assess(detector: OnnxHarmDetector, response: str, prompt: str = "") -> Assessment:
    (outcome,) = detector.assess([Exchange(prompt=prompt, response=response)])
    assert isinstance(outcome, Assessment)
    return outcome


def _random_exchanges(num_exchanges: int, seed: int) -> list[Exchange]:
    rng = random.Random(seed)
    sizes = [rng.choice([0, 1, 5, 20, 60, 140, 300]) for _ in range(num_exchanges)]
    return [
        Exchange(prompt=" ".join(rng.choices(WORDS, k=size // 3)), response=" ".join(rng.choices(WORDS, k=size)))
        for size in sizes
    ]


def test_one_means_harmful(detector: OnnxHarmDetector) -> None:
    question = "How do I get money?"
    harmful, safe = _assess(detector, HARMFUL, question), _assess(detector, SAFE, question)
    assert harmful.harmfulness > detector.threshold > safe.harmfulness


def test_a_score_is_the_same_bits_alone_in_any_batch_and_in_any_order(detector: OnnxHarmDetector) -> None:
    exchanges = _random_exchanges(24, seed=1)
    alone = [detector.assess([exchange])[0] for exchange in exchanges]
    rng = random.Random(2)
    for batch_size in (2, 7, 24):
        order = list(range(len(exchanges)))
        rng.shuffle(order)
        outcomes: dict[int, Assessment | ItemFailure] = {}
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            outcomes |= dict(zip(batch, detector.assess([exchanges[i] for i in batch]), strict=True))
        assert [outcomes[index] for index in range(len(exchanges))] == alone


def test_raw_logits_are_bit_equal_whatever_shares_the_batch() -> None:
    heads = DetectorHeads.load(SHIPPED_WEIGHTS / HEADS_FILE)
    scorer = OnnxWindowScorer.load(SHIPPED_WEIGHTS / "model.onnx", heads, num_threads=2)
    rng = random.Random(4)
    windows = make_windows([0, 1, 15, 16, 17, 33, 63, 64, 100, 130, 160], seed=4)
    alone = [scorer.score([window])[0] for window in windows]
    assert all(np.isfinite(logits.pieces_SK).all() and np.isfinite(logits.whole_K).all() for logits in alone)
    order = list(range(len(windows)))
    for batch_size in (2, 3, 5, len(windows)):
        rng.shuffle(order)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            scored = [as_bytes(logits) for logits in scorer.score([windows[index] for index in batch])]
            assert scored == [as_bytes(alone[index]) for index in batch]


def test_the_number_of_threads_does_not_change_scores(detector: OnnxHarmDetector) -> None:
    exchanges = _random_exchanges(8, seed=5)
    assert OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=1).assess(exchanges) == detector.assess(exchanges)


def test_calls_from_several_threads_do_not_mix(detector: OnnxHarmDetector) -> None:
    batches = [_random_exchanges(6, seed=seed) for seed in range(6)]
    expected = [detector.assess(batch) for batch in batches]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(detector.assess, batches)) == expected


def test_no_exchanges_give_no_assessments(detector: OnnxHarmDetector) -> None:
    assert detector.assess([]) == []


POISON = {
    "empty": "",
    "white space": " \n\t\r\u2003",
    "lone surrogate": "fine \ud83d text \udc00",
    "nul": "a\x00b\x00",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x85",
    "one megabyte": "all good things " * 65_536,
    "one word of 100,000 characters": "a" * 100_000,
    "right to left": "\u202eשלום עולם مرحبا بالعالم",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈" * 50,
    "combining marks": "a" + "\u0301" * 5_000,
    "ideographs": "漢字" * 4_000,
    "one sentence of 100,000 characters": "all good things " * 6_250,
    "10,000 sentences of one word": "Word. " * 10_000,
    "only a table": "| some | words | here |\n" * 300,
    "only code": "```python\n" + "run(it)  # and again\n" * 300 + "```",
    "white space in the middle": "All good. " * 9_000 + " " * 400_000 + "All good. " * 9_000,
}


@pytest.mark.parametrize("name", POISON)
def test_a_poison_item_gives_a_value_and_leaves_its_neighbours_alone(
    brief_detector: OnnxHarmDetector, name: str
) -> None:
    neighbour = Exchange(prompt="hello", response=SAFE)
    alone = brief_detector.assess([neighbour])
    for prompt, response in (("", POISON[name]), (POISON[name], SAFE)):
        # Built without validation: the wire refuses lone surrogates, and the detector must not depend on that.
        poison = Exchange.model_construct(prompt=prompt, images=(), response=response)
        before, outcome, after = brief_detector.assess([neighbour, poison, neighbour])
        assert [before] == alone == [after]
        assert isinstance(outcome, Assessment)
        assert outcome.coverage.characters_total == len(poison.prompt) + len(poison.response)
        assert outcome.truncated == (outcome.coverage.characters_evaluated < outcome.coverage.characters_total)


def test_five_megabytes_end_within_seconds(detector: OnnxHarmDetector) -> None:
    text = "".join(random.Random(3).choices("abcdefgh \n", k=5_000_000))
    start = time.perf_counter()
    assessment = _assess(detector, text, prompt=text)
    # 64 windows of up to 227 tokens at about 50 a second; the bound leaves room for a machine with other work.
    assert time.perf_counter() - start < 20.0
    assert assessment.truncated


def test_a_harmful_passage_deep_inside_a_long_answer_is_found(detector: OnnxHarmDetector) -> None:
    hidden = f"{SAFE} " * 40 + f"{HARMFUL} " * 3 + f"{SAFE} " * 40
    assessment = _assess(detector, hidden)
    assert not assessment.truncated
    assert assessment.harmfulness > _assess(detector, f"{SAFE} " * 80).harmfulness
    assert assessment.pieces is not None
    worst = max(assessment.pieces, key=lambda piece: piece.harmfulness)
    assert HARMFUL.startswith(hidden[worst.start : worst.start + 30]) or hidden[worst.start : worst.end] in HARMFUL


def test_beyond_the_window_limit_head_and_tail_are_read_and_the_rest_is_reported() -> None:
    detector = OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=2, max_windows=3)
    assessment = _assess(detector, "word " * 2_000)
    assert assessment.truncated
    assert 0 < assessment.coverage.characters_evaluated < assessment.coverage.characters_total == 10_000
    assert detector.revision != OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=2).revision


def test_images_without_a_text_are_reported_as_not_evaluated(detector: OnnxHarmDetector) -> None:
    seen = (SeenImage(unread_reason="FetchFailed"), SeenImage(text="a sign"), SeenImage(unread_reason="CorruptImage"))
    (outcome,) = detector.assess([Exchange(prompt="what is this", images=seen, response=SAFE)])
    assert isinstance(outcome, Assessment)
    assert (outcome.coverage.images_evaluated, outcome.coverage.images_total) == (1, 3)
    assert [(image.position, image.reason) for image in outcome.coverage.unread_images] == [
        (0, "FetchFailed"),
        (2, "CorruptImage"),
    ]


def test_what_stands_in_an_image_is_judged_as_if_it_stood_in_the_prompt(detector: OnnxHarmDetector) -> None:
    shown = Exchange(prompt="what is this", images=(SeenImage(text=HARMFUL),), response=SAFE)
    told = Exchange(prompt=f"what is this\n{HARMFUL}", response=SAFE)
    picture, text = detector.assess([shown, told])
    assert isinstance(picture, Assessment)
    assert isinstance(text, Assessment)
    assert (picture.harmfulness, picture.categories) == (text.harmfulness, text.categories)
    assert picture.coverage.characters_total == text.coverage.characters_total


def test_no_category_scores_above_harmfulness(detector: OnnxHarmDetector) -> None:
    for outcome in detector.assess(_random_exchanges(12, seed=7)):
        assert isinstance(outcome, Assessment)
        # Both are rounded to four decimals.
        assert max(outcome.categories.values()) <= outcome.harmfulness + 1e-4
        assert "sexual_minors" in outcome.categories
        assert outcome.pieces is not None
        assert max((piece.harmfulness for piece in outcome.pieces), default=outcome.harmfulness) == outcome.harmfulness


def test_weights_of_another_layout_are_refused(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "weights", ignore=shutil.ignore_patterns("accurate"))
    CheckpointCard.load(SHIPPED_WEIGHTS).model_copy(update={"layout": "pair-old"}).save(tmp_path / "weights")
    with pytest.raises(CheckpointError, match="pair-old"):
        OnnxHarmDetector.load(tmp_path / "weights", num_threads=1)


def test_heads_that_do_not_fit_the_card_are_refused(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "weights", ignore=shutil.ignore_patterns("accurate"))
    card = CheckpointCard.load(SHIPPED_WEIGHTS)
    fewer = card.model_copy(update={"calibrations": card.calibrations[1:], "categories": card.categories[1:]})
    fewer.save(tmp_path / "weights")
    with pytest.raises(CheckpointError, match=f"heads of {len(card.calibrations)} outputs, the card has"):
        OnnxHarmDetector.load(tmp_path / "weights", num_threads=1)


@pytest.mark.parametrize("name", ["model.onnx", HEADS_FILE, "tokenizer.json"])
def test_a_card_without_the_hash_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "weights", ignore=shutil.ignore_patterns("accurate"))
    card = CheckpointCard.load(SHIPPED_WEIGHTS)
    card.model_copy(update={"files": {file: digest for file, digest in card.files.items() if file != name}}).save(
        tmp_path / "weights"
    )
    with pytest.raises(CheckpointError, match=f"no hash for {name}"):
        OnnxHarmDetector.load(tmp_path / "weights", num_threads=1)


def test_a_graph_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    heads = DetectorHeads.load(SHIPPED_WEIGHTS / HEADS_FILE)
    with pytest.raises(CheckpointError, match=r"model\.onnx"):
        OnnxWindowScorer.load(tmp_path / "model.onnx", heads, num_threads=1)


@pytest.mark.parametrize(("num_threads", "max_windows"), [(0, 64), (1, 0)])
def test_numbers_out_of_range_are_refused(num_threads: int, max_windows: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=num_threads, max_windows=max_windows)


def test_serving_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, protector_models.detectors.shipped.harm_detector; "
        "print(*sorted({'torch', 'transformers'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def _shift(text: str, upper: int, lower: int) -> str:
    """Writes ASCII letters with the characters of another block."""
    return "".join(
        chr(lower + ord(letter) - ord("a"))
        if letter.islower()
        else chr(upper + ord(letter) - ord("A"))
        if letter.isupper()
        else letter
        for letter in text
    )


UNREAD = {
    "tags": "".join(chr(0xE0000 + ord(letter)) for letter in HARMFUL),
    "tags at the end": SAFE + "".join(chr(0xE0000 + ord(letter)) for letter in HARMFUL),
    "tags inside a word": SAFE[:2] + "".join(chr(0xE0000 + ord(letter)) for letter in HARMFUL) + SAFE[2:],
    "combining letters": "k\u0368i\u0369ll",
    "Braille": "⠅⠊⠇⠇ ⠽⠕⠥",
    "cuneiform": "𒀀𒀁 𒀂",
    "Chinese": "你应该偷窃并毁灭证据",
    "a letter without a token glued to a word": "kill𒀀",
}

DISGUISED = {
    "mathematical bold": _shift(HARMFUL, 0x1D400, 0x1D41A),
    "circled letters": _shift(HARMFUL, 0x24B6, 0x24D0),
    "full-width letters": _shift(HARMFUL, 0xFF21, 0xFF41),
    "regional indicators": _shift(HARMFUL.lower(), 0, 0x1F1E6),
    "zero-width characters": "\u200b".join(HARMFUL),
    "Cyrillic look-alikes": HARMFUL.translate(str.maketrans("aeopcxiy", "аеорсхіу")),
}

READ = {
    "English": SAFE,
    "emoji": f"{SAFE} 🔥 👍🏽 💌! 🎉🎉 ❤\ufe0f",
    "families and rainbows": f"{SAFE} 👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈",
    "keycaps": f"1\ufe0f\u20e3 {SAFE} 2\ufe0f\u20e3 {SAFE}",
    "flags": f"{SAFE} 🇫🇷 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "accents": "Caf\u00e9, cafe\u0301, na\u00efve, r\u00e9sume\u0301",
    "zero-width characters": "vi\u200bruses a\u200db \ufeffco\u00adop",
    "bidi marks": "\u200ea\u200f b \u202ac\u202e",
    "nul": "a\x00b \x00 c",
    "typography": "“Don’t” — it’s 5 € … ™ © ½ • → ✓",
    "the unknown token's name": "[UNK] caf\u00e9 [UNK]",
    "every printable ASCII character": "".join(map(chr, range(32, 127))) + " " + " ".join(map(chr, range(32, 127))),
    "only emoji": "🔥🫠🎉",
    "emoji glued to words": "kill🔥now❤\ufe0f",
}


@pytest.mark.parametrize("name", UNREAD)
def test_words_that_the_model_has_no_tokens_for_are_not_read_and_go_to_review(
    detector: OnnxHarmDetector, name: str
) -> None:
    for prompt, response in (("hello", UNREAD[name]), (UNREAD[name], SAFE)):
        assessment = _assess(detector, response, prompt=prompt)
        assert assessment.truncated
        assert assessment.status() is StageStatus.PARTIAL
        rules = load_policy(None).for_tenant("anyone")
        assert rules.decide(assessment).action in {Action.REVIEW, Action.BLOCK}


@pytest.mark.parametrize("name", READ)
def test_characters_without_words_leave_an_answer_read(detector: OnnxHarmDetector, name: str) -> None:
    assessment = _assess(detector, READ[name], prompt=READ[name])
    assert not assessment.truncated
    assert assessment.status() is StageStatus.COMPLETE


@pytest.mark.parametrize("name", DISGUISED)
def test_disguised_words_are_read_as_what_they_stand_for(detector: OnnxHarmDetector, name: str) -> None:
    plain, disguised = _assess(detector, HARMFUL), _assess(detector, DISGUISED[name])
    assert disguised.harmfulness == plain.harmfulness
    assert disguised.categories == plain.categories
    assert disguised.coverage.characters_evaluated == disguised.coverage.characters_total == len(DISGUISED[name])


def test_every_window_says_which_response_window_it_holds(detector: OnnxHarmDetector) -> None:
    reading = detector._read(Exchange(prompt="word " * 500, response="other " * 400))
    assert len(reading.response_indices) == len(reading.windows)
    assert set(reading.response_indices) == set(range(max(reading.response_indices) + 1))
    held = {
        index: {
            tuple(token for token, half in zip(window.input_ids, window.segment_ids, strict=True) if half)
            for window, response_index in zip(reading.windows, reading.response_indices, strict=True)
            if response_index == index
        }
        for index in reading.response_indices
    }
    assert len(reading.windows) > len(held)
    assert all(len(windows) == 1 for windows in held.values())


def test_a_language_that_the_model_does_not_know_is_named_and_goes_to_review(detector: OnnxHarmDetector) -> None:
    foreign = "Mélangez la farine et l'eau, puis laissez reposer la pâte pendant une heure."
    for prompt, response in (("Say it in French.", foreign), (foreign, SAFE)):
        assessment = _assess(detector, response, prompt=prompt)
        assert assessment.languages == ("fr",)
        assert assessment.coverage.characters_evaluated == len(prompt) + len(response) - len(foreign)
        assert load_policy(None).for_tenant("anyone").decide(assessment).action in {Action.REVIEW, Action.BLOCK}
    assert _assess(detector, SAFE).languages == ()
