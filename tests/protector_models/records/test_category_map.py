import pytest

from protector_models.records.category_map import TRAINED_CATEGORIES, label_categories

pytestmark = pytest.mark.training


def _labels(source_set: str, category: str, text: str = "") -> dict[str, float | None]:
    labels = label_categories(source_set, category, text)
    assert labels is not None
    return dict(zip(TRAINED_CATEGORIES, labels, strict=True))


def test_a_mapped_category_is_one_its_unclear_neighbours_unknown_and_the_rest_zero() -> None:
    labels = _labels("jbb_family", "Malware/Hacking")
    assert (labels["illicit"], labels["privacy"], labels["sexual"]) == (1.0, None, 0.0)


def test_the_longest_matching_key_wins() -> None:
    assert _labels("adaptive_attacks", "identity theft")["privacy"] == 1.0
    assert _labels("adaptive_attacks", "theft")["privacy"] == 0.0
    assert _labels("harmful_prompts", "role:TRAIN-PROMPT/Physical Harm/Self-harm")["self_harm"] == 1.0


@pytest.mark.parametrize("name", TRAINED_CATEGORIES)
def test_rows_of_the_project_name_their_category(name: str) -> None:
    labels = _labels("written", name)
    assert labels[name] == 1.0
    assert [other for other, label in labels.items() if label == 1.0] == [name]


def test_a_set_or_category_outside_the_table_gives_no_labels() -> None:
    assert label_categories("gptfuzz", "q7", "steal a car") is None
    assert label_categories("jbb_family", "something new", "") is None


def test_self_harm_is_labelled_weakly_by_its_words_and_says_nothing_of_other_categories() -> None:
    labels = _labels("gptfuzz", "q0", "ways to kill yourself")
    assert labels.pop("self_harm") == 1.0
    assert set(labels.values()) == {None}


def test_sexual_content_with_minors_is_not_trained_because_no_answers_exist() -> None:
    assert "sexual_minors" not in TRAINED_CATEGORIES
