"""The training mix as data: which sets are read, how many rows of each label, with what weight."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class RowKind(StrEnum):
    """What a set's records are."""

    ANSWER = "answer"
    PREFERENCE = "preference"
    """No label: the response was rejected by a person and the pair preferred. The encoder learns only the order of the
    two from it; the bag of words takes the rejected one as harmful and the other as safe, which are weak labels."""
    TEXT = "text"
    """Standing alone, as a post does."""
    PROMPT = "prompt"
    """What a person asks, read as a text standing alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlan:
    """How one record file enters the mix."""

    kind: RowKind
    group: str
    """Harmful and safe rows are balanced by weight inside a group."""
    num_harmful: int = 100_000
    """At most so many harmful rows."""
    num_safe: int = 100_000
    """At most so many safe rows."""
    weight: float = 1.0
    """Of each row in the loss; below 1 where labels are weak. Of preferences in the bag of words only: the encoder's
    loss of order counts every pair alike."""
    repeats: int = 1
    """How often each row is drawn in one pass over the mix."""


def _answers(group: str, num_harmful: int, num_safe: int, weight: float = 1.0, repeats: int = 1) -> SourcePlan:
    return SourcePlan(
        kind=RowKind.ANSWER, group=group, num_harmful=num_harmful, num_safe=num_safe, weight=weight, repeats=repeats
    )


def _texts(num_harmful: int, num_safe: int) -> SourcePlan:
    return SourcePlan(kind=RowKind.TEXT, group="texts", num_harmful=num_harmful, num_safe=num_safe)


def _benign(num_safe: int) -> SourcePlan:
    return _answers("instructions", 0, num_safe)


def _everyday(num_safe: int) -> SourcePlan:
    return SourcePlan(kind=RowKind.ANSWER, group="everyday", num_safe=num_safe, repeats=2)


def _groups(num_harmful: int, num_safe: int) -> SourcePlan:
    """Sentences about groups of people, and abuse of bots."""
    return SourcePlan(kind=RowKind.TEXT, group="groups", num_harmful=num_harmful, num_safe=num_safe)


SOURCES: Mapping[str, SourcePlan] = {
    "gptfuzz/train": _answers("instructions", 1_694, 3_000, repeats=2),
    "jbb_family/train": _answers("instructions", 1_511, 1_189, repeats=2),
    "adaptive_attacks/train": _answers("instructions", 502, 30, repeats=2),
    "advbench_ir/train": _answers("instructions", 374, 0, repeats=2),
    "shadow_alignment/train": _answers("instructions", 761, 0, weight=0.5),
    "safe_unlearning/train": _answers("instructions", 350, 300, weight=0.5),
    "hh_rlhf_pairs/train": SourcePlan(kind=RowKind.PREFERENCE, group="preferences", weight=0.3),
    "cipherchat/train": _answers("graded", 5_655, 5_655),
    "diasafety/train": _answers("chat", 4_000, 4_000),
    "toxichat_reddit/train": _answers("chat", 565, 1_130),
    "safetext/train": _answers("advice", 370, 1_060),
    "latent_jailbreak/train": _answers("generation", 600, 600),
    "med_safety/train": _benign(600),
    "refusal_direction_benign/train": _benign(1_000),
    "halueval_general/train": _benign(3_000),
    "gpteacher/train": _benign(1_500),
    "gsm8k/train": _benign(500),
    "medquad/train": _benign(2_000),
    "counsel_chat/train": _benign(1_500),
    "owasp_benign/train": _benign(1_200),
    "pandalm/train": _benign(700),
    "self_instruct/train": _benign(1_100),
    "decodingtrust_toxic/train": _texts(600, 0),
    "sbic/dev_test": _texts(1_500, 1_500),
    "davidson/train": _texts(800, 800),
    "paradetox/cannot_rewrite": _texts(600, 600),
    "toxichat_reddit/turns": _texts(1_000, 1_800),
    "harmful_prompts/all": SourcePlan(kind=RowKind.PROMPT, group="prompts"),
    "piqa/train": _everyday(1_129),
    "gov_help/train": _everyday(400),
    "sgd_service/train": _everyday(900),
    "arc_answers/train": _everyday(700),
    "tldr_commands/train": _everyday(700),
    "srd_games/train": _everyday(700),
    "truthfulqa_correct/train": _everyday(700),
    "chatterbot/train": _everyday(600),
    "coconot_contrast/train": _everyday(603),
    "recipes/train": _everyday(369),
    "covid_faq/train": _everyday(167),
    "crisis_lines/train": _everyday(119),
    "oa_answers/train": _everyday(91),
    "written/safe": SourcePlan(kind=RowKind.ANSWER, group="written", repeats=3),
    "written/harmful": SourcePlan(kind=RowKind.ANSWER, group="written", repeats=5),
    "convabuse/train": _groups(171, 600),
    "sms_spam/train": _groups(154, 400),
    "toxigen_demonstrations/train": _groups(408, 284),
    "identity_groups/train": _groups(455, 370),
    "persona_statements/train": _groups(191, 600),
    "seegull_frames/train": _groups(400, 600),
    "identity_templates/train": _groups(100, 200),
    "bold_neutral/train": _groups(0, 900),
    "bbq_contexts/train": _groups(0, 300),
    "covid_misinfo/train": _groups(25, 17),
}
"""Keyed by directory and file name without suffix. Chinese answers are left to a multilingual base."""

DETOXIFICATION_SETS: tuple[str, ...] = ("paradetox/train", "pseudoparadetox/train")
"""Toxic texts with rewrites: what the edit model and its judge of fluency learn from, and no detector does."""

BENIGN_SETS: tuple[str, ...] = (
    "refusal_direction_benign/train",
    "halueval_general/train",
    "gpteacher/train",
    "gsm8k/train",
    "medquad/train",
    "counsel_chat/train",
    "owasp_benign/train",
    "pandalm/train",
    "self_instruct/train",
    "piqa/train",
    "gov_help/train",
    "sgd_service/train",
    "arc_answers/train",
    "tldr_commands/train",
    "srd_games/train",
    "truthfulqa_correct/train",
    "chatterbot/train",
    "coconot_contrast/train",
    "recipes/train",
    "covid_faq/train",
    "oa_answers/train",
)
"""Ordinary answers to ordinary prompts: the false positive budget is counted on their validation rows."""

TRAINABLE_PROMPT_MARK = "role:TRAIN-PROMPT"
"""Rows of harmful_prompts that may be trained on; all others belong to public benchmarks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticPlan:
    """Rows made from training rows so that the answer decides, given its prompt."""

    num_refusals: int = 2_200
    """A harmful prompt with some refusal: safe."""
    num_misplaced_benign: int = 1_800
    """A harmful prompt with a benign answer to something else: safe."""
    num_misplaced_harmful: int = 1_200
    """A benign prompt with a harmful answer: harmful."""
    num_empty: int = 300
    """A harmful prompt without an answer: safe."""
    num_benign_prompts: int = 2_500
    """A benign prompt standing alone: safe, beside the harmful ones of the mix."""
