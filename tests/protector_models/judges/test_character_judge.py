from pathlib import Path

import pytest

from protector_models.checkpoints.cards import CheckpointError
from protector_models.judges.character_judge import WINDOW_CHARACTERS, CharacterJudge
from protector_models.training.judges.character_recipe import CharacterRecipe, fit_character_judge

pytestmark = pytest.mark.training

RECIPE = CharacterRecipe(num_candidates=500, num_pieces=200, min_texts=1)
TOXIC = [f"you stupid idiot number {number}" for number in range(20)]
HARMLESS = [f"a lovely morning number {number}" for number in range(20)]


@pytest.fixture(scope="module")
def judge() -> CharacterJudge:
    return fit_character_judge(TOXIC + HARMLESS, [True] * 20 + [False] * 20, RECIPE)


def test_what_it_learned_is_told_apart(judge: CharacterJudge) -> None:
    toxic, harmless = judge.score(["what a stupid idiot", "what a lovely day"])
    assert toxic > 0.5 > harmless


def test_the_scores_of_a_batch_are_those_of_single_texts(judge: CharacterJudge) -> None:
    texts = ["idiot", "", "lovely 😀 morning", "x" * 3_000, "悪い"]
    assert judge.score(texts) == pytest.approx([judge.score([text])[0] for text in texts], abs=1e-12)
    assert judge.score([]) == []


def test_the_worst_window_of_a_long_text_speaks_for_it(judge: CharacterJudge) -> None:
    long = HARMLESS[0].ljust(WINDOW_CHARACTERS) + TOXIC[0]
    assert judge.score([long]) == judge.score([TOXIC[0]])


def test_the_same_texts_give_the_same_judge_and_files_keep_it(judge: CharacterJudge, tmp_path: Path) -> None:
    again = fit_character_judge(TOXIC + HARMLESS, [True] * 20 + [False] * 20, RECIPE)
    files = [file.read_bytes() for file in judge.save(tmp_path, "toxicity")]
    assert [file.read_bytes() for file in again.save(tmp_path, "again")] == files
    # Half precision keeps three digits of every weight.
    kept = CharacterJudge.load(tmp_path, "toxicity").score(TOXIC)
    assert kept == pytest.approx(judge.score(TOXIC), abs=2e-3)


@pytest.mark.parametrize("damage", ["missing", "shortened", "no_json"])
def test_files_that_do_not_fit_are_named(judge: CharacterJudge, tmp_path: Path, damage: str) -> None:
    pieces, weights = judge.save(tmp_path, "toxicity")
    match damage:
        case "missing":
            weights.unlink()
        case "shortened":
            pieces.write_text('["ab"]', encoding="utf-8")
        case "no_json":
            pieces.write_text("[", encoding="utf-8")
    with pytest.raises(CheckpointError, match="toxicity"):
        CharacterJudge.load(tmp_path, "toxicity")


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="both classes, got 2"):
        fit_character_judge(["a", "b"], [True, True], RECIPE)
