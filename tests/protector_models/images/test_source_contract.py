"""What every source of images does: the fake, and the one that is configured."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.images.settings import FetchSettings, ImageSettings
from protector_models.images.source import load_image_source
from protector_models.moderation.fakes import FakeImageSource
from protector_models.moderation.images import ImageContent, ImageFault
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.ports import ImageSource
from tests.protector_models.images.image_hosts import PNG

CONTENTS = {f"data:image/png;base64,{base64.b64encode(data).decode()}": data for data in (PNG, PNG + b"1", PNG + b"22")}
MISSING = ["https://img.example.org/cat.png", "nothing"]


def open_source(kind: str) -> ImageSource:
    """Return a source that has the contents and nothing else."""
    return FakeImageSource(CONTENTS) if kind == "fake" else load_image_source(ImageSettings(fetch=FetchSettings()))


@pytest.mark.parametrize("kind", ["fake", "configured"])
@given(references=st.lists(st.sampled_from([*CONTENTS, *MISSING]), max_size=12))
async def test_each_reference_has_its_result_at_its_place(kind: str, references: list[str]) -> None:
    source = open_source(kind)
    results = await source.fetch(references)
    await source.close()

    assert len(results) == len(references)
    for reference, result in zip(references, results, strict=True):
        if reference in CONTENTS:
            data = CONTENTS[reference]
            sha256 = hashlib.sha256(data).hexdigest()
            assert result == ImageContent(data=data, media_type="image/png", sha256=sha256)
        else:
            assert isinstance(result, ItemFailure)
            assert ImageFault(result.error)


@pytest.mark.parametrize("kind", ["fake", "configured"])
async def test_what_was_fetched_can_be_fetched_again_from_its_data_url(kind: str) -> None:
    source = open_source(kind)
    first = await source.fetch(list(CONTENTS))
    again = await source.fetch([result.data_url() for result in first if isinstance(result, ImageContent)])
    await source.close()
    assert again == first
