"""The stage before all others: every image of a batch is fetched once, read once, and ends as read or unread."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from protector_models.moderation.batch_cuts import split_by_count
from protector_models.moderation.cached_outputs import CachedOutputs, ObtainedOutput
from protector_models.moderation.conversation import ConversationEvent, SeenImage
from protector_models.moderation.errors import IncompleteError
from protector_models.moderation.fingerprint import image_key
from protector_models.moderation.images import ImageContent, ImageFault, ImageReading
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.ports import ImageReader, ImageSource, Metrics, VerdictCache
from protector_models.moderation.revisions import name_all
from protector_models.moderation.stages import StageStatus
from protector_models.moderation.verdict import ImageFinding, ImageStatus

_IMAGES_AT_ONCE = 32
"""Images whose bytes are in memory at the same time, but for those that an MLLM is going to see."""

_MAX_FAILURES = 1_000
"""Images that could not be read and are remembered: more than there are in the batches on the way."""

_NOT_READ = ItemFailure(error=ImageFault.IMAGES_NOT_READ, message="reading images is switched off")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventImages:
    """What became of the images of one event."""

    seen: tuple[SeenImage, ...] = ()
    """What a detector sees of each, in order."""
    findings: tuple[ImageFinding, ...] = ()
    """What the verdict says of each, in order."""
    status: StageStatus = StageStatus.SKIPPED
    data_urls: Mapping[str, str] = field(default_factory=dict)
    """For an event that the MLLM shall answer: its images, by reference."""
    missing: ItemFailure | None = None
    """Why the MLLM cannot answer the event: the first image that it would have to answer without."""
    reader: str | None = None
    """The reader that took part, "name@revision"; both, where it was just replaced."""
    cached: bool = True
    """True if all that was read came from the cache."""

    def shown_in(self, event: ConversationEvent) -> ConversationEvent:
        """Return the event with the bytes of its images in it."""
        return event.with_images(self.data_urls) if self.data_urls else event


NO_IMAGES = EventImages()
"""Stands for those of an event without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What became of the image behind one reference."""

    outcome: ImageReading | ItemFailure
    sha256: str | None = None
    """None where its bytes were not had."""
    data_url: str | None = None
    """None where no MLLM is going to see it."""
    reader: str | None = None
    cached: bool = True


_SWITCHED_OFF = _Looked(outcome=_NOT_READ)


class ImageStage:
    """Looks at the images of batches of events."""

    def __init__(
        self,
        *,
        source: ImageSource | None,
        reader: ImageReader | None,
        max_images: int,
        cache: VerdictCache,
        metrics: Metrics,
    ) -> None:
        """Put the stage together.

        Args:
            source: fetches images; None: nothing is fetched or read.
            reader: reads them; None: they are fetched for an MLLM only.
            max_images: of one event that are looked at. Of more it is the last ones, which an answer is about; those
                before them were looked at when they were new.
            cache: keeps readings.
            metrics: counts images.
        """
        self._source = source
        self._reader = reader
        self._max_images = max_images
        self._metrics = metrics
        self._readings = CachedOutputs(
            kind="image",
            model=ImageReading,
            key=_key,
            revision_of=lambda reading: reading.reader,
            cache=cache,
            metrics=metrics,
        )
        self._failed: dict[str, ItemFailure] = {}
        """By sha256, what could not be read for batches that have not come to their end. One that is tried again shall
        not wait for it again: reading may fail because it takes too long."""

    async def look_at(self, events: Sequence[ConversationEvent]) -> list[EventImages]:
        """Return what became of the images of each event, in order; nothing is done for events without any.

        Raises:
            DependencyError: the reader is gone or late.
        """
        references = [event.image_references() for event in events]
        if not any(references):
            return [NO_IMAGES] * len(events)
        # What becomes of a reference does not depend on the event it stands in; a dict keeps their order.
        shown: dict[str, bool] = {}
        for event, its_references in zip(events, references, strict=True):
            for reference in its_references[-self._max_images :]:
                shown[reference] = shown.get(reference, False) or event.lacks_response()
        looked = await self._look(shown)
        return [
            self._conclude(event, its_references, looked) if its_references else NO_IMAGES
            for event, its_references in zip(events, references, strict=True)
        ]

    def count(self, looked: Sequence[EventImages]) -> None:
        """Count the images of a batch that came to its end, and forget its failures: the next time they may pass."""
        if all(images is NO_IMAGES for images in looked):
            return
        found = Counter((finding.status, finding.reason or "") for images in looked for finding in images.findings)
        for (status, reason), number in found.items():
            self._metrics.count("weir_images_total", number, status=status.value, reason=reason)
        for images in looked:
            for finding in images.findings:
                if finding.sha256 is not None:
                    self._failed.pop(finding.sha256, None)

    async def _look(self, shown: Mapping[str, bool]) -> dict[str, _Looked]:
        """Fetch and read distinct images, a few at a time.

        Args:
            shown: for each reference, whether an MLLM is going to see the image.
        """
        source, reader = self._source, self._reader
        wanted = [] if source is None else [name for name in shown if reader is not None or shown[name]]
        looked = dict.fromkeys(shown, _SWITCHED_OFF)
        readings: dict[str, ObtainedOutput[ImageReading]] = {}
        for part in split_by_count(wanted, _IMAGES_AT_ONCE):
            assert source is not None  # nothing is wanted without one
            fetched = await source.fetch(part)
            contents = {image.sha256: image.data for image in fetched if isinstance(image, ImageContent)}
            new = {sha256: data for sha256, data in contents.items() if sha256 not in readings}
            asked = None if reader is None else reader.revision
            if reader is not None:
                readings |= await self._read(new, reader)
            for reference, image in zip(part, fetched, strict=True):
                looked[reference] = _join(image, readings, is_shown=shown[reference], asked=asked)
        return looked

    async def _read(
        self, contents: Mapping[str, bytes], reader: ImageReader
    ) -> dict[str, ObtainedOutput[ImageReading]]:
        """Return the readings of contents, both by their sha256."""
        # Taken now: another batch that comes to its end meanwhile forgets its failures.
        failed = {sha256: self._failed[sha256] for sha256 in contents if sha256 in self._failed}
        wanted = [(sha256, data) for sha256, data in contents.items() if sha256 not in failed]

        async def read(images: Sequence[tuple[str, bytes]]) -> Sequence[ImageReading | ItemFailure]:
            try:
                outcomes = await reader.read([data for _, data in images])
            except IncompleteError as error:
                self._remember_failures(images, error.outcomes)
                raise
            self._remember_failures(images, outcomes)
            return outcomes

        found = await self._readings.get_many(wanted, read, revision=reader.revision)
        read_now = {sha256: output for (sha256, _), output in zip(wanted, found, strict=True)}
        return read_now | {sha256: ObtainedOutput(output=failure, cached=False) for sha256, failure in failed.items()}

    def _remember_failures(self, images: Sequence[tuple[str, bytes]], outcomes: Sequence[object]) -> None:
        for (sha256, _), outcome in zip(images, outcomes, strict=True):
            if isinstance(outcome, ItemFailure):
                if len(self._failed) >= _MAX_FAILURES:
                    # Of batches that were given up for good.
                    del self._failed[next(iter(self._failed))]
                self._failed[sha256] = outcome

    def _conclude(
        self, event: ConversationEvent, references: Sequence[str], looked: Mapping[str, _Looked]
    ) -> EventImages:
        num_dropped = max(0, len(references) - self._max_images)
        is_shown = event.lacks_response() and self._source is not None
        if self._source is None or (self._reader is None and not is_shown):
            # Whatever an MLLM is shown for a neighbour.
            images = [_SWITCHED_OFF] * len(references)
        else:
            message = f"{len(references)} images; expected at most {self._max_images} in one conversation"
            too_many = _Looked(outcome=ItemFailure(error=ImageFault.TOO_MANY_IMAGES, message=message))
            images = [too_many] * num_dropped + [looked[reference] for reference in references[num_dropped:]]
        return EventImages(
            seen=tuple(_see(image.outcome) for image in images),
            findings=tuple(_find(image) for image in images),
            status=_status([image.outcome for image in images]),
            data_urls=_data_urls(references[num_dropped:], looked) if is_shown else {},
            missing=_missing(images) if is_shown else None,
            reader=name_all(image.reader for image in images if image.reader is not None),
            cached=all(image.cached for image in images),
        )


def _key(revision: str, image: tuple[str, bytes]) -> str:
    return image_key(revision, image[0])


def _join(
    image: ImageContent | ItemFailure,
    readings: Mapping[str, ObtainedOutput[ImageReading]],
    *,
    is_shown: bool,
    asked: str | None,
) -> _Looked:
    if isinstance(image, ItemFailure):
        return _Looked(outcome=image)
    data_url = image.data_url() if is_shown else None
    reading = readings.get(image.sha256)
    if reading is None:
        return _Looked(outcome=_NOT_READ, sha256=image.sha256, data_url=data_url)
    outcome = reading.output
    reader = outcome.reader if isinstance(outcome, ImageReading) else asked
    return _Looked(outcome=outcome, sha256=image.sha256, data_url=data_url, reader=reader, cached=reading.cached)


def _see(outcome: ImageReading | ItemFailure) -> SeenImage:
    if isinstance(outcome, ItemFailure):
        return SeenImage(unread_reason=outcome.error)
    return SeenImage(text=outcome.text)


def _find(image: _Looked) -> ImageFinding:
    outcome = image.outcome
    if isinstance(outcome, ItemFailure):
        return ImageFinding(status=ImageStatus.UNREAD, reason=outcome.error, sha256=image.sha256)
    return ImageFinding(
        status=ImageStatus.READ,
        sha256=outcome.sha256,
        perceptual_hash=outcome.perceptual_hash,
        text_characters=len(outcome.text),
        categories=outcome.categories,
        known_as=outcome.known_as,
        is_cut=outcome.is_cut,
    )


def _status(outcomes: Sequence[ImageReading | ItemFailure]) -> StageStatus:
    num_read = sum(isinstance(outcome, ImageReading) for outcome in outcomes)
    if num_read == len(outcomes):
        return StageStatus.COMPLETE
    return StageStatus.PARTIAL if num_read else StageStatus.FAILED


def _data_urls(references: Sequence[str], looked: Mapping[str, _Looked]) -> dict[str, str]:
    urls = ((reference, looked[reference].data_url) for reference in references)
    return {reference: url for reference, url in urls if url is not None}


def _missing(images: Sequence[_Looked]) -> ItemFailure | None:
    """Return why the first image that an MLLM would not see, or that nobody could read, is missing."""
    for position, image in enumerate(images):
        outcome = image.outcome
        # Where reading is switched off, an image is shown unread.
        if isinstance(outcome, ItemFailure) and (outcome is not _NOT_READ or image.data_url is None):
            message = f"image {position + 1} of {len(images)}: {outcome.message}"
            return ItemFailure(error=outcome.error, message=message)
    return None
