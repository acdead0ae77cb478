"""Puts a Moderator together from the configuration, with the models in this process."""

import os
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.image_reader_on_demand import ClosableImageReader, ImageReaderOnDemand
from pipelines.settings import WeirSettings
from protector_models.detectors.detectors import DetectorFacts, LoadedDetector, describe_detector, load_detector
from protector_models.detectors.harm_detector import SHIPPED_WEIGHTS
from protector_models.detoxification.detoxifier import load_detoxifier
from protector_models.images.settings import ImageSettings
from protector_models.images.source import load_image_source
from protector_models.languages import LanguageIdentifier
from protector_models.mllms.mllm import load_mllm
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy import DEFAULT, Policy, Rule
from protector_models.moderation.ports import Detoxifier, Metrics, VerdictCache
from protector_models.moderation.verdict import Action, RewriteMethod
from protector_models.policy_file import load_policy
from services.verdict_cache import RedisVerdictCache

_BATCH_TIMEOUT_S = 3_600.0
"""Nobody waits for a batch from a file: this only ends a run that hangs."""
_CATEGORIES = frozenset(
    [
        "harassment",
        "hate",
        "illicit",
        "self_harm",
        "sexual",
        "sexual_minors",
        "violence",
        "privacy",
        "deception",
        "unsafe_advice",
    ]
)
"""The categories of this project: a policy may have texts for them though the detector in force knows fewer."""


def detector_checkpoint(settings: WeirSettings) -> Path:
    """Return the folder of a detector of kind `onnx`: the one that is configured, else the one that Weir ships."""
    return settings.detector.checkpoint or SHIPPED_WEIGHTS


def load_policy_in_force(settings: WeirSettings) -> Policy:
    """Return the policy that is configured, once it is known to fit the models.

    The thresholds of the default policy are those of the detector that Weir ships. Where no policy is configured and
    the detector is another one, its rules give way to that detector's own threshold, and its version says so.

    Raises:
        ConfigurationError: the policy or the checkpoint cannot be used, or does not fit the models.
    """
    policy = load_policy(settings.policy)
    is_shipped = settings.detector.kind == "onnx" and settings.detector.checkpoint is None
    if settings.policy is None and not is_shipped:
        policy = _with_threshold_of(describe_detector(settings.detector), policy)
    require_fitting_policy(policy, settings)
    return policy


def require_fitting_policy(policy: Policy, settings: WeirSettings) -> None:
    """Refuse a policy that does not fit the models that are configured.

    Raises:
        ConfigurationError: the checkpoint cannot be used, a rule looks at a category that the detector or the image
            classifier does not know and would therefore never apply, a text or methods are for a category that nobody
            knows, or a method needs a model that is switched off.
    """
    known = describe_detector(settings.detector).categories
    if unknown := policy.unknown_categories(known):
        raise ConfigurationError(
            f"policy {policy.version}: rules over {', '.join(sorted(unknown))}: "
            f"expected 'any' or a category of the detector: {', '.join(sorted(known))}"
        )
    _require_known_categories(policy, _CATEGORIES.union(known))
    _require_known_image_categories(policy, settings.images)
    detoxifier = settings.detoxifier
    if not detoxifier.edit:
        _require_no_method(policy, RewriteMethod.EDIT, "detoxifier.edit to be on, got off")
    if detoxifier.generator.kind == "off":
        _require_no_method(policy, RewriteMethod.GENERATE, "detoxifier.generator.kind to name a model, got 'off'")


def _with_threshold_of(detector: DetectorFacts, policy: Policy) -> Policy:
    rules = [Rule(threshold=detector.threshold, action=Action.REWRITE)]
    if "self_harm" in detector.categories:
        # Named, it chooses the text with the crisis line whatever other category scores higher.
        rules.append(Rule(category="self_harm", threshold=detector.threshold, action=Action.REWRITE))
    version = f"{policy.version}, threshold {detector.threshold:g}"
    return Policy.model_validate({**policy.model_dump(), "rules": rules, "version": version})


def _require_known_categories(policy: Policy, possible: Collection[str]) -> None:
    for field in ("safe_completions", "omissions", "rewrite_methods"):
        named = {*getattr(policy, field)}.union(*(getattr(tenant, field) for tenant in policy.tenants.values()))
        if unknown := named - {DEFAULT, *possible}:
            raise ConfigurationError(
                f"policy {policy.version}: {field} of {', '.join(sorted(unknown))}: "
                f"expected {DEFAULT!r} or a category: {', '.join(sorted(possible))}"
            )


