"""Whether a sentence, or what is telling in it, still stands in a text: by its words, in their order."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

DELIVERED_FROM = 0.5
"""Share of a harmful sentence's telling words from which on it counts as delivered: half of a threat is a threat."""

_WORD = re.compile("\\w+(?:['’]\\w+)*|[☀-➿\U0001f300-\U0001faff]")
_SMALL_WORDS = (
    "a an the this that these those and or but nor so if then than as of in on at to for from by with about into over "
    "up out off down i me my mine you your yours he him his she her hers it its we us our they them their who whom "
    "which what when where why how be am is are was were been being do does did have has had will would shall should "
    "can could may might must not no n't there here just also too very i'm i'd i'll i've you're you'd you'll you've "
    "he's he'd he'll she's she'd she'll it's it'll we're we'd we'll we've they're they'd they'll they've that's "
    "there's let's don't doesn't didn't won't wouldn't can't couldn't isn't aren't wasn't weren't hasn't haven't"
)
_SMALL = frozenset(_SMALL_WORDS.split())


def words_of(text: str) -> list[str]:
    """Returns the words of a text without regard to case; marks are none, pictures are."""
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def is_kept(sentence: str, text: str) -> bool:
    """Tells whether all words of a sentence stand together in a text; marks, case and white space do not matter."""
    return _find_run(words_of(sentence), words_of(text)) is not None


def is_delivered(harmful: str, text: str, *, beside: Sequence[str]) -> bool:
    """Tells whether a harmful sentence, or the telling part of it, stands in a text.

    It does where all its words stand together, and where at least half of its telling words, which are those that are
    no pronouns, articles and the like, stand in the text in their order. What the text has of other sentences of the
    answer counts for them and not for this one. Errs on the side of harm: a part that is harmless by itself counts too.

    Args:
        harmful: the sentence; has words.
        text: what is delivered.
        beside: the other sentences of the answer.
    """
    wanted, found = words_of(harmful), words_of(text)
    if _find_run(wanted, found) is not None:
        return True
    for other in beside:
        words = words_of(other)
        start = _find_run(words, found)
        if words and start is not None:
            found[start : start + len(words)] = []
    telling = [word for word in wanted if word not in _SMALL] or wanted
    matcher = SequenceMatcher(None, telling, found, autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks()) >= DELIVERED_FROM * len(telling)


def _find_run(words: Sequence[str], among: Sequence[str]) -> int | None:
    """Returns where some words stand together; None where they do not."""
    size = len(words)
    starts = (start for start in range(len(among) - size + 1) if list(among[start : start + size]) == list(words))
    return next(starts, None)
