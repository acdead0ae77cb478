"""A generative guard behind an endpoint that speaks the OpenAI chat API, such as vLLM.

The server puts the messages into the guard's chat template. A guard without one is sent its filled template as the one
message; start the server with a chat template that passes it on as it is, `{{ messages[0]['content'] }}`.
"""

from collections.abc import Sequence
from typing import Self

from protector_models.descriptions.checkpoint_description import load_description
from protector_models.descriptions.templates import fill_template
from protector_models.endpoints.chat_answers import Completion, CompletionToken
from protector_models.endpoints.chat_completions import ChatCompletions
from protector_models.endpoints.chat_connection import connect_chat
from protector_models.endpoints.chat_sender import ChatRequest
from protector_models.guards.asking import Ask, AskedExchange, GuardAsking, require_generative
from protector_models.guards.prompts import build_messages, read_template
from protector_models.guards.verdicts import UNREADABLE_VERDICT, AnswerToken, GuardAnswer, add_up, read_answer
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.reading.exchange_windows import Offsets
from protector_models.settings import DetectorSettings

_CHARACTERS_PER_TOKEN = 2
"""The tokenizer is not here: few enough to the token for the texts of most scripts, with room for the template."""

_NUM_ALTERNATIVES = 20
"""As many as the OpenAI API and vLLM give at most."""


class EndpointGuard:
    """Asks a guard over HTTP. Implements `LoadedDetector`.

    Harmfulness is made of the probabilities that the endpoint gives beside the answer, and is the weight of the written
    verdict where it gives none.

    What the endpoint refuses, fails on or answers with nonsense is an `ItemFailure`; an endpoint that is gone, busy or
    late raises.
    """

    def __init__(self, chat: ChatCompletions, asking: GuardAsking, *, template: str | None, threshold: float) -> None:
        """Put a detector together; nothing is sent.

        Args:
            chat: sends the requests.
            asking: what is asked, and how answers become assessments.
            template: of a guard without a chat template.
            threshold: the description's.
        """
        self._chat = chat
        self._asking = asking
        self._template = template
        self._threshold = threshold

    @classmethod
    def from_settings(cls, settings: DetectorSettings) -> Self:
        """Make a detector from the settings of kind "openai"; nothing is sent.

        Raises:
            ConfigurationError: the settings name no endpoint or no guard, or the URL is none.
        """
        if settings.description is None:
            raise ConfigurationError("detector: expected description to be set")
        description = load_description(settings.description)
        head = require_generative(description)
        template = read_template(head, settings.template, description=description.name)
        options: dict[str, object] = {"max_tokens": head.max_new_tokens, "temperature": 0.0}
        if settings.logprobs:
            options |= {"logprobs": True, "top_logprobs": _NUM_ALTERNATIVES}
        asked = [description.model_dump(mode="json"), template, options, settings.max_windows]
        chat = connect_chat(settings, section="detector", options=options, asked=asked)
        asking = GuardAsking(
            description,
            head,
            forbidden=head.reserved,
            tokenise=_guess_tokens,
            max_tokens=description.window.max_tokens,
            max_windows=settings.max_windows,
        )
        return cls(chat, asking, template=template, threshold=description.threshold)

    @property
    def revision(self) -> str:
        """The model's name, and a digest of where it is and how it is asked."""
        return self._chat.revision

    @property
    def threshold(self) -> float:
        """Harmfulness from which on a response counts as harmful, unless a policy says otherwise."""
        return self._threshold

    @property
    def categories(self) -> frozenset[str]:
        """The categories that it gives a score for."""
        return self._asking.categories

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange.

        Raises:
            ModelUnavailableError: the endpoint is gone, busy or late, and none of the requests got a text.
        """
        asked = [self._asking.ask(exchange) for exchange in exchanges]
        asks = [ask for item in asked for ask in item.asks]
        completions = await self._chat.complete([self._request(ask) for ask in asks])
        answers = iter([self._read(ask, completion) for ask, completion in zip(asks, completions, strict=True)])
        return [self._conclude(item, [next(answers) for _ in item.asks]) for item in asked]

    def warm_up(self) -> None:
        """Do nothing: what the endpoint is asked may cost money."""

    async def check_health(self, *, timeout_s: float) -> None:  # the port's
        """Do nothing: what the endpoint is asked may cost money, and a new process here would not mend it."""

    async def close(self) -> None:
        """Close the connections."""
        await self._chat.close()

    def _request(self, ask: Ask) -> ChatRequest:
        if self._template is not None:
            return ChatRequest(messages=[{"role": "user", "content": fill_template(self._template, ask.window)}])
        options = {"chat_template_kwargs": dict(ask.arguments)} if ask.arguments else {}
        return ChatRequest(messages=build_messages(self._asking.head, ask.window, alone=ask.alone), options=options)

    def _read(self, ask: Ask, completion: Completion | ItemFailure) -> GuardAnswer | ItemFailure:
        if isinstance(completion, ItemFailure):
            return completion
        if completion.refusal:
            return ItemFailure(error=UNREADABLE_VERDICT, message="the guard's endpoint declined to answer")
        tokens = [self._to_token(ask, token) for token in completion.tokens]
        return read_answer(ask.grammar, completion.text, tokens, category=ask.category)

    def _to_token(self, ask: Ask, token: CompletionToken) -> AnswerToken:
        return AnswerToken(text=token.text, log_probabilities=add_up(ask.grammar, token.alternatives))

    def _conclude(self, item: AskedExchange, answers: Sequence[GuardAnswer | ItemFailure]) -> Assessment | ItemFailure:
        return self._asking.conclude(item, answers, detector=self._chat.revision)


def _guess_tokens(text: str) -> Offsets:
    return [
        (start, min(start + _CHARACTERS_PER_TOKEN, len(text))) for start in range(0, len(text), _CHARACTERS_PER_TOKEN)
    ]
