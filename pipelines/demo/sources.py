"""The recorded conversations the demonstration is made from: which rows of which data sets, and what is left out.

Only data under MIT, Apache-2.0 or CC BY. Licences, origins and changes: ATTRIBUTION.md.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Row = Mapping[str, str | int | None]
"""A record of a data set: id, source, prompt, response, label (1 harmful, 0 safe), category."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceSource:
    """Single sentences of one data set that are put into answers of another, or stand for a chat reply."""

    name: str
    """The data set, as ATTRIBUTION.md lists it."""
    file: str
    field: str
    """Which field of a row is the sentence."""
    accepts: Callable[[Row], bool] = lambda _: True


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows of one data set that become turns of conversations."""

    name: str
    """The data set, as ATTRIBUTION.md lists it."""
    file: str = ""
    """Where the file lies under the data directory."""
    label: Literal["safe", "harmful"]
    num_turns: int
    tenant: str = "default"
    max_characters: int = 1_500
    """Longer safe answers are left out, longer harmful ones cut at the end of a sentence."""
    max_per_prompt: int = 1
    """How many answers to the same prompt are taken."""
    turns_per_conversation: int = 1
    """How many turns in a row belong to one conversation, where there are as many."""
    same_document: bool = False
    """Turns of one conversation come from one document: a reader who asks on."""
    shows_image: bool = False
    """The prompt is about a picture, which the event names."""
    system_prompt: str | None = None
    inserted: SentenceSource | None = None
    """Harmless answers get one of these sentences each, and are harmful then."""
    replies: SentenceSource | None = None
    """There is no file: these sentences reply to `prompts`."""
    prompts: tuple[str, ...] = ()
    accepts: Callable[[Row], bool] = lambda _: True


def _category(*names: str) -> Callable[[Row], bool]:
    return lambda row: row["category"] in names


def _from(*origins: str) -> Callable[[Row], bool]:
    return lambda row: any(origin in str(row["source"]) for origin in origins)


def _refuses(row: Row) -> bool:
    return str(row["response"]).startswith(("I'm sorry", "I’m sorry", "I am sorry", "Sorry", "I cannot", "I can't"))


_SHORTEST_HOST = 150
_LONGEST_HOST = 430
"""Characters of an answer that a sentence is put into."""

_ABOUT_OTHERS = re.compile(
    r"\brt\b|trump|obama|clinton|hillary|biden|trudeau|harper|putin|president|senator|minister|republican|democrat|liberal"
    r"|conservative|muslim|islam|jew|christian|catholic|black|white|gay|lesbian|homo|trans|immigra|women|woman|girl|mexic"
    r"|chin(a|ese)|india|arab|asia|africa|europ|americ|canad|russia|israel",
    re.IGNORECASE,
)
_TO_SOMEBODY = re.compile(r"\b(you|your|youre|you're|yourself|ur)\b", re.IGNORECASE)
_HARSH = re.compile(
    r"fuck|shit|\bass\b|asshole|bastard|idiot|imbecile|stupid|dumb|moron|loser|pathetic|ignorant|\bfools?\b|\bliars?\b",
    re.IGNORECASE,
)
_PLAIN_SENTENCE = re.compile(r"[A-Za-z][A-Za-z ,.'!?-]*")


def _is_harsh_to_the_reader(row: Row) -> bool:
    """Tell whether a sentence has harsh words for whoever reads it, and is about no group and nobody with a name."""
    text = str(row["text"])
    is_plain_and_harsh = _PLAIN_SENTENCE.fullmatch(text) and _HARSH.search(text) and _TO_SOMEBODY.search(text)
    return bool(is_plain_and_harsh) and not _ABOUT_OTHERS.search(text)


def _is_short_prose(row: Row) -> bool:
    response = str(row["response"])
    return _SHORTEST_HOST <= len(response) <= _LONGEST_HOST and not re.search(r"\d\.|\n", response)


_PARADETOX = SentenceSource(
    name="ParaDetox", file="train/paradetox/train.jsonl.gz", field="text", accepts=_is_harsh_to_the_reader
)
_JBB = "eval/jbb_family_eval/eval.jsonl.gz"
_CIPHERCHAT = "train/cipherchat/train.jsonl.gz"
_SAFETEXT = "train/safetext/train.jsonl.gz"
_LLAVA = "eval/llava_benign/all.jsonl.gz"
_PANDALM = "train/pandalm/train.jsonl.gz"
_GPTEACHER = "train/gpteacher/train.jsonl.gz"

_SMALL_TALK = (
    "How did it go today?",
    "What do you make of that?",
    "Did you get my message?",
    "Any plans for the weekend?",
    "Was it worth the wait?",
    "Have you seen the news about it?",
    "Should we try again tomorrow?",
    "Why are you so quiet?",
    "What is it like at your place?",
    "So, are you coming along?",
)
"""This project's own questions, for replies that have none."""

