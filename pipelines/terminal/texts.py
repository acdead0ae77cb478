"""Other people's texts on a command line and on a terminal."""

_SHOWN_AS_THEY_ARE = "\n\t\u200d"
"""With the joiner that makes one emoji of several."""


def decode_argument(argument: str) -> str:
    """Undo what Python makes of bytes on a command line that are no UTF-8: lone surrogates, which no model takes."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def printable(text: str) -> str:
    """Show control characters as dots: a text may not steer the terminal it is shown on."""
    return "".join(
        character if character.isprintable() or character in _SHOWN_AS_THEY_ARE else "·" for character in text
    )
