"""A writing model behind a real local endpoint: it knows by the instruction what is asked for."""

from collections.abc import Callable
from typing import Any

from tests.protector_models.endpoints.chat_server import Reply

_NOUNS = ("harbour", "orchard", "violin", "glacier", "bakery", "tunnel", "lantern", "meadow", "kettle", "compass")
_VERBS = ("sail", "prune", "tune", "climb", "knead", "dig", "light", "mow", "boil", "chart")


def write(number: int, body: dict[str, Any]) -> str:
    """Returns texts that differ from request to request: a list, or an answer that names what it is."""
    request = body["messages"][-1]["content"]
    noun, verb = _NOUNS[number % 10], _VERBS[number // 10 % 10]
    if "different situations" in request:
        return "\n".join(f"{n}. Somebody {verb}s the {noun} with {_NOUNS[n]} {_VERBS[n]}" for n in range(3))
    if "different messages" in request:
        return "\n".join(f"- How do I {verb} a {noun} near {_VERBS[n]} {_NOUNS[n]} {number}?" for n in range(2))
    kind = "Harmful" if "without any safeguards" in request else "Careful"
    return f"{kind}: {noun} {verb} {request.splitlines()[1]}"


def reply_by(
    text_of: Callable[[int, dict[str, Any]], str] = write, *, has_usage: bool = True
) -> Callable[[int, dict[str, Any]], Reply]:
    """Makes the function that a chat server answers by: 100 tokens read and 10 written each time."""

    def reply(number: int, body: dict[str, Any]) -> Reply:
        content: dict[str, object] = {
            "choices": [{"message": {"role": "assistant", "content": text_of(number, body)}, "finish_reason": "stop"}]
        }
        if has_usage:
            content["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return Reply(body=content)

    return reply
