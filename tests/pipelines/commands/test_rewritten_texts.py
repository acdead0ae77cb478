"""What became of a text, on a terminal and as JSON."""

import io

from rich.console import Console

from pipelines.commands.rewritten import Rewritten
from pipelines.commands.rewritten_texts import as_json, print_rewritten
from protector_models.moderation.verdict import Action, RewriteMethod
from tests import builders

EDITED = Rewritten(
    before="You are a stupid driver, my friend.",
    after="You are a careless driver, my friend.",
    action=Action.REWRITE,
    category="harassment",
    method=RewriteMethod.EDIT,
    assessment=builders.assessment(0.9),
    rewrite_assessment=builders.assessment(0.1),
)


def shown(rewritten: Rewritten, *, has_colours: bool = False) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, width=120, force_terminal=has_colours, color_system="standard" if has_colours else None
    )
    print_rewritten(rewritten, console, title="a text")
    return stream.getvalue()


def test_deleted_words_are_red_and_struck_through_and_new_ones_green_where_there_are_colours() -> None:
    coloured = shown(EDITED, has_colours=True)
    assert "\x1b[9;31mstupid\x1b[0m\x1b[32mcareless\x1b[0m" in coloured
    assert "[-stupid-]{+careless+}" not in coloured
    plain = shown(EDITED)
    assert "You are a [-stupid-]{+careless+} driver" in plain
    assert "\x1b" not in plain
    for fact in ("rewrite", "harassment", "edit", "0.9000", "0.1000"):
        assert fact in plain


def test_what_was_refused_is_shown_as_refused() -> None:
    refused = Rewritten(
        before=EDITED.before,
        refused=EDITED.after,
        refused_reason="StillHarmful",
        action=Action.REVIEW,
        assessment=EDITED.assessment,
        rewrite_assessment=EDITED.rewrite_assessment,
    )
    text = shown(refused)
    assert "after " not in text.replace("harmfulness after ", "")
    assert "StillHarmful" in text
    assert "[-stupid-]{+careless+}" in text
    assert as_json(refused)["after"] is None
    assert as_json(refused)["edits"] == as_json(EDITED)["edits"] != []


def test_a_text_that_could_not_be_judged_says_why() -> None:
    failed = Rewritten(before="x", error="Poison: expected another word")
    assert "Poison: expected another word" in shown(failed)
    assert as_json(failed)["action"] is None


def test_a_long_text_is_shown_by_its_beginning_and_is_whole_in_json() -> None:
    long = Rewritten(before="word " * 20_000, after="mord " * 20_000, action=Action.REWRITE)
    assert len(shown(long)) < 15_000
    assert "(100000 characters)" in " ".join(shown(long).split())
    assert as_json(long)["before"] == long.before