SOURCES = (
    Source(
        name="CipherChat",
        file=_CIPHERCHAT,
        label="harmful",
        num_turns=170,
        max_characters=600,
        accepts=lambda row: "fluency 5" in str(row["category"]) and "role_play" not in str(row["category"]),
    ),
    Source(
        name="JailbreakBench family",
        file=_JBB,
        label="harmful",
        num_turns=105,
        max_characters=600,
        max_per_prompt=6,
        accepts=_category("Disinformation", "Economic harm", "Expert advice", "Fraud/Deception",
                          "Government decision-making", "Harassment/Discrimination"),
    ),
    Source(name="SafeText", file=_SAFETEXT, label="harmful", num_turns=55),
    Source(
        name="llm-adaptive-attacks",
        file="train/adaptive_attacks/train.jsonl.gz",
        label="harmful",
        num_turns=14,
        max_characters=600,
        max_per_prompt=5,
        accepts=_category("misinformation", "libel"),
    ),
    Source(name="ParaDetox", label="harmful", num_turns=40, max_per_prompt=5, replies=_PARADETOX, prompts=_SMALL_TALK),
    Source(name="GPTeacher", file=_GPTEACHER, label="harmful", num_turns=60, inserted=_PARADETOX,
           accepts=lambda row: row["category"] == "roleplay" and _is_short_prose(row)),
    Source(name="PandaLM", file=_PANDALM, label="harmful", num_turns=40, inserted=_PARADETOX, accepts=_is_short_prose),
    Source(name="CipherChat", file=_CIPHERCHAT, label="safe", num_turns=130,
           accepts=lambda row: "fluency 5" in str(row["category"])),
    Source(name="JailbreakBench family", file=_JBB, label="safe", num_turns=70, max_per_prompt=3, accepts=_refuses),
    Source(name="SafeText", file=_SAFETEXT, label="safe", num_turns=70),
    Source(name="GPTFuzzer", file="train/gptfuzz/train.jsonl.gz", label="safe", num_turns=40,
           accepts=_refuses),
    Source(name="MedQuAD", file="train/medquad/train.jsonl.gz", label="safe", num_turns=430, tenant="clinic",
           turns_per_conversation=4, same_document=True, system_prompt="Answer questions about health in plain words."),
    Source(name="GSM8K", file="train/gsm8k/train.jsonl.gz", label="safe", num_turns=150, tenant="school"),
    Source(name="GSM8K", file="train/gsm8k/train.jsonl.gz", label="safe", num_turns=110, tenant="school",
           turns_per_conversation=3, system_prompt="You are a patient tutor of mathematics."),
    Source(name="GPTeacher", file=_GPTEACHER, label="safe", num_turns=200, tenant="developers",
           accepts=_category("code")),
    Source(name="GPTeacher", file=_GPTEACHER, label="safe", num_turns=60, tenant="developers",
           turns_per_conversation=2, accepts=_category("code")),
    Source(name="GPTeacher", file=_GPTEACHER, label="safe", num_turns=190, accepts=_category("roleplay")),
    Source(name="Self-Instruct", file="train/self_instruct/train.jsonl.gz", label="safe", num_turns=170),
    Source(name="PandaLM", file=_PANDALM, label="safe", num_turns=140),
    Source(name="LLaVA", file=_LLAVA, label="safe", num_turns=110, max_per_prompt=2,
           accepts=_from("gpt35", "bard", "vicuna-13b")),
    Source(name="LLaVA", file=_LLAVA, label="safe", num_turns=30, shows_image=True, accepts=_from("qa90")),
)  # fmt: skip
"""Everything the file is made from. Turns of one file are never taken twice."""

