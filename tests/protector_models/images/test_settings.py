"""Settings of the reading of images."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from protector_models.images.settings import ImageClassifierSettings, ImageSettings, KnownImagesSettings


def test_settings_that_were_written_out_can_be_read_again() -> None:
    settings = ImageSettings(
        known=KnownImagesSettings(file=Path("known.txt")),
        classifier=ImageClassifierSettings(model="/models/nsfw", labels={"porn": "sexual"}),
    )

    assert ImageSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_a_key_that_only_reading_uses_is_an_error_where_reading_is_off() -> None:
    with pytest.raises(ValidationError, match=r"read is off: expected no max_frames, known"):
        ImageSettings(read="off", max_frames=2, known=KnownImagesSettings(file=Path("known.txt")))
    assert ImageSettings(read="off", max_images=2).max_images == 2


def test_a_classifier_without_labels_is_an_error() -> None:
    with pytest.raises(ValidationError, match="labels"):
        ImageClassifierSettings(model="m", labels={})


def test_the_categories_are_those_of_the_classifier() -> None:
    labels = {"porn": "sexual", "hentai": "sexual", "gore": "violence"}

    assert ImageSettings(classifier=ImageClassifierSettings(model="m", labels=labels)).categories == {
        "sexual",
        "violence",
    }
    assert ImageSettings().categories == frozenset()
