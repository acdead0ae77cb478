"""An image reader is loaded when the first image comes, and once."""

from protector_models.images.reader_on_demand import ImageReaderOnDemand
from tests.protector_models.open_image_reader import OpenFakeImageReader


async def test_a_reader_is_loaded_at_its_first_use_and_once() -> None:
    loaded: list[OpenFakeImageReader] = []

    def load() -> OpenFakeImageReader:
        loaded.append(OpenFakeImageReader())
        return loaded[-1]

    reader = ImageReaderOnDemand(load)
    await reader.close()
    assert loaded == []
    assert reader.revision == "fake-reader@1"
    assert len(await reader.read([b"a sign"])) == 1
    await reader.close()
    (only,) = loaded
    assert only.is_closed