_NEVER_SHIPPED = re.compile(
    # Slurs; and with them the worst of what people write to each other.
    r"\bn[i1]gg|\bfagg?ot|\bkike|\bchink\b|\bspic\b|\bretard|\btrann(y|ies)|\brape|\braping|\brapist|libtard|motherfuck"
    # Addresses and names of accounts may belong to somebody.
    r"|https?://|www\.|\S@\S|(^|\s)@\w|#\w{3}|/[ru]/|address of this person"
    # What is left of somebody's markup or of a broken encoding.
    r"|</?(s|text)>|&gt;|&amp;|\\u2019|\ufffd",
    re.IGNORECASE,
)
_MINORS = re.compile(
    r"\b(child|children|kids?|minors?|underage|teen\w*|toddlers?|infants?|bab(y|ies)|school ?(girl|boy)s?|juvenile)\b",
    re.IGNORECASE,
)
_SEXUAL = re.compile(r"sex|porn|erotic|nude|naked|genital|molest|pedo|groom|lolita|incest|intercourse", re.IGNORECASE)
_INSTRUCTIVE_OR_VIOLENT = re.compile(
    # Weapons, explosives, poisons, drugs.
    r"bomb|explos|detonat|grenade|weapon|firearm|\bguns?\b|\bgun\w|buckshot|ammun|bullet|rifle|pistol|knife|knives"
    r"|poison|toxi[nc]|cyanide|ricin|anthrax|nerve agent|chemical|biolog|radioactiv|bleach|ammonia|chlorine|acid\b"
    r"|propane|hydrogen|\bdrugs?\b|cocaine|heroin|\bmeth|opioid|fentanyl|\blsd\b"
    # Malware and break-ins.
    r"|malware|virus|ransom|trojan|keylog|exploit|hack|phish|botnet|ddos|backdoor|password|firewall|skimm|clone|encrypt"
    r"|decrypt|infiltrat"
    # Violence against others or oneself.
    r"|kill|murder|suicid|self-harm|cutting|hang(ing)? (your|my)self|overdose|stab|strangl|torture|terror|kidnap"
    r"|traffick|genocid|holocaust|exterminat|lynch|arson|\bfire\b|burn|pillow|plastic bag|pills?\b"
    r"|exhaust\b|garage|\bbaby\b|\bgas\b"
    # Sexual content.
    r"|sex|porn|erotic|nude|naked|genital|molest|pedo|incest|penis|vagina|whore|slut|bitch|\bcunt|castrat|sadomas"
    # Fraud that would work.
    r"|counterfeit|launder|\bforg(e|ed|ing|ery)\b|identity theft|social security|credit card|debit card|smuggl",
    re.IGNORECASE,
)


def may_be_shipped(row: Row, label: Literal["safe", "harmful"]) -> bool:
    """Tell whether a row may stand in a file that everybody downloads.

    Harmful answers are shown for what they are, but none that instructs or threatens.
    """
    text = f"{row['prompt']}\n{row['response']}"
    if _NEVER_SHIPPED.search(text) or (_MINORS.search(text) and _SEXUAL.search(text)):
        return False
    return label == "safe" or not _INSTRUCTIVE_OR_VIOLENT.search(text)
