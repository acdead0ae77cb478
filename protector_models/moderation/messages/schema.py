"""JSON Schemas of what may be written in more forms than one: what `weir schema event` says of it."""

from pydantic.json_schema import JsonSchemaValue

_FORMS = (
    "A message of OpenAI's chat format, an item of its Responses API, or a message of Anthropic, Gemini, Bedrock, "
    "LangChain, LlamaIndex, Vercel's AI SDK or ShareGPT, as their SDKs write it. Fields that are not known are ignored "
    "and counted."
)
_PARTS: JsonSchemaValue = {
    "type": "array",
    "description": "Texts, images, calls of tools and their results; other parts are unread, which the verdict says.",
}
_CONTENT: JsonSchemaValue = {
    "description": "A text or parts. Anything else but null is an unread part.",
    "examples": ["How do I get home?", [{"type": "text", "text": "How do I get home?"}]],
}
_MESSAGE: JsonSchemaValue = {
    "type": "object",
    "description": _FORMS,
    "properties": {
        "role": {"description": "system, developer, user, assistant, tool, function, or another name of one of them."},
        "content": _CONTENT,
        "tool_calls": {"description": "Calls of tools: judged where they are the answer."},
    },
}

WRITTEN_MESSAGES: JsonSchemaValue = {
    "type": "array",
    "items": _MESSAGE,
    "description": "The conversation before the response, oldest first. May be empty: a response can be judged alone.",
}
WRITTEN_RESPONSE: JsonSchemaValue = {
    "anyOf": [{"type": "string"}, {**_MESSAGE, "minProperties": 1}, _PARTS, {"type": "null"}],
    "default": None,
    "description": "The answer to judge. null: the MLLM that is configured shall answer.",
}
WRITTEN_TENANT: JsonSchemaValue = {
    "anyOf": [{"type": "string", "minLength": 1, "maxLength": 512}, {"type": "null"}],
    "default": "default",
}
WRITTEN_METADATA: JsonSchemaValue = {"anyOf": [{"type": "object"}, {"type": "null"}]}
