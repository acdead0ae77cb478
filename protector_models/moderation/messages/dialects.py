"""Messages as SDKs and servers write them: where in one something is said, and whose it is, whatever its dialect."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from protector_models.moderation.messages.message import Role
from protector_models.moderation.messages.pieces import Written, first_of

_ROLES: Mapping[str, Role] = {
    **dict.fromkeys(("system", "instruction"), "system"),
    "developer": "developer",
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "ai", "model", "bot", "gpt", "chatgpt", "chatbot"), "assistant"),
    **dict.fromkeys(("web_search_call", "file_search_call", "code_interpreter_call", "mcp_call"), "assistant"),
    **dict.fromkeys(("computer_call", "image_generation_call"), "assistant"),
    **dict.fromkeys(("function_call", "custom_tool_call", "tool_call", "tool_use", "reasoning"), "assistant"),
    **dict.fromkeys(("tool", "observation", "ipython", "tool_response"), "tool"),
    "function": "function",
}
"""Who is who, whatever they are called. Everybody else is "other"."""

OWN_ROLES = frozenset(_ROLES.values())


def layers_of(written: Written) -> list[Written]:
    """Return the objects in which a message says something, in order: itself, and those inside it.

    What LangChain or Gemini wraps is a layer of its own, so that nothing in one hides what another says.
    """
    layer, inner = dict(written), list(_inner_objects(written))
    for name, _ in inner:
        del layer[name]
    if "lc" in written and "kwargs" not in layer:
        for name in ("lc", "id", "type"):
            layer.pop(name, None)
    if "from" in layer and "value" in layer:
        layer["content"] = _both(layer.pop("value"), layer.get("content"))
    return [layer, *(deeper for _, found in inner for deeper in layers_of(found))]


def _inner_objects(written: Written) -> Iterator[tuple[str, Written]]:
    content, data, kwargs = written.get("content"), written.get("data"), written.get("kwargs")
    if isinstance(content, dict) and "parts" in content:
        yield "content", content
    if isinstance(data, dict) and "role" not in written:
        yield "data", {**data, "type": written.get("type", data.get("type"))}
    if isinstance(kwargs, dict) and "lc" in written:
        yield "kwargs", {**kwargs, "type": _constructed(written.get("id")) or kwargs.get("type")}
    if isinstance(beside := written.get("additional_kwargs"), dict):
        yield "additional_kwargs", beside


def _constructed(path: JsonValue) -> str | None:
    """Return what kind of message a class of LangChain's makes."""
    name = path[-1] if isinstance(path, list) and path else None
    return name.removesuffix("Chunk").removesuffix("Message") if isinstance(name, str) else None


def _both(value: JsonValue, content: JsonValue) -> JsonValue:
    if not content:
        return value
    return [*(value if isinstance(value, list) else [value]), *(content if isinstance(content, list) else [content])]


def role_of(layers: list[Written]) -> Role:
    """Return whose message it is: what says so best is asked first."""
    names = (first_of(layer, name) for name in ("role", "from", "type") for layer in layers)
    name = next((name for name in names if name is not None), None)
    return _ROLES.get(name.strip().lower(), "other") if isinstance(name, str) else "other"