def _require_known_image_categories(policy: Policy, images: ImageSettings) -> None:
    known = sorted(images.categories)
    if unknown := policy.unknown_image_categories(known):
        raise ConfigurationError(
            f"policy {policy.version}: image_rules over {', '.join(sorted(unknown))}: "
            f"expected a category of images.classifier: {', '.join(known) or 'none is configured'}"
        )


def _require_no_method(policy: Policy, method: RewriteMethod, expected: str) -> None:
    """Refuse a policy that names a method for which no model is configured."""
    everybody = [f"rewrite_methods.{category}" for category in policy.where_method_stands(method)]
    own = [
        f"tenants.{tenant}.rewrite_methods.{category}"
        for tenant in policy.tenants
        for category in policy.for_tenant(tenant).where_method_stands(method)
    ]
    if places := everybody or own:
        raise ConfigurationError(
            f"policy {policy.version}: {method.value!r} in {', '.join(places)}: expected {expected}"
        )


@asynccontextmanager
async def verdict_cache(settings: WeirSettings, metrics: Metrics) -> AsyncIterator[VerdictCache]:
    """Yield the cache that is configured: Redis where `redis.url` is set, else the memory of this process."""
    if settings.redis.url is None:
        yield MemoryVerdictCache(max_entries=settings.redis.memory_max_entries)
        return
    cache = RedisVerdictCache.from_settings(settings.redis, metrics=metrics)
    try:
        yield cache
    finally:
        await cache.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class InProcessModels:
    """Models that run in this process."""

    detector: LoadedDetector
    detoxifier: Detoxifier | None
    """None where the settings switch its models off."""


@asynccontextmanager
async def in_process_models(settings: WeirSettings) -> AsyncIterator[InProcessModels]:
    """Yield detector and detoxifier, loaded into this process.

    Raises:
        ConfigurationError: a checkpoint cannot be used.
    """
    async with AsyncExitStack() as stack:
        detector = load_detector(settings.detector, num_threads=usable_cpus(), timeout_s=_BATCH_TIMEOUT_S)
        stack.push_async_callback(detector.close)
        detoxifier = load_detoxifier(settings.detoxifier, num_threads=usable_cpus(), timeout_s=_BATCH_TIMEOUT_S)
        if detoxifier is not None:
            stack.push_async_callback(detoxifier.close)
        yield InProcessModels(detector=detector, detoxifier=detoxifier)


@asynccontextmanager
async def in_process_moderator(
    settings: WeirSettings, policy: Policy, metrics: Metrics, cache: VerdictCache
) -> AsyncIterator[Moderator]:
    """Yield a Moderator whose models run in this process.

    Raises:
        ConfigurationError: a checkpoint cannot be used.
    """
    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(in_process_models(settings))
        source = load_image_source(settings.images)
        stack.push_async_callback(source.close)
        reader = generator = None
        if settings.images.read != "off":
            reader = _image_reader(settings.images)
            stack.push_async_callback(reader.close)
        if settings.mllm.kind != "off":
            generator = load_mllm(
                settings.mllm, num_threads=usable_cpus(), timeout_s=_BATCH_TIMEOUT_S, images=settings.images
            )
            stack.push_async_callback(generator.close)
        yield Moderator(
            policy=policy,
            detector=models.detector,
            cache=cache,
            metrics=metrics,
            detoxifier=models.detoxifier,
            generator=generator,
            image_source=source,
            image_reader=reader,
            max_images=settings.images.max_images,
            name_language=LanguageIdentifier.load().name_language,
            include_original=settings.output.include_original_response,
        )


def _image_reader(settings: ImageSettings) -> ClosableImageReader:
    """Return what reads images; what may be wrongly configured is loaded at once, anything else when it is needed."""

    def load() -> ClosableImageReader:
        # Imported where images are read: OpenCV and its company take a second.
        from protector_models.images.reader import load_image_reader  # noqa: PLC0415

        return load_image_reader(settings, num_threads=usable_cpus(), timeout_s=_BATCH_TIMEOUT_S)

    is_as_shipped = settings.known is None and settings.classifier is None
    return ImageReaderOnDemand(load) if is_as_shipped else load()


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0))
