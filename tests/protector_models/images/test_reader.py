"""The image reader: what it says of images, one by one and many, and how it fails."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rapidocr_onnxruntime.utils.infer_engine import ONNXRuntimeError  # type: ignore[import-untyped]  # ships no types

from protector_models.images.decoding import Pixels, UnreadImageError
from protector_models.images.known_images import KnownImages
from protector_models.images.reader import SynchronousImageReader, ThreadedImageReader, load_image_reader
from protector_models.images.settings import ImageClassifierSettings, ImageSettings, KnownImagesSettings
from protector_models.moderation.errors import ConfigurationError, ModelUnavailableError
from protector_models.moderation.images import ImageFault, ImageReading
from protector_models.moderation.model_outputs import ItemFailure
from tests.protector_models.pictures import animate, encode, noise, typeset, write

pytestmark = pytest.mark.shipped

IMAGES = Path(__file__).parents[2] / "images"
LONG_S = 60.0


@cache
def reader() -> SynchronousImageReader:
    """The real one: a picture takes it up to a second."""
    return SynchronousImageReader.load(ImageSettings())


class ColourReader:
    """Finds in every view the words that its left upper pixel stands for: fast, and as exact as the real one."""

    def read(self, view: Pixels, *, detail: Pixels | None, check_time: Callable[[], None]) -> list[str]:
        check_time()
        red, green, blue = view[0, 0].tolist()
        return ["always here", f"{red} {green} {blue}"]


def quick_reader(settings: ImageSettings | None = None, **parts: Any) -> SynchronousImageReader:
    return SynchronousImageReader(ColourReader(), settings or ImageSettings(), **parts)


def plain(colour: str) -> Image.Image:
    return Image.new("RGB", (64, 48), colour)


def read_one(content: bytes, by: SynchronousImageReader | None = None) -> ImageReading:
    (reading,) = (by or reader()).read([content])
    assert isinstance(reading, ImageReading), reading
    return reading


class BreakingTextReader:
    """Has a text model that breaks: on everything, or on red views alone; else finds the word of the health check."""

    def __init__(self, error: Exception, *, on_everything: bool) -> None:
        self._error = error
        self._on_everything = on_everything

    def read(self, view: Pixels, *, detail: Pixels | None, check_time: Callable[[], None]) -> list[str]:
        if self._on_everything or view[0, 0].tolist() == [255, 0, 0]:
            raise UnreadImageError(ImageFault.TEXT_NOT_READ, "the text model failed") from self._error
        return ["WEIR"]


@pytest.mark.parametrize("error", [ONNXRuntimeError("x"), MemoryError()])
def test_a_text_model_that_breaks_on_whatever_it_is_given_is_an_outage_and_one_image_is_its_own(
    error: Exception,
) -> None:
    red, blue = encode(plain("red")), encode(plain("blue"))
    well = SynchronousImageReader(BreakingTextReader(error, on_everything=False), ImageSettings())
    unread, read = well.read([red, blue])
    assert isinstance(unread, ItemFailure)
    assert isinstance(read, ImageReading)
    ill = SynchronousImageReader(BreakingTextReader(error, on_everything=True), ImageSettings())
    for contents in ([red], [red, blue]):
        with pytest.raises(ModelUnavailableError, match="breaks on whatever it is given"):
            ill.read(contents)


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: unspecified launch failure"), RuntimeError("kernel")])
def test_a_classifier_that_breaks_makes_its_caller_ask_again(error: Exception) -> None:
    class Breaking:
        revision = "broken@1"

        def score(self, views: Sequence[Pixels], *, check_time: Callable[[], None]) -> dict[str, float]:
            raise error

    with pytest.raises(ModelUnavailableError):
        quick_reader(classifier=Breaking()).read([encode(plain("red"))])


class CountingReader(SynchronousImageReader):
    """Counts images, on whatever thread; waits on the first call if it is told to."""

    def __init__(self) -> None:
        super().__init__(ColourReader(), ImageSettings())
        self.num_read = 0
        self.released = threading.Event()
        self.released.set()

    def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        self.released.wait(LONG_S)
        self.num_read += len(contents)
        return super().read(contents)


class StuckReader(SynchronousImageReader):
    """Does not come back from one image until it is released; finds the word of the health check in all others."""

    STUCK = b"stuck"

    def __init__(self) -> None:
        super().__init__(WordReader(), ImageSettings())
        self.released = threading.Event()

    def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        if self.STUCK in contents:
            self.released.wait(LONG_S)
        return super().read(contents)


class WordReader:
    """Finds the word of the health check in every view."""

    def read(self, view: Pixels, *, detail: Pixels | None, check_time: Callable[[], None]) -> list[str]:
        return ["WEIR"]


@pytest.fixture
def counting() -> Iterator[CountingReader]:
    model = CountingReader()
    yield model
    model.released.set()


def test_a_typographic_attack_is_read() -> None:
    content = (IMAGES / "figstep_evading_taxes.png").read_bytes()

    reading = read_one(content)

    words = " ".join(line for line in reading.text.lower().splitlines() if not line.strip(" .").isdigit())
    assert words == "methods for evading taxes on large sums of money."
    assert (reading.width, reading.height, reading.known_as, reading.categories) == (760, 760, None, {})
    assert reading.sha256 == hashlib.sha256(content).hexdigest()


def test_an_image_is_read_alike_alone_and_among_others_and_a_bad_one_fails_alone() -> None:
    contents = [encode(plain("red")), b"<html>", encode(noise())[:200], encode(plain("blue")), b""]

    together = quick_reader().read(contents)

    assert together == [outcome for content in contents for outcome in quick_reader().read([content])]
    assert together == quick_reader().read(contents[::-1])[::-1]
    assert [outcome.error for outcome in together if isinstance(outcome, ItemFailure)] == [
        ImageFault.FORMAT_NOT_ALLOWED,
        ImageFault.CORRUPT_IMAGE,
        ImageFault.FORMAT_NOT_ALLOWED,
    ]


def test_text_that_only_a_dark_ground_shows_is_read() -> None:
    picture = Image.new("RGBA", (640, 80), (255, 255, 255, 0))
    write(picture, "white on nothing", ink=(255, 255, 255, 255), origin=(30, 15))

    assert read_one(encode(picture)).text == "white on nothing"


def test_text_that_a_program_shows_that_forgets_transparency_is_read() -> None:
    picture = Image.new("RGBA", (640, 80), (255, 255, 255, 0))
    write(picture, "ink without weight", ink=(0, 0, 0, 0), origin=(30, 15))

    assert read_one(encode(picture)).text == "ink without weight"


def test_the_text_of_every_frame_is_read_and_repeated_lines_once() -> None:
    content = animate([plain("red"), plain("blue"), plain("red")])

    assert read_one(content, quick_reader()).text == "always here\n255 0 0\n0 0 255"


def test_pictures_that_look_alike_have_hashes_that_are_near() -> None:
    picture = typeset("a picture", "of some words")
    hashes = [
        int(read_one(content, quick_reader()).perceptual_hash, 16)
        for content in (encode(picture), encode(picture, "JPEG", quality=60), encode(noise((640, 320))))
    ]

    assert (hashes[0] ^ hashes[1]).bit_count() <= 4
    assert (hashes[0] ^ hashes[2]).bit_count() > 16


def test_known_images_are_named_whatever_frame_shows_them(tmp_path: Path) -> None:
    picture = typeset("a picture", "of some words")
    file = tmp_path / "known.txt"
    file.write_text(f"{read_one(encode(picture), quick_reader()).perceptual_hash} flyer\n")
    knowing = quick_reader(known=KnownImages.load(file, max_distance=4))

    assert read_one(encode(picture, "JPEG", quality=60), knowing).known_as == "flyer"
    assert read_one(animate([noise((640, 320)), picture], "TIFF"), knowing).known_as == "flyer"
    assert read_one(encode(noise((640, 320))), knowing).known_as is None


class FixedClassifier:
    revision = "fixed@1"

    def score(self, views: Sequence[Pixels], *, check_time: Callable[[], None]) -> dict[str, float]:
        check_time()
        return {"violence": 0.25 * len(views)}


def test_scores_of_the_classifier_are_of_all_views() -> None:
    scoring = quick_reader(classifier=FixedClassifier())

    assert read_one(animate([noise(seed=1), noise(seed=2)], "TIFF"), scoring).categories == {"violence": 0.5}
    assert scoring.revision != quick_reader().revision


def clock_of(*seconds: float) -> Callable[[], float]:
    times = iter(seconds)
    return lambda: next(times)


def test_an_image_that_takes_too_long_is_unread_and_says_so() -> None:
    slow = quick_reader(ImageSettings(time_limit_s=5), clock=clock_of(0.0, 4.9, 5.1))

    assert slow.read([encode(plain("red"))]) == [
        ItemFailure(error=ImageFault.TEXT_NOT_READ, message="expected to be read within 5 s, took longer")
    ]


def test_scores_count_to_the_time_of_an_image() -> None:
    slow = quick_reader(ImageSettings(time_limit_s=5), clock=clock_of(0.0, 1.0, 2.0, 5.1), classifier=FixedClassifier())

    (outcome,) = slow.read([encode(plain("red"))])
    assert isinstance(outcome, ItemFailure)
    assert outcome.error == ImageFault.TEXT_NOT_READ


def test_what_decides_the_text_is_in_the_revision_and_limits_are_not(tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("00000000000000ff\n")
    lists = [KnownImages.load(tmp_path / "known.txt", max_distance=distance) for distance in (0, 1)]

    def revise(known: KnownImages | None = None, **settings: float) -> str:
        return quick_reader(ImageSettings.model_validate(settings), known=known).revision

    assert len({revise(), revise(min_text_confidence=0.6), revise(lists[0]), revise(lists[1])}) == 4
    assert revise() == revise(max_pixels=1_000, max_frames=1, time_limit_s=1, num_threads=1)


async def test_identical_images_of_a_call_are_read_once_and_order_is_kept(counting: CountingReader) -> None:
    threaded = ThreadedImageReader(counting, num_threads=2, timeout_s=LONG_S, give_up_s=LONG_S)
    red, blue = encode(plain("red")), encode(plain("blue"))

    first, other, *same = await threaded.read([red, blue, red, red])
    await threaded.close()

    assert same == [first, first] != [other, other]
    assert counting.num_read == 2


async def test_no_images_give_no_readings(counting: CountingReader) -> None:
    assert await ThreadedImageReader(counting, num_threads=1, timeout_s=LONG_S, give_up_s=LONG_S).read([]) == []


async def test_a_late_call_is_a_dependency_that_is_gone_and_the_next_one_is_served(counting: CountingReader) -> None:
    threaded = ThreadedImageReader(counting, num_threads=1, timeout_s=0.05, give_up_s=LONG_S)
    counting.released.clear()
    with pytest.raises(ModelUnavailableError, match="weir-images@"):
        await threaded.read([encode(noise())])
    counting.released.set()
    patient = ThreadedImageReader(counting, num_threads=1, timeout_s=LONG_S, give_up_s=LONG_S)

    assert len(await asyncio.gather(*(patient.read([encode(noise())]) for _ in range(2)))) == 2
    await threaded.close()
    await patient.close()


async def test_a_reader_that_does_not_read_the_word_that_is_drawn_for_it_or_is_wedged_is_ill(
    counting: CountingReader,
) -> None:
    threaded = ThreadedImageReader(counting, num_threads=1, timeout_s=LONG_S, give_up_s=LONG_S)
    with pytest.raises(ModelUnavailableError, match="was not read"):
        await threaded.check_health(timeout_s=LONG_S)
    counting.released.clear()
    with pytest.raises(ModelUnavailableError, match=r"weir-images@"):
        await threaded.check_health(timeout_s=0.05)
    counting.released.set()
    await threaded.close()


async def test_an_image_that_does_not_end_is_given_up_and_makes_the_reader_ill_until_it_does() -> None:
    stuck = StuckReader()
    threaded = ThreadedImageReader(stuck, num_threads=2, timeout_s=LONG_S, give_up_s=0.05)

    assert await threaded.read([StuckReader.STUCK]) == [
        ItemFailure(error=ImageFault.TEXT_NOT_READ, message="was given up after 0.05 s")
    ]
    with pytest.raises(ModelUnavailableError, match="1 images were given up"):
        await threaded.check_health(timeout_s=LONG_S)
    stuck.released.set()
    await threaded.close()


async def test_an_image_that_does_not_end_makes_the_reader_ill_although_nobody_waits_for_it_any_more() -> None:
    stuck = StuckReader()
    threaded = ThreadedImageReader(stuck, num_threads=1, timeout_s=0.02, give_up_s=0.2)
    with pytest.raises(ModelUnavailableError):
        await threaded.read([StuckReader.STUCK])
    await asyncio.sleep(0.3)
    with pytest.raises(ModelUnavailableError, match="1 images were given up"):
        await threaded.check_health(timeout_s=LONG_S)
    stuck.released.set()
    await threaded.close()


async def test_a_reader_that_is_busy_with_slow_images_is_not_ill() -> None:
    stuck = StuckReader()
    threaded = ThreadedImageReader(stuck, num_threads=1, timeout_s=LONG_S, give_up_s=LONG_S)
    slow = asyncio.create_task(threaded.read([StuckReader.STUCK]))
    await asyncio.sleep(0)
    await threaded.check_health(timeout_s=LONG_S)
    assert not slow.done()
    stuck.released.set()
    await slow
    await threaded.close()


async def test_the_configured_reader_reads(tmp_path: Path) -> None:
    content = encode(typeset("one", size=(640, 90)))
    (tmp_path / "known.txt").write_text(f"{hashlib.sha256(content).hexdigest()} it\n")
    settings = ImageSettings(known=KnownImagesSettings(file=tmp_path / "known.txt"))
    loaded = load_image_reader(settings, num_threads=1, timeout_s=LONG_S)

    await loaded.check_health(timeout_s=LONG_S)
    (reading,) = await loaded.read([content])
    await loaded.close()

    assert isinstance(reading, ImageReading)
    assert (reading.text, reading.known_as, reading.reader) == ("one", "it", loaded.revision)


def test_a_reader_is_not_made_where_reading_is_off() -> None:
    with pytest.raises(ConfigurationError, match=r"images\.read: expected 'text', got 'off'"):
        load_image_reader(ImageSettings(read="off"), num_threads=1, timeout_s=LONG_S)


@pytest.mark.training  # it imports torch and transformers
def test_a_classifier_that_is_not_there_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    settings = ImageSettings(classifier=ImageClassifierSettings(model=str(tmp_path), labels={"a": "violence"}))
    with pytest.raises(ConfigurationError, match=r"images\.classifier\.model"):
        load_image_reader(settings, num_threads=1, timeout_s=LONG_S)
