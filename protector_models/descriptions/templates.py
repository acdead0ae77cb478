"""Templates of descriptions, filled in."""

from collections.abc import Mapping

from protector_models.descriptions.generative_head import FIELD
from protector_models.reading.exchange_windows import ExchangeWindow


def fill_template(template: str, window: ExchangeWindow) -> str:
    """Return a template with a window in it; a text that stands alone takes the prompt's place."""
    return fill(template, {"prompt": window.prompt, "response": window.response})


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return a template with values in place of its fields."""
    # In one pass: what looks like a field in a text that was put in is none.
    return FIELD.sub(lambda match: values[match[1]], template)
