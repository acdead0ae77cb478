"""Reads images: decodes them, finds the text in them, compares them with known ones, asks a classifier if there is one.

Importing this module loads OpenCV and ONNX Runtime: import it where images are read.
"""

import asyncio
import contextlib
import hashlib
import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from typing import Protocol

import imagehash
from PIL import Image, ImageDraw, ImageFont
from rapidocr_onnxruntime.utils.infer_engine import ONNXRuntimeError  # type: ignore[import-untyped]  # ships no types

from protector_models.checkpoints.cards import hash_file
from protector_models.images.decoding import DecodingLimits, Picture, Pixels, UnreadImageError, decode_picture
from protector_models.images.known_images import KnownImages
from protector_models.images.settings import ImageSettings
from protector_models.images.text import READING, TextReader
from protector_models.moderation.engine_faults import is_engine_error
from protector_models.moderation.errors import ConfigurationError, ModelUnavailableError, SuspectBatchError
from protector_models.moderation.images import ImageFault, ImageReading
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.revisions import make_revision
from protector_models.running.computations import compute_on
from protector_models.running.deadlines import within
from protector_models.running.engine_errors import find_device_failure
from protector_models.running.model_threads import ModelThreads

NAME = "weir-images"
_MAX_CHARACTERS = 20_000
"""Of one image: several dense pages."""
_HEALTH_TEXT = "WEIR"
_DECIDING = ("rapidocr-onnxruntime", "onnxruntime", "opencv-python-headless", "pillow", "pillow-heif", "imagehash")
"""Packages whose versions decide what is read."""

_Reading = Future[list[ImageReading | ItemFailure]]


class ScoresPictures(Protocol):
    """An image classifier."""

    @property
    def revision(self) -> str:
        """Its "name@revision"."""

    def score(self, views: Sequence[Pixels], *, check_time: Callable[[], None]) -> dict[str, float]:
        """Return a score in [0, 1] for each category; may raise whatever `check_time`, called between views, raises."""


class ReadsText(Protocol):
    """Finds the text in one view."""

    def read(self, view: Pixels, *, detail: Pixels | None, check_time: Callable[[], None]) -> list[str]:
        """Return its lines in reading order, those too that only its full size shows, if there is one.

        May raise `UnreadImageError`, and whatever `check_time` raises.
        """


