"""A generative detoxifier behind an endpoint that speaks the OpenAI chat API."""

from collections.abc import Mapping, Sequence
from typing import Self

from protector_models.detoxification.rewrite_attempts import TEMPERATURE, TOP_P, derive_seed
from protector_models.detoxification.rewrite_faults import find_fault
from protector_models.detoxification.rewrite_prompts import REWRITE_LAYOUT, build_content
from protector_models.detoxification.settings import GeneratorSettings
from protector_models.endpoints.chat_answers import Completion
from protector_models.endpoints.chat_completions import ChatCompletions
from protector_models.endpoints.chat_connection import connect_chat
from protector_models.endpoints.chat_sender import ChatRequest
from protector_models.moderation.model_outputs import ItemFailure, Rewrite
from protector_models.moderation.ports import RewriteRequest

_FIRST_ATTEMPT: Mapping[str, object] = {"temperature": 0.0}
_LATER_ATTEMPTS: Mapping[str, object] = {"temperature": TEMPERATURE, "top_p": TOP_P}


class EndpointDetoxifier:
    """Has whole answers rewritten over HTTP. Implements `Detoxifier`.

    The first attempt asks for the likeliest text, later ones for a drawn one, with a seed that the request and the
    attempt decide: whether equal requests get equal rewrites is up to the endpoint. What fails, and for whom, is said
    at `ChatCompletions`; pictures are not sent.
    """

    def __init__(self, chat: ChatCompletions) -> None:
        """Put a detoxifier together; nothing is sent.

        Args:
            chat: sends the requests.
        """
        self._chat = chat

    @classmethod
    def from_settings(cls, settings: GeneratorSettings) -> Self:
        """Make a detoxifier from the settings of kind "openai"; nothing is sent.

        Raises:
            ConfigurationError: the settings name no endpoint, or its URL is none.
        """
        options = {"max_tokens": settings.max_new_tokens}
        asked = [REWRITE_LAYOUT, options, dict(_FIRST_ATTEMPT), dict(_LATER_ATTEMPTS)]
        chat = connect_chat(settings, section="detoxifier.generator", options=options, asked=asked)
        return cls(chat)

    @property
    def revision(self) -> str:
        """The model's name, and a digest of where it is and how it is asked."""
        return self._chat.revision

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Rewrite each response as a whole.

        Raises:
            ModelUnavailableError: the endpoint is gone, busy or late, and none of the requests got a text.
        """
        completions = await self._chat.complete([_ask(request) for request in requests])
        return [
            self._to_rewrite(request, completion) for request, completion in zip(requests, completions, strict=True)
        ]

    async def check_health(self, *, timeout_s: float) -> None:
        """Do nothing: its health is the endpoint's, which may be paid for by the call."""

    async def close(self) -> None:
        """Close the connections."""
        await self._chat.close()

    def _to_rewrite(self, request: RewriteRequest, completion: Completion | ItemFailure) -> Rewrite | ItemFailure:
        if isinstance(completion, ItemFailure):
            return completion
        if completion.finish_reason == "content_filter":
            return ItemFailure(error="FilteredRewrite", message="the endpoint's content filter stopped the rewrite")
        if completion.refusal:
            # Not the answer to the question but to our instruction: nobody who reads it could make sense of it.
            return ItemFailure(error="DeclinedRewrite", message="the model declined to rewrite")
        text, is_cut = completion.text.strip(), completion.finish_reason == "length"
        fault = find_fault(text, response=request.exchange.response, is_cut=is_cut)
        return fault or Rewrite(text=text, detoxifier=self._chat.revision)


def _ask(request: RewriteRequest) -> ChatRequest:
    exchange = request.exchange
    options = dict(_FIRST_ATTEMPT)
    if request.attempt:
        options = {**_LATER_ATTEMPTS, "seed": derive_seed(exchange.prompt, exchange.response, request.attempt)}
    content = build_content(exchange.prompt, exchange.response)
    return ChatRequest(messages=[{"role": "user", "content": content}], options=options)
