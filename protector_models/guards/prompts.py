"""Prompts for a generative guard: the messages, or the filled template, of one window of an exchange.

Where only one of prompt and response is there, it is shown as a text that stands alone: what a user said. Nothing in a
text can pass for a mark of the template or of a thought, or for a control token: a space breaks them there.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from protector_models.descriptions.generative_head import FIELD, GenerativeHead, GuardMessage
from protector_models.descriptions.templates import fill
from protector_models.guards.thoughts import break_up_marks
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError
from protector_models.reading.exchange_windows import ExchangeWindow
from protector_models.transformer_models.control_tokens import break_up

_TEMPLATE_FIELDS = {"prompt", "response"}


def stands_alone(exchange: Exchange) -> bool:
    """Tell whether an exchange has only a question or only a response."""
    return not exchange.question().strip() or not exchange.response.strip()


def separate(exchange: Exchange, forbidden: Iterable[str]) -> tuple[str, str]:
    """Return question and response as a guard is shown them, with forbidden marks and those of thoughts broken up.

    What stands alone is returned as the question, which is where a guard looks at it.
    """
    texts = (exchange.question(), exchange.response)
    question, response = (break_up_marks(break_up(text, forbidden)) for text in texts)
    if not stands_alone(exchange):
        return question, response
    return (question, "") if question.strip() else (response, "")


def build_messages(head: GenerativeHead, window: ExchangeWindow, *, alone: bool) -> list[dict[str, Any]]:
    """Return the messages that show a window to a guard with a chat template.

    Args:
        head: how it is asked.
        window: of what `separate` gave.
        alone: whether it is of a text that stands alone.
    """
    values = {"prompt": window.prompt, "response": window.response, "text": window.prompt}
    return [
        _fill_message(message, values, head.content) for message in (head.messages_alone if alone else head.messages)
    ]


def read_template(head: GenerativeHead, file: Path | None, *, description: str) -> str | None:
    """Return the template that a guard without a chat template needs, None for one that has one.

    The line end at the end of the file is not part of it.

    Raises:
        ConfigurationError: it is needed and not there, or has other fields, or is not needed.
    """
    if head.prompt == "chat_template":
        if file is not None:
            raise ConfigurationError(
                f"detector.template: {str(file)!r}: expected none: description {description!r} uses the chat template "
                "of the tokenizer"
            )
        return None
    if file is None:
        raise ConfigurationError(
            f"detector.template: description {description!r} holds no prompt; expected the path of a text file with "
            "the prompt of the model card, and {prompt} and {response} in it"
        )
    try:
        template = file.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"detector.template: {str(file)!r}: cannot be read ({type(error).__name__})"
        ) from error
    if (found := set(FIELD.findall(template))) != _TEMPLATE_FIELDS:
        raise ConfigurationError(
            f"detector.template: {str(file)!r}: expected {{prompt}} and {{response}} in it, got {sorted(found)}"
        )
    return template


def _fill_message(message: GuardMessage, values: Mapping[str, str], form: str) -> dict[str, Any]:
    text = fill(message.content, values)
    content: str | Sequence[Mapping[str, str]] = text if form == "text" else [{"type": "text", "text": text}]
    return {"role": message.role, "content": content}
