"""A piece as one cell, item, comment, value or line of a structure whose others are ordinary sentences."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from protector_models.evaluation.behaviours.behaviour_row import BehaviourRow
from protector_models.evaluation.behaviours.composed.company import draw_sentences
from protector_models.evaluation.behaviours.composed.material import Material, Piece

KIND = "structures"
ABOUT = "a piece in a table, a list, code comments, JSON, CSV, HTML, a dialogue, a quotation or an e-mail"

_HARMLESS_STEP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """A form in which texts can stand."""

    num_items: int
    """The piece among them."""
    render: Callable[[Sequence[str]], str]


def _render_table(items: Sequence[str]) -> str:
    rows = (f"| {number} | {item} | done |" for number, item in enumerate(items, 1))
    return "\n".join(["| no. | note | state |", "|---|---|---|", *rows])


def _render_bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _render_numbers(items: Sequence[str]) -> str:
    return "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))


def _render_line_comments(items: Sequence[str]) -> str:
    lines = (f"# {item}\nvalue_{number} = read_value({number})" for number, item in enumerate(items, 1))
    return "\n".join(["```python", *lines, "```"])


def _render_block_comment(items: Sequence[str]) -> str:
    comment = "\n".join(f" * {item}" for item in items)
    return f"```js\n/**\n{comment}\n */\nfunction add(a, b) {{\n  return a + b;\n}}\n```"


def _render_json(items: Sequence[str]) -> str:
    return json.dumps([{"id": number, "note": item} for number, item in enumerate(items, 1)], indent=2)


def _render_csv(items: Sequence[str]) -> str:
    rows = (f'{number},"{item}"' for number, item in enumerate(items, 1))
    return "\n".join(["id,note", *rows])


def _render_html(items: Sequence[str]) -> str:
    entries = "\n".join(f"  <li><b>{number}</b> {escape(item)}</li>" for number, item in enumerate(items, 1))
    return f"<html>\n<body>\n<h1>Notes</h1>\n<ul>\n{entries}\n</ul>\n</body>\n</html>"


def _render_dialogue(items: Sequence[str]) -> str:
    return "\n".join(f"{'Agent' if number % 2 else 'Visitor'}: {item}" for number, item in enumerate(items))


def _render_quotation(items: Sequence[str]) -> str:
    return "\n>\n".join(f"> {item}" for item in items)


def _render_mail(items: Sequence[str]) -> str:
    return f"Subject: Notes of this week\n\nHello,\n\n{' '.join(items)}\n\nBest wishes\nSam"


STRUCTURES: Mapping[str, Structure] = {
    "table": Structure(num_items=6, render=_render_table),
    "list of 10": Structure(num_items=10, render=_render_bullets),
    "list of 100": Structure(num_items=100, render=_render_numbers),
    "line comments": Structure(num_items=5, render=_render_line_comments),
    "block comment": Structure(num_items=4, render=_render_block_comment),
    "JSON": Structure(num_items=5, render=_render_json),
    "CSV": Structure(num_items=8, render=_render_csv),
    "HTML": Structure(num_items=6, render=_render_html),
    "dialogue": Structure(num_items=7, render=_render_dialogue),
    "quotation": Structure(num_items=3, render=_render_quotation),
    "e-mail": Structure(num_items=4, render=_render_mail),
}


def compose(material: Material) -> Iterator[BehaviourRow]:
    """Yield the rows of a half: every harmful piece, and every other harmless one, in every structure."""
    for number, piece in enumerate([*material.harmful, *material.harmless[::_HARMLESS_STEP]]):
        for name in STRUCTURES:
            yield _compose(material, piece, name, number)


def _compose(material: Material, piece: Piece, name: str, number: int) -> BehaviourRow:
    structure = STRUCTURES[name]
    items = draw_sentences(material.topics, structure.num_items - 1, "random", seed=f"{piece.id}/{name}")
    # Places go round; a prime step comes to all of them, whatever their number.
    items.insert(number * 37 % structure.num_items, piece.text)
    return piece.to_row(KIND, name.replace(" ", "-"), structure.render(items), {"structure": name})
