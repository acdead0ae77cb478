"""The policy in force: the one that is configured, once it is known to fit the models that are configured."""

import logging
from collections.abc import Collection

from protector_models.detectors.choice import describe_detector
from protector_models.detectors.loaded_detector import DetectorFacts
from protector_models.images.settings import ImageSettings
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.harm_categories import HARM_CATEGORIES
from protector_models.moderation.model_outputs import UNSPECIFIED
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.policy.rules import Rule
from protector_models.moderation.policy.tenant_rules import DEFAULT
from protector_models.moderation.verdict import Action, RewriteMethod
from protector_models.policies.policy_file import load_policy
from services.configuration import ModerationSettings

_log = logging.getLogger(__name__)


def load_policy_in_force(settings: ModerationSettings) -> Policy:
    """Return the policy that is configured, once it is known to fit the models.

    The thresholds of the default policy are those of the pair of detectors that Weir ships. Where no policy is
    configured and the detector is another one, its rules give way to that detector's own threshold, and its version
    says so.

    Raises:
        ConfigurationError: the policy or the checkpoint cannot be used, or does not fit the models.
    """
    policy = load_policy(settings.policy)
    if settings.policy is None and not settings.detector.is_shipped_pair():
        policy = _with_threshold_of(describe_detector(settings.detector), policy)
    require_fitting_policy(policy, settings)
    return policy


def load_shadow_policy(settings: ModerationSettings) -> Policy | None:
    """Return the shadow policy that is configured, once it is known to fit the models; None: there is none.

    Raises:
        ConfigurationError: as in `load_policy_in_force`.
    """
    if settings.shadow_policy is None:
        return None
    policy = load_policy(settings.shadow_policy)
    require_fitting_policy(policy, settings)
    return policy


def require_fitting_policy(policy: Policy, settings: ModerationSettings) -> None:
    """Refuse a policy that does not fit the models that are configured; warn of one that lets nameless harm pass.

    Raises:
        ConfigurationError: the checkpoint cannot be used, a rule looks at a category that the detector or the image
            classifier does not know and would therefore never apply, a text or methods are for a category that nobody
            knows, or a method needs a model that is switched off.
    """
    known = describe_detector(settings.detector).categories
    if unknown := policy.unknown_categories(known):
        raise ConfigurationError(
            f"policy {policy.version}: rules over {', '.join(sorted(unknown))}: "
            f"expected 'any', {UNSPECIFIED!r} or a category of the detector: {', '.join(sorted(known))}"
        )
    if partial := policy.partial_rules():
        _log.warning(
            "policy %s: %s: none is over 'any' or %r: harm of which the detector names no category is allowed",
            *(policy.version, ", ".join(partial), UNSPECIFIED),
        )
    # A policy may have texts for all of ours, though the detector in force knows fewer.
    _require_known_categories(policy, {*HARM_CATEGORIES, UNSPECIFIED, *known})
    _require_known_image_categories(policy, settings.images)
    detoxifier = settings.detoxifier
    if not detoxifier.edit:
        _require_no_method(policy, RewriteMethod.EDIT, "detoxifier.edit to be on, got off")
    if detoxifier.generator.kind == "off":
        _require_no_method(policy, RewriteMethod.GENERATE, "detoxifier.generator.kind to name a model, got 'off'")


def _with_threshold_of(detector: DetectorFacts, policy: Policy) -> Policy:
    rules = [Rule(threshold=detector.threshold, action=Action.REWRITE)]
    # Named, they choose the texts with the help lines whatever other category scores higher.
    rules += [
        Rule(
            category=category,
            threshold=detector.category_thresholds.get(category, detector.threshold),
            action=Action.REWRITE,
        )
        for category in ("self_harm", "sexual_minors")
        if category in detector.categories
    ]
    version = f"{policy.version}, threshold {detector.threshold:g}"
    return Policy.model_validate({**policy.model_dump(), "rules": rules, "version": version})


def _require_known_categories(policy: Policy, possible: Collection[str]) -> None:
    for field in ("safe_completions", "omissions", "rewrite_methods"):
        named = {*getattr(policy, field)}.union(*(getattr(tenant, field) for tenant in policy.tenants.values()))
        chosen = policy.completions_for_needs() if field == "safe_completions" else set()
        if unknown := named - {DEFAULT, *possible, *chosen}:
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
