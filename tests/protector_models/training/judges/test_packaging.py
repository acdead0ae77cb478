import json
from pathlib import Path

import pytest

from protector_models.checkpoints.cards import CheckpointError
from protector_models.judges.base_texts import load_base_network, load_base_tokenizer
from protector_models.judges.fluency_judge import FLUENCY_FILE, FluencyJudge, FluencyNetwork
from protector_models.judges.shipped_judges import JudgesCard, load_judges
from protector_models.judges.similarity_judge import SimilarityJudge
from protector_models.training.judges.character_recipe import CharacterRecipe
from protector_models.training.judges.fluency_recipe import FluencyRecipe
from protector_models.training.judges.packaging import JudgesRecipe, Progress, train_judges
from tests.protector_models.training.judges.builders import write_judges_data

pytestmark = pytest.mark.training

RECIPE = JudgesRecipe(
    characters=CharacterRecipe(num_candidates=2_000, num_pieces=500, min_texts=1),
    fluency=FluencyRecipe(num_steps=40, rank=4, batch_size=16, learning_rate=1e-2),
)
TEXTS = ["the bus of line 3 is late", "the of line 3 is late", "", "😀", "x " * 2_000]


def _train(data: Path, directory: Path, encoder: Path) -> JudgesCard:
    progress = Progress(report_judge=lambda _: None, report_step=lambda _: None)
    return train_judges(data, directory, encoder_directory=encoder, recipe=RECIPE, progress=progress)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_judges_data(tmp_path_factory.mktemp("data") / "train", rows_per_set=200)


@pytest.fixture(scope="module")
def trained(data: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("judges")
    _train(data, directory, tiny_encoder)
    return directory


@pytest.fixture(scope="module")
def tiny_encoder(tiny_encoder: Path) -> Path:
    (weights,) = tiny_encoder.glob("*.safetensors")
    assert weights.name == "model.safetensors"
    return tiny_encoder


def test_every_judge_learns_and_the_card_says_how_well(trained: Path) -> None:
    card = JudgesCard.load(trained)
    for name in ("toxicity_auroc", "harm_auroc", "fluency_auroc"):
        value, low, high = (card.validation[key] for key in (name, f"{name}_low", f"{name}_high"))
        assert value is not None
        assert low is not None
        assert high is not None
        assert low <= value <= high
    assert card.validation["toxicity_auroc"] == 1.0
    assert card.validation["harm_auroc"] == 1.0
    assert 0.0 < card.harm_threshold < 1.0


def test_the_same_data_and_recipe_give_the_same_judges(
    data: Path, trained: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    assert _train(data, tmp_path, tiny_encoder) == JudgesCard.load(trained)


def test_what_was_written_is_what_is_loaded(trained: Path, tiny_encoder: Path) -> None:
    judges = load_judges(trained, encoder_directory=tiny_encoder, num_threads=1)
    toxic, harmless = judges.texts.toxicity.score(["you stupid friend", "my good friend"])
    assert toxic > 0.5 > harmless
    assert judges.toxic_words.delete("the damn bus") == "the bus"
    batch = judges.texts.fluency.score(TEXTS)
    # Padding moves the last bits of single precision.
    assert batch == pytest.approx([judges.texts.fluency.score([text])[0] for text in TEXTS], abs=1e-5)
    assert batch[2] == 0.0


def test_an_untrained_adapter_differs_from_a_trained_one(trained: Path, tiny_encoder: Path) -> None:
    fresh = FluencyJudge(FluencyNetwork(load_base_network(tiny_encoder), rank=4), load_base_tokenizer(tiny_encoder))
    loaded = FluencyJudge.load(trained, encoder_directory=tiny_encoder, rank=4)
    assert fresh.score(TEXTS[:1]) != loaded.score(TEXTS[:1])


@pytest.mark.parametrize("damage", ["other_rank", "no_file", "no_tensors"])
def test_weights_of_fluency_that_do_not_fit_are_named(
    trained: Path, tiny_encoder: Path, tmp_path: Path, damage: str
) -> None:
    if damage == "other_rank":
        tmp_path = trained
    elif damage == "no_tensors":
        (tmp_path / FLUENCY_FILE).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="fluency"):
        FluencyJudge.load(tmp_path, encoder_directory=tiny_encoder, rank=3)


def test_another_encoder_than_the_judges_were_trained_on_is_refused(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(CheckpointError, match="the judges need"):
        load_judges(trained, encoder_directory=tmp_path, num_threads=1)


def test_a_changed_file_is_refused(trained: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    for file in trained.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    pieces = json.loads((tmp_path / "harm.json").read_text(encoding="utf-8"))
    (tmp_path / "harm.json").write_text(json.dumps(pieces[::-1]), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"harm\.json: SHA-256"):
        load_judges(tmp_path, encoder_directory=tiny_encoder, num_threads=1)


def test_similarity_is_one_for_equal_texts_and_never_negative(tiny_encoder: Path) -> None:
    judge = SimilarityJudge.load(tiny_encoder)
    others = list(reversed(TEXTS))
    same, crossed = judge.compare(TEXTS, TEXTS), judge.compare(TEXTS, others)
    assert same == pytest.approx([1.0] * len(TEXTS), abs=1e-6)
    assert all(0.0 <= value <= 1.0 for value in crossed)
    assert crossed == pytest.approx(judge.compare(others, TEXTS), abs=1e-6)
    assert judge.compare([], []) == []
