"""Where images come from: what is configured is fetched, the rest is refused, and each image stands for itself."""

import base64
import hashlib
import random

import pytest

from protector_models.images.settings import FetchSettings, ImageSettings
from protector_models.images.source import load_image_source
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.images import ImageContent, ImageFault
from protector_models.moderation.model_outputs import ItemFailure
from tests.protector_models.images.image_hosts import PNG, hang, open_host, open_internet, replying, web_settings


def data_url(data: bytes, media_type: str = "image/png") -> str:
    """Return a data URL."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


async def fetch(references: list[str], settings: FetchSettings | None = None) -> list[ImageContent | ItemFailure]:
    """Fetch with a source that needs no network."""
    source = load_image_source(ImageSettings(fetch=settings or FetchSettings()))
    results = await source.fetch(references)
    await source.close()
    return results


async def test_by_default_data_urls_are_read_and_nothing_is_reached() -> None:
    references = ["https://img.example.org/", "http://127.0.0.1/", "s3://a/b", "file:///etc/passwd", "ftp://a/"]
    async with open_internet(FetchSettings()) as internet:
        results = await internet.source.fetch([data_url(PNG), *references])
        assert (internet.directory.asked, internet.connector.attempts) == ([], [])

    sha256 = hashlib.sha256(PNG).hexdigest()
    assert results[0] == ImageContent(data=PNG, media_type="image/png", sha256=sha256)
    assert {result.error for result in results[1:] if isinstance(result, ItemFailure)} == {
        ImageFault.REFERENCE_NOT_ALLOWED
    }


@pytest.mark.parametrize(
    "reference", ["", " ", "cat.png", "//img.example.org/", ":", "1:2", "data", "x" * 100_000, "\ud800"]
)
async def test_what_is_no_reference_is_refused(reference: str) -> None:
    (result,) = await fetch([reference])
    assert isinstance(result, ItemFailure)
    assert result.error == ImageFault.INVALID_REFERENCE
    assert len(result.message) < 200


async def test_blanks_before_a_data_url_do_not_count_and_before_another_they_make_it_none() -> None:
    shown, refused = await fetch([f" \n{data_url(PNG)}", " https://img.example.org/a.png"])

    assert isinstance(shown, ImageContent)
    assert isinstance(refused, ItemFailure)
    assert refused.error == ImageFault.INVALID_REFERENCE


async def test_a_very_long_url_is_refused_and_a_very_long_data_url_is_not() -> None:
    async with open_host(replying()) as host, open_internet(web_settings(host)) as internet:
        for reference in (f"http://img.example.org:{host.port}/{'a' * 100_000}", "http://" + "a." * 50_000):
            result = await internet.fetch(reference)
            assert isinstance(result, ItemFailure)
            assert result.error == ImageFault.INVALID_REFERENCE
        assert host.requests == []
    (large,) = await fetch([data_url(PNG + bytes(7_000_000))])
    assert isinstance(large, ImageContent)


async def test_a_data_url_of_20_megabytes_is_refused() -> None:
    (result,) = await fetch([data_url(PNG + bytes(20_000_000))])
    assert isinstance(result, ItemFailure)
    assert result.error == ImageFault.TOO_MANY_BYTES


async def test_the_media_type_is_told_from_the_bytes_and_not_from_the_reference() -> None:
    results = await fetch([data_url(PNG, "image/jpeg"), data_url(b"<svg/>", "image/svg+xml"), data_url(b"<html>")])
    assert isinstance(results[0], ImageContent)
    assert results[0].media_type == "image/png"
    assert [getattr(result, "error", None) for result in results[1:]] == [ImageFault.FORMAT_NOT_ALLOWED] * 2


async def test_a_hundred_references_come_back_in_order_and_equal_ones_are_fetched_once() -> None:
    async with open_host(replying()) as host, open_internet(web_settings(host, schemes=["http", "data"])) as internet:
        web = [f"http://img.example.org:{host.port}/{number}" for number in range(20)]
        inline = [data_url(PNG + bytes([number])) for number in range(20)]
        refused = [f"https://img.example.org/{number}" for number in range(10)]
        references = [*web, *inline, *refused] * 2
        random.Random(6).shuffle(references)
        together = await internet.source.fetch(references)

        assert len(host.requests) == len(web)
        assert together == [await internet.fetch(reference) for reference in references]
        assert [isinstance(result, ItemFailure) for result in together] == [
            reference in refused for reference in references
        ]


async def test_nothing_asked_is_nothing_fetched() -> None:
    assert await fetch([]) == []


async def test_images_that_need_no_network_do_not_wait_for_a_host_that_hangs() -> None:
    async with open_host(hang) as host:
        settings = web_settings(host, schemes=["http", "data"], concurrency=1, timeout_s=0.2)
        async with open_internet(settings) as internet:
            results = await internet.source.fetch(
                [f"http://img.example.org:{host.port}/{number}" for number in range(5)] + [data_url(PNG)]
            )
    assert [getattr(result, "error", None) for result in results] == [*[ImageFault.FETCH_TIMEOUT] * 5, None]


def test_certificates_that_cannot_be_read_end_the_start() -> None:
    settings = FetchSettings.model_validate({"schemes": ["https"], "hosts": ["a.org"], "ca_file": "/no/such.pem"})
    with pytest.raises(ConfigurationError, match="ca_file"):
        load_image_source(ImageSettings(fetch=settings))
