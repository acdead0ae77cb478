"""Descriptions of checkpoints: those that come with Weir, and those of others."""

from pathlib import Path

import pytest

from protector_models.descriptions.checkpoint_description import ClassificationHead, list_descriptions, load_description
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.harm_categories import HARM_CATEGORIES

_OWN = """
name: mine
about: Ours.
head:
  kind: classification
  activation: softmax
  scored_labels: [bad]
  categories: {bad: hate}
window: {max_tokens: 256}
threshold: 0.7
"""


def test_every_shipped_description_is_whole_and_goes_by_the_name_of_its_file() -> None:
    found = list_descriptions()
    assert {"binary-classifier", "one-logit-classifier", "mllm-protector-3b", "mllm-protector-7b"} <= {
        each.name for each in found
    }
    assert all(load_description(each.name) == each for each in found)
    assert all(each.categories <= HARM_CATEGORIES for each in found)


@pytest.mark.parametrize("name", ["mllm-protector-3b", "mllm-protector-7b"])
def test_the_paper_s_adapters_are_inverted_by_declaration(name: str) -> None:
    head = load_description(name).head
    assert isinstance(head, ClassificationHead)
    assert head.polarity == "harmless"
    assert head.template == "Question: {prompt}\n\nAnswer: {response}"


def test_a_file_takes_the_place_of_a_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(_OWN)
    found = load_description(str(file))
    assert (found.name, found.threshold, found.categories) == ("mine", 0.7, frozenset({"hate"}))


def test_a_name_that_nobody_knows_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"'llama-guard-9': expected .*binary-classifier"):
        load_description("llama-guard-9")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("categories: {bad: hate}", "categories: {bad: rudeness}", "head.classification.categories.bad"),
        ("scored_labels: [bad]", "scored_labels: []", "activation 'softmax': expected scored_labels"),
        ("activation: softmax", "activation: softmax\n  template: 'Q {prompt}'", "expected the fields prompt and resp"),
        ("max_tokens: 256", "max_tokens: 1", "window.max_tokens"),
        ("threshold: 0.7", "threshold: 7", "threshold"),
        ("threshold: 0.7", "treshold: 0.7", "treshold"),
        ("kind: classification", "kind: regression", "head"),
    ],
)
def test_a_fault_is_named_with_its_field(tmp_path: Path, before: str, after: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    assert before in _OWN
    file.write_text(_OWN.replace(before, after))
    with pytest.raises(ConfigurationError) as caught:
        load_description(str(file))
    assert str(file) in str(caught.value)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: cannot be read"):
        load_description(str(tmp_path / "none.yaml"))
