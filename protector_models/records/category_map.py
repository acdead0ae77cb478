"""The table from upstream `category` fields to this project's categories, one entry per source set.

Only harmful rows are mapped: the category head learns which categories a harmful exchange belongs to. A set that is
absent from the table gives no category labels. `sexual_minors` is left out of the head: the training data holds no
answers for it, and a head that has seen no example would report a number that means nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from protector_models.reading.self_harm_mentions import speaks_of_self_harm

TRAINED_CATEGORIES: tuple[str, ...] = (
    "harassment",
    "hate",
    "illicit",
    "self_harm",
    "sexual",
    "violence",
    "privacy",
    "deception",
    "unsafe_advice",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryRule:
    """What an upstream category says about ours: certain ones, and ones it leaves open."""

    certain: tuple[str, ...] = ()
    """Labelled 1."""
    unclear: tuple[str, ...] = ()
    """Not labelled; every category that is in neither tuple is labelled 0."""


def _rule(certain: str, unclear: str = "") -> CategoryRule:
    return CategoryRule(certain=tuple(certain.split()), unclear=tuple(unclear.split()))


# The longest key found in the lower-cased upstream field wins; "" matches every row of the set.
_RULES: Mapping[str, Mapping[str, CategoryRule]] = {
    "cipherchat": {
        "crimes_and_illegal_activities": _rule("illicit", "violence deception"),
        "privacy_and_property": _rule("privacy", "illicit"),
        "unfairness_and_discrimination": _rule("hate", "harassment"),
        "insult": _rule("harassment", "hate"),
        "physical_harm": _rule("unsafe_advice", "violence self_harm"),
        "mental_health": _rule("unsafe_advice", "self_harm harassment"),
    },
    "diasafety": {
        "toxicity agreement": _rule("harassment", "hate sexual violence"),
        "offending user": _rule("harassment", "hate"),
        "biased opinion": _rule("hate", "harassment"),
        "unauthorized expertise": _rule("unsafe_advice"),
        "risk ignorance": _rule("unsafe_advice", "self_harm"),
    },
    "jbb_family": {
        "expert advice": _rule("unsafe_advice", "illicit deception"),
        "disinformation": _rule("deception"),
        "economic harm": _rule("illicit", "deception"),
        "privacy": _rule("privacy", "illicit deception"),
        "fraud/deception": _rule("deception", "illicit"),
        "harassment/discrimination": _rule("harassment", "hate sexual violence"),
        "sexual/adult content": _rule("sexual", "illicit"),
        "physical harm": _rule("violence", "illicit self_harm harassment"),
        "malware/hacking": _rule("illicit", "privacy"),
        "government decision-making": _rule("illicit", "deception"),
    },
    "adaptive_attacks": {
        "bomb": _rule("illicit violence"),
        "virus": _rule("illicit"),
        "hacking": _rule("illicit", "privacy"),
        "misinformation": _rule("deception", "unsafe_advice"),
        "hate crime": _rule("hate violence", "illicit"),
        "terrorism": _rule("violence illicit"),
        "stalking": _rule("harassment privacy", "illicit"),
        "libel": _rule("deception harassment"),
        "murder": _rule("violence illicit"),
        "poison": _rule("violence illicit"),
        "identity theft": _rule("illicit privacy", "deception"),
        "financial": _rule("illicit", "deception"),
        "theft": _rule("illicit"),
        "suicide": _rule("self_harm"),
        "piracy": _rule("illicit"),
        "cheating": _rule("deception", "illicit"),
        "illegal manufacture": _rule("illicit"),
        "phising": _rule("illicit deception", "privacy"),
        "fraud": _rule("illicit deception"),
    },
    "safetext": {"": _rule("unsafe_advice")},
    "latent_jailbreak": {"": _rule("hate harassment")},
    "davidson": {"hate": _rule("hate", "harassment sexual violence"), "offensive": _rule("harassment", "hate sexual")},
    "sbic": {
        "race": _rule("hate", "harassment violence sexual"),
        "gender": _rule("hate", "harassment violence sexual"),
        "culture": _rule("hate", "harassment violence"),
        "disabled": _rule("hate", "harassment violence"),
        "body": _rule("harassment", "hate sexual"),
    },
    "toxichat_reddit": {"offensive": _rule("harassment", "hate sexual violence")},
    # Rows written for this project name our categories.
    "written": {
        "harassment": _rule("harassment", "hate sexual violence"),
        "hate": _rule("hate", "harassment violence"),
        "illicit": _rule("illicit", "violence deception privacy"),
        "self_harm": _rule("self_harm", "unsafe_advice harassment"),
        "sexual": _rule("sexual", "harassment"),
        "violence": _rule("violence", "harassment illicit hate"),
        "privacy": _rule("privacy", "harassment illicit"),
        "deception": _rule("deception", "illicit unsafe_advice"),
        "unsafe_advice": _rule("unsafe_advice", "self_harm illicit"),
    },
    "convabuse": {"sex_harassment": _rule("sexual harassment"), "abuse": _rule("harassment", "hate sexual violence")},
    "sms_spam": {"": _rule("deception", "illicit")},
    "toxigen_demonstrations": {"": _rule("hate", "harassment violence")},
    "identity_groups": {"": _rule("hate", "harassment violence sexual")},
    "persona_statements": {"": _rule("hate", "harassment")},
    "seegull_frames": {"": _rule("hate", "harassment")},
    "identity_templates": {"": _rule("harassment", "hate")},
    "covid_misinfo": {"": _rule("deception unsafe_advice")},
    "harmful_prompts": {
        "illegal activity": _rule("illicit", "violence"),
        "hate/harass/violence": _rule("hate", "harassment violence"),
        "cyberbullying": _rule("harassment", "hate"),
        "terrorism": _rule("violence illicit", "hate"),
        "malware viruses": _rule("illicit", "privacy"),
        "physical harm": _rule("violence", "illicit unsafe_advice"),
        "physical harm/self-harm": _rule("self_harm", "unsafe_advice"),
        "unsafe practices": _rule("unsafe_advice", "illicit"),
        "hazardous material": _rule("unsafe_advice", "illicit violence"),
        "economic harm": _rule("illicit deception"),
        "fraud/deception": _rule("deception illicit", "privacy"),
        "adult content": _rule("sexual"),
        "political misinformation": _rule("deception"),
        "privacy violation": _rule("privacy", "illicit deception"),
        "financial advice": _rule("unsafe_advice"),
    },
}


def label_categories(source_set: str, upstream_category: str, harmful_text: str) -> tuple[float | None, ...] | None:
    """Labels one harmful row.

    Args:
        source_set: name of the source's directory, for instance `jbb_family`.
        upstream_category: the record's category field as written.
        harmful_text: prompt and response together; read for the weak self-harm rule only.

    Returns:
        One label per trained category (1.0, 0.0, or None where the source leaves it open), in the order of
        `TRAINED_CATEGORIES`; None where the table says nothing about this row.
    """
    field = upstream_category.lower()
    matching = [key for key in _RULES.get(source_set, {}) if key in field]
    # Upstream fields almost never name self-harm: harmful rows that speak of it are labelled by words, weakly.
    mentions_self_harm = speaks_of_self_harm(harmful_text)
    if not matching and not mentions_self_harm:
        return None
    if not matching:
        return tuple(1.0 if name == "self_harm" else None for name in TRAINED_CATEGORIES)
    rule = _RULES[source_set][max(matching, key=len)]
    labels: list[float | None] = []
    for name in TRAINED_CATEGORIES:
        certain = name in rule.certain or (name == "self_harm" and mentions_self_harm)
        labels.append(1.0 if certain else None if name in rule.unclear else 0.0)
    return tuple(labels)
