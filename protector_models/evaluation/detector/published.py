"""Published figures of other guards on public sets, to stand beside ours. None of them was rerun here.

F1 of "the response is harmful", in percent as published, at each guard's own operating point. The sets follow
WildGuard's protocol; a copy of a set may hold fewer rows than its publishers had, so gaps under two points are noise.
"""

from collections.abc import Mapping

from protector_models.evaluation.report import PublishedGuard

_WILDGUARD = "WildGuard, arXiv 2406.18495"
_GUARD_REASONER = "GuardReasoner, arXiv 2501.18492"
_QWEN3_GUARD = "Qwen3Guard, arXiv 2510.14276"
_COMPARED = "measured by the authors of WildGuard or of GuardReasoner"

_SETS = ("harmbench_response", "safe_rlhf", "xstest_response")

# Model, parameters, F1 in the order of the sets, where it stands.
_LADDER: tuple[tuple[str, str | None, tuple[float, float, float], str], ...] = (
    ("OpenAI text moderation (old API)", None, (20.6, 10.1, 46.6), _COMPARED),
    ("Azure Content Safety", None, (44.2, 36.6, 57.8), _COMPARED),
    ("LibrAI LongFormer", "149M", (62.1, 50.6, 70.9), _COMPARED),
    ("ShieldGemma", "9B", (56.4, 47.1, 73.9), _COMPARED),
    ("Llama Guard 3", "8B", (85.1, 44.4, 87.7), _COMPARED),
    ("Qwen3Guard-Gen, strict", "0.6B", (85.0, 66.6, 89.7), _QWEN3_GUARD),
    ("WildGuard", "7B", (86.3, 64.2, 94.7), _WILDGUARD),
    ("GuardReasoner", "8B", (85.5, 70.0, 94.3), _GUARD_REASONER),
)

PUBLISHED_GUARDS: Mapping[str, tuple[PublishedGuard, ...]] = {
    name: tuple(
        PublishedGuard(model=model, size=size, f1=round(percents[column] / 100, 4), source=source)
        for model, size, percents, source in _LADDER
    )
    for column, name in enumerate(_SETS)
}
"""By name of the set."""
