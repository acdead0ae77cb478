"""What became of a text, as JSON and on a terminal."""

from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.commands.rewritten import Rewritten
from pipelines.terminal.texts import printable
from pipelines.terminal.word_edits import find_word_edits
from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.verdict import Action

_MAX_SHOWN_CHARACTERS = 4_000
_DELETED = "red strike"
_ADDED = "green"
_ACTION_STYLES = {Action.ALLOW: "green", Action.REWRITE: "yellow"}


def as_json(rewritten: Rewritten) -> dict[str, object]:
    """Return the object that `--json` prints; positions of edits are characters of the text before."""
    return {
        "before": rewritten.before,
        "after": rewritten.after,
        "edits": [asdict(edit) for edit in find_word_edits(rewritten.before, _made(rewritten))],
        "action": rewritten.action,
        "shadow_action": rewritten.shadow_action,
        "category": rewritten.category,
        "method": rewritten.method,
        "refused_reason": rewritten.refused_reason,
        "refused": rewritten.refused,
        "harmfulness_before": _harmfulness(rewritten.assessment),
        "harmfulness_after": _harmfulness(rewritten.rewrite_assessment),
        "assessment": _dump(rewritten.assessment),
        "rewrite_assessment": _dump(rewritten.rewrite_assessment),
        "error": rewritten.error,
    }


def print_rewritten(rewritten: Rewritten, console: Console, *, title: str) -> None:
    """Print a table of what was found and done, then the text before, after and with its edits."""
    console.print(_tabulate(rewritten, title))
    console.print(Text.assemble(("before  ", "bold"), _shorten(rewritten.before)))
    if rewritten.after is not None:
        console.print(Text.assemble(("after   ", "bold"), _shorten(rewritten.after)))
    elif rewritten.refused is not None:
        console.print(Text.assemble(("refused ", "bold"), _shorten(rewritten.refused)))
    if _made(rewritten) != rewritten.before:
        has_colours = console.color_system is not None and not console.no_color
        console.print(Text.assemble(("edits   ", "bold"), *_mark(rewritten, has_colours=has_colours)))
    console.print()


def _tabulate(rewritten: Rewritten, title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    if rewritten.error is not None:
        table.add_row("not judged", Text(rewritten.error, "bold red"))
        return table
    action = rewritten.action
    if action is not None:
        table.add_row("action", Text(action.value, _ACTION_STYLES.get(action, "bold red")))
    if rewritten.shadow_action is not None:
        table.add_row("without shadow mode", rewritten.shadow_action.value)
    table.add_row("category", rewritten.category or "none")
    table.add_row("method", rewritten.method.value if rewritten.method else "none")
    if rewritten.refused_reason is not None:
        table.add_row("last refused try", rewritten.refused_reason)
    table.add_row("harmfulness before", _score(rewritten.assessment))
    table.add_row("harmfulness after", _score(rewritten.rewrite_assessment))
    return table


def _made(rewritten: Rewritten) -> str:
    """Return the text whose edits are shown: what is delivered, or else what was refused, or else the text itself."""
    made = rewritten.refused if rewritten.after is None else rewritten.after
    return rewritten.before if made is None else made


def _mark(rewritten: Rewritten, *, has_colours: bool) -> Iterator[str | tuple[str, str]]:
    before, done, room = rewritten.before, 0, _MAX_SHOWN_CHARACTERS
    for edit in find_word_edits(before, _made(rewritten)):
        kept, deleted = before[done : edit.start], before[edit.start : edit.end]
        room -= len(kept) + len(deleted) + len(edit.added)
        if room < 0:
            yield "…"
            return
        yield printable(kept)
        if deleted:
            yield (printable(deleted), _DELETED) if has_colours else f"[-{printable(deleted)}-]"
        if edit.added:
            yield (printable(edit.added), _ADDED) if has_colours else f"{{+{printable(edit.added)}+}}"
        done = edit.end
    yield printable(before[done : done + room])


def _shorten(text: str) -> str:
    if len(text) <= _MAX_SHOWN_CHARACTERS:
        return printable(text)
    return f"{printable(text[:_MAX_SHOWN_CHARACTERS])}… ({len(text)} characters)"


def _harmfulness(assessment: Assessment | None) -> float | None:
    return None if assessment is None else assessment.harmfulness


def _score(assessment: Assessment | None) -> str:
    if assessment is None:
        return "-"
    coverage = assessment.coverage
    read = "" if coverage.is_complete() else f", {coverage.characters_evaluated} of {coverage.characters_total} read"
    return f"{assessment.harmfulness:.4f}{read}"


def _dump(assessment: Assessment | None) -> dict[str, object] | None:
    return None if assessment is None else assessment.model_dump(mode="json")
