"""Puts a Moderator together: the one way, wherever its models run; and loads them into this process.

Behind deployments `services.deployments.model_rows` finds them: it takes Ray along, which takes seconds.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from prometheus_client import CollectorRegistry

from protector_models.detectors.choice import load_detector
from protector_models.detectors.loaded_detector import LoadedDetector
from protector_models.detectors.second_opinion import DetectorOpinion
from protector_models.detoxification.detoxifier import load_detoxifier
from protector_models.images.reader_on_demand import (
    ClosableImageReader,
    ImageReaderOnDemand,
    import_and_load_image_reader,
)
from protector_models.images.settings import ImageSettings
from protector_models.images.source import load_image_source
from protector_models.mllms.mllm import load_mllm
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.ports import Metrics, VerdictCache
from protector_models.reading.languages import LanguageIdentifier
from services.configuration import ModerationSettings
from services.counters.process_counters import PrometheusMetrics
from services.model_ports import ModelPorts
from services.patience import Patience
from services.persistent_ports import ask_persistently
from services.stores.verdict_cache import RedisVerdictCache

_BATCH_TIMEOUT_S = 3_600.0
"""Nobody waits for a batch from a file: this only ends a run that hangs."""

_SECOND_OPINION_TIMEOUT_S = 20.0
"""The rewrites of a batch wait for it no longer: what it has not said by then, it cannot tell."""


@asynccontextmanager
async def verdict_cache(settings: ModerationSettings, metrics: Metrics) -> AsyncIterator[VerdictCache]:
    """Yield the cache that is configured: Redis where `redis.url` is set, else the memory of this process."""
    if settings.redis.url is None:
        yield _memory_cache(settings)
        return
    cache = RedisVerdictCache.from_settings(settings.redis, metrics=metrics)
    try:
        yield cache
    finally:
        await cache.close()


@asynccontextmanager
async def open_moderator(
    settings: ModerationSettings, policy: Policy, metrics: Metrics, cache: VerdictCache, models: ModelPorts
) -> AsyncIterator[Moderator]:
    """Yield a Moderator over models that are ready. It fetches images itself, and has its second opinion with it.

    Args:
        settings: of images and of what verdicts carry.
        policy: turns assessments into actions; it fits the models.
        metrics: counts outcomes.
        cache: keeps model outputs.
        models: what it asks; whoever has loaded them closes them, afterwards.

    Raises:
        ConfigurationError: the detector that gives the second opinion cannot be loaded.
    """
    async with AsyncExitStack() as stack:
        images = load_image_source(settings.images)
        stack.push_async_callback(images.close)
        opinion = _load_second_opinion(settings)
        if opinion is not None:
            stack.push_async_callback(opinion.close)
        yield Moderator(
            policy=policy,
            detector=models.detector,
            cache=cache,
            metrics=metrics,
            detoxifier=models.detoxifier,
            generator=models.generator,
            second_opinion=None if opinion is None else DetectorOpinion(opinion, timeout_s=_SECOND_OPINION_TIMEOUT_S),
            image_source=images,
            image_reader=models.image_reader,
            max_images=settings.images.max_images,
            name_language=LanguageIdentifier.load().name_language,
            include_original=settings.output.include_original_response,
        )


@asynccontextmanager
async def in_process_models(settings: ModerationSettings) -> AsyncIterator[ModelPorts]:
    """Yield the models that are configured, loaded into this process.

    Raises:
        ConfigurationError: a checkpoint cannot be used.
    """
    num_threads = usable_cpus()
    async with AsyncExitStack() as stack:
        detector = load_detector(settings.detector, num_threads=num_threads, timeout_s=_BATCH_TIMEOUT_S)
        stack.push_async_callback(detector.close)
        detoxifier = load_detoxifier(settings.detoxifier, num_threads=num_threads, timeout_s=_BATCH_TIMEOUT_S)
        if detoxifier is not None:
            stack.push_async_callback(detoxifier.close)
        generator = reader = None
        if settings.images.read != "off":
            reader = _image_reader(settings.images, num_threads=num_threads)
            stack.push_async_callback(reader.close)
        if settings.mllm.kind != "off":
            generator = load_mllm(
                settings.mllm, num_threads=num_threads, timeout_s=_BATCH_TIMEOUT_S, images=settings.images
            )
            stack.push_async_callback(generator.close)
        yield ModelPorts(detector=detector, detoxifier=detoxifier, generator=generator, image_reader=reader)


@asynccontextmanager
async def in_process_moderator(
    settings: ModerationSettings,
    policy: Policy,
    metrics: Metrics,
    cache: VerdictCache,
    *,
    patience: Patience | None = None,
) -> AsyncIterator[Moderator]:
    """Yield a Moderator whose models run in this process.

    Args:
        settings: of models, images and what verdicts carry.
        policy: turns assessments into actions.
        metrics: counts outcomes.
        cache: keeps model outputs.
        patience: how long models that are away, such as endpoints, are waited for; None: not at all.

    Raises:
        ConfigurationError: a checkpoint cannot be used.
    """
    async with in_process_models(settings) as models:
        asked = models if patience is None else ask_persistently(models, patience=patience, metrics=metrics)
        async with open_moderator(settings, policy, metrics, cache, asked) as moderator:
            yield moderator


@asynccontextmanager
async def trial_moderator(settings: ModerationSettings, policy: Policy) -> AsyncIterator[Moderator]:
    """Yield a Moderator that leaves no traces: models, counters and cache are its own, whatever is configured.

    Raises:
        ConfigurationError: a checkpoint cannot be used.
    """
    metrics = PrometheusMetrics(CollectorRegistry())
    async with in_process_moderator(settings, policy, metrics, _memory_cache(settings)) as moderator:
        yield moderator


def _load_second_opinion(settings: ModerationSettings) -> LoadedDetector | None:
    if settings.second_opinion is None or settings.second_opinion == settings.detector:
        return None
    return load_detector(settings.second_opinion, num_threads=1, timeout_s=_BATCH_TIMEOUT_S)


def _memory_cache(settings: ModerationSettings) -> MemoryVerdictCache:
    return MemoryVerdictCache(max_entries=settings.redis.memory_max_entries, max_bytes=settings.redis.memory_max_bytes)


def _image_reader(settings: ImageSettings, *, num_threads: int) -> ClosableImageReader:
    """Return what reads images; what may be wrongly configured is loaded at once, anything else when it is needed."""
    load = partial(import_and_load_image_reader, settings, num_threads=num_threads, timeout_s=_BATCH_TIMEOUT_S)
    is_as_shipped = settings.known is None and settings.classifier is None
    return ImageReaderOnDemand(load) if is_as_shipped else load()


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0))