class SynchronousImageReader:
    """Reads images on the thread that calls it; several threads may use one at once."""

    def __init__(
        self,
        text_reader: ReadsText,
        settings: ImageSettings,
        *,
        known: KnownImages | None = None,
        classifier: ScoresPictures | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put a reader together; `load` does."""
        self._text_reader = text_reader
        self._limits = DecodingLimits(
            formats=frozenset(settings.formats),
            max_pixels=settings.max_pixels,
            max_side=settings.max_side,
            max_frames=settings.max_frames,
        )
        self._time_limit_s = settings.time_limit_s
        self._known = known
        self._classifier = classifier
        self._clock = clock
        self.revision = _make_revision(settings, known, classifier)

    @classmethod
    def load(cls, settings: ImageSettings) -> "SynchronousImageReader":
        """Loads models and lists.

        Raises:
            ConfigurationError: one of them cannot be used.
        """
        classifier = None
        if settings.classifier is not None:
            # Importing torch and transformers takes ten seconds.
            from protector_models.images.classifier import ImageClassifier  # noqa: PLC0415

            classifier = ImageClassifier.load(settings.classifier)
        known = None
        if settings.known is not None:
            known = KnownImages.load(settings.known.file, max_distance=settings.known.max_distance)
        text_reader = TextReader.load(min_confidence=settings.min_text_confidence, max_pieces=settings.max_text_pieces)
        return cls(text_reader, settings, known=known, classifier=classifier)

    def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        """Reads each image, whatever its neighbours are; equal ones once. Same length and order.

        Raises:
            ModelUnavailableError: a model broke on a word of ours as well, its device failed or has no memory.
        """
        distinct = {content: self._read(content) for content in dict.fromkeys(contents)}
        return [distinct[content] for content in contents]

    def _read(self, content: bytes) -> ImageReading | ItemFailure:
        deadline = self._clock() + self._time_limit_s

        def check_time() -> None:
            if self._clock() > deadline:
                raise UnreadImageError(
                    ImageFault.TEXT_NOT_READ, f"expected to be read within {self._time_limit_s:g} s, took longer"
                )

        try:
            picture = decode_picture(content, self._limits)
            text = self._read_text(picture, check_time)
            categories = self._classifier.score(picture.views, check_time=check_time) if self._classifier else {}
            return self._describe(content, picture, text, categories)
        except UnreadImageError as error:
            if isinstance(error.__cause__, ONNXRuntimeError | MemoryError):
                self._require_own_word(error)
            return error.as_failure()
        except Exception as error:
            if outage := find_device_failure(error, revision=self.revision):
                raise outage from error
            if is_engine_error(error):
                raise SuspectBatchError(f"{self.revision}: the model failed ({type(error).__name__})") from error
            raise

    def _require_own_word(self, error: UnreadImageError) -> None:
        """Raise unless a word of ours is read: a model that breaks on that too is ill, and the image not at fault."""
        try:
            text = self._read_text(decode_picture(_draw(_HEALTH_TEXT), self._limits), lambda: None)
        except UnreadImageError:
            text = ""
        if text != _HEALTH_TEXT:
            raise ModelUnavailableError(f"{self.revision}: the text model breaks on whatever it is given") from error

    def _read_text(self, picture: Picture, check_time: Callable[[], None]) -> str:
        # Views and frames of one picture repeat each other's lines: each is kept once, where it is first.
        lines: dict[str, None] = {}
        for view, detail in zip(picture.views, picture.details, strict=True):
            check_time()
            lines.update(dict.fromkeys(self._text_reader.read(view, detail=detail, check_time=check_time)))
        text = "\n".join(lines)
        if len(text) > _MAX_CHARACTERS:
            raise UnreadImageError(
                ImageFault.TEXT_NOT_READ, f"expected at most {_MAX_CHARACTERS} characters, got {len(text)}"
            )
        return text

    def _describe(self, content: bytes, picture: Picture, text: str, categories: dict[str, float]) -> ImageReading:
        sha256 = hashlib.sha256(content).hexdigest()
        hashes = [str(imagehash.phash(Image.fromarray(view))) for view in picture.views]
        return ImageReading(
            sha256=sha256,
            perceptual_hash=hashes[0],
            width=picture.width,
            height=picture.height,
            text=text,
            categories=categories,
            known_as=self._known.find(sha256, hashes) if self._known else None,
            is_cut=picture.is_cut,
            reader=self.revision,
        )


class ThreadedImageReader:
    """A reader on threads of this process. Implements `ImageReader`.

    An image whose reading does not end, as where a decoder hangs, is given up: it is unread, and from then on the
    reader is ill, since nothing but the end of its process gives the thread back.
    """

    def __init__(self, reader: SynchronousImageReader, *, num_threads: int, timeout_s: float, give_up_s: float) -> None:
        """Wrap a loaded reader.

        Args:
            reader: computes on the thread that calls it.
            num_threads: images that are read at the same time; further ones wait.
            timeout_s: how long a call may take, waiting for a free thread included.
            give_up_s: how long an image may keep a thread.
        """
        self._reader = reader
        self._timeout_s = timeout_s
        self._give_up_s = give_up_s
        self._threads = ThreadPoolExecutor(max_workers=num_threads, thread_name_prefix="images")
        self._turns = asyncio.Semaphore(num_threads)
        self._given_up: set[_Reading] = set()
        # Of its own: behind slow images the word would come too late, and a reader that works would be called ill.
        self._health_thread = ModelThreads("images-health", num_threads=1)

    @property
    def revision(self) -> str:
        """The reader's "name@revision"."""
        return self._reader.revision

    async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        """Reads each image on a thread of its own, as far as there are threads; equal ones once.

        Raises:
            ModelUnavailableError: no result in time.
        """
        distinct = list(dict.fromkeys(contents))
        found = await within(self._timeout_s, lambda: self._read_distinct(distinct), waiting_for=self.revision)
        outcomes = dict(zip(distinct, found, strict=True))
        return [outcomes[content] for content in contents]

    async def check_health(self, *, timeout_s: float) -> None:
        """Reads a word, and looks whether a thread is wedged, which is as bad as a broken model.

        Raises:
            ModelUnavailableError: it was not read, or not in time, or an image that was given up is still being read.
        """
        if self._given_up:
            raise ModelUnavailableError(f"{self.revision}: {len(self._given_up)} images were given up and do not end")
        (outcome,) = await self._health_thread.run(
            self._reader.read, [_draw(_HEALTH_TEXT)], timeout_s=timeout_s, waiting_for=self.revision
        )
        if isinstance(outcome, ItemFailure) or outcome.text != _HEALTH_TEXT:
            raise ModelUnavailableError(f"{self.revision}: a word that was drawn for it was not read")

    async def close(self) -> None:
        """Gives the threads up without waiting for what they compute."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._health_thread.close()

    async def _read_distinct(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        return await asyncio.gather(*map(self._read_one, contents))

    async def _read_one(self, content: bytes) -> ImageReading | ItemFailure:
        # A turn ends with the work on the thread and not with the wait for it: what nobody waits for is still computed.
        await self._turns.acquire()
        loop = asyncio.get_running_loop()
        work = compute_on(self._threads, lambda: self._reader.read([content]))
        # Whether somebody still waits then or not.
        giving_up = loop.call_later(self._give_up_s, self._given_up.add, work)
        work.add_done_callback(lambda done: _call_on(loop, self._end_turn, done, giving_up))
        ended, _ = await asyncio.wait([asyncio.wrap_future(work)], timeout=self._give_up_s)
        if ended:
            (outcome,) = ended.pop().result()
            return outcome
        return ItemFailure(error=ImageFault.TEXT_NOT_READ, message=f"was given up after {self._give_up_s:g} s")

    def _end_turn(self, work: _Reading, giving_up: asyncio.TimerHandle) -> None:
        giving_up.cancel()
        self._given_up.discard(work)
        self._turns.release()


def load_image_reader(settings: ImageSettings, *, num_threads: int, timeout_s: float) -> ThreadedImageReader:
    """Returns the reader that the settings describe; takes about a second, with a classifier more.

    Args:
        settings: of images; reading is on.
        num_threads: images read at the same time, where the settings do not say.
        timeout_s: how long a call may take.

    Raises:
        ConfigurationError: reading is off, or a list or model cannot be used.
    """
    if settings.read == "off":
        raise ConfigurationError("images.read: expected 'text', got 'off'")
    reader = SynchronousImageReader.load(settings)
    return ThreadedImageReader(
        reader,
        num_threads=settings.num_threads or num_threads,
        timeout_s=timeout_s,
        give_up_s=settings.give_up_s,
    )


def _call_on(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(call, *arguments)


def _make_revision(settings: ImageSettings, known: KnownImages | None, classifier: ScoresPictures | None) -> str:
    """Returns "name@revision", of everything that decides what is read of an image.

    Limits do not: an image is read whole or not at all, and of those that are not nothing is kept.
    """
    return make_revision(
        NAME,
        {
            "reading": READING,
            "packages": {name: version(name) for name in _DECIDING},
            "models": [hash_file(file) for file in TextReader.model_files()],
            "min_text_confidence": settings.min_text_confidence,
            "known": known and [known.digest, known.max_distance],
            "classifier": classifier and classifier.revision,
        },
    )


def _draw(word: str) -> bytes:
    """Returns a picture of a word, as PNG."""
    picture = Image.new("RGB", (320, 120), "white")
    ImageDraw.Draw(picture).text((60, 30), word, fill="black", font=ImageFont.load_default(48))
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()
