"""The recipe: scenarios, then questions, then a harmful and a harmless answer to each question."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from protector_models.data_generation.instructions import (
    SCENARIOS_PER_REQUEST,
    Messages,
    Stage,
    ask_for_answer,
    ask_for_questions,
    ask_for_scenarios,
    read_list,
)
from protector_models.data_generation.ledger import Ending, Ledger, WrittenText
from protector_models.data_generation.near_duplicates import NearDuplicates
from protector_models.data_generation.spending import Meter
from protector_models.endpoints.chat_answers import Completion
from protector_models.endpoints.chat_completions import ChatCompletions
from protector_models.endpoints.chat_sender import ChatRequest
from protector_models.judges.refusals import is_refusal
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.records.excluded_texts import is_excluded_text

_WAVE_REQUESTS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What answers are written to."""

    question_id: str
    text: str
    category: str
    """One of ours, or what a given prompt's record says; may be empty."""
    wants_harmful: bool = True
    """False for a harmless prompt, which has a harmless answer only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How much is written, and how."""

    categories: Sequence[str]
    """Of `WRITABLE_CATEGORIES`."""
    num_scenarios: int
    """Of each category, at most."""
    num_questions: int
    """Of each scenario, at most."""
    seed: int
    """Sent with every request, mixed with what it asks for; whether equal seeds give equal texts is up to the model."""
    temperature: float
    max_tokens: int
    """The longest text, in tokens."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the requests of this run, and of the texts of all runs."""

    failures: Counter[str] = field(default_factory=Counter)
    """Requests that ended without a text, by error; they are made again when the run is started again."""
    duplicates: Counter[str] = field(default_factory=Counter)
    """Scenarios and questions dropped because one like them was there, by stage."""
    excluded: int = 0
    """Questions dropped because a public benchmark has them."""
    is_stopped_by_limit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    key: str
    stage: Stage
    messages: Messages

    def num_characters(self) -> int:
        return sum(len(str(message["content"])) for message in self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Has texts written that are not on disk yet, and keeps each as soon as it is there."""

    chat: ChatCompletions
    recipe: Recipe
    ledger: Ledger
    meter: Meter
    report_requests: Callable[[str, int], None]
    """Called with what is written, and how many requests of it are done since the last call."""
    tally: Tally = field(default_factory=Tally)

    async def write_questions(self) -> list[Question]:
        """Writes scenarios and questions, and returns the distinct ones that are no benchmark's.

        Raises:
            ModelUnavailableError: the endpoint is gone, busy or late; what was written is kept.
            ConfigurationError: the cost is limited and not known.
        """
        scenarios = await self._write_scenarios()
        asks = [
            _Ask(
                key=f"{Stage.QUESTIONS}/{_hash(scenario)}",
                stage=Stage.QUESTIONS,
                messages=ask_for_questions(scenario, number=self.recipe.num_questions),
            )
            for _, scenario in scenarios
        ]
        await self._write(asks)
        known = NearDuplicates()
        questions: list[Question] = []
        for (category, _), ask in zip(scenarios, asks, strict=True):
            for text in self._read_items(ask, most=self.recipe.num_questions):
                if is_excluded_text(text):
                    self.tally.excluded += 1
                elif known.add(text):
                    questions.append(Question(question_id=_hash(text), text=text, category=category))
                else:
                    self.tally.duplicates[Stage.QUESTIONS] += 1
        return questions

    async def write_answers(self, questions: Sequence[Question]) -> None:
        """Writes the answers to questions.

        Raises:
            ModelUnavailableError: the endpoint is gone, busy or late; what was written is kept.
            ConfigurationError: the cost is limited and not known.
        """
        await self._write(
            [
                _Ask(key=answer_key(question, stage), stage=stage, messages=ask_for_answer(question.text, stage))
                for question in questions
                for stage in (Stage.HARMFUL, Stage.HARMLESS)
                if question.wants_harmful or stage is Stage.HARMLESS
            ]
        )

    async def _write_scenarios(self) -> list[tuple[str, str]]:
        """Returns category and scenario of each."""
        size = min(SCENARIOS_PER_REQUEST, self.recipe.num_scenarios)
        num_requests = -(-self.recipe.num_scenarios // size)
        asks = {
            category: [
                _Ask(
                    key=f"{Stage.SCENARIOS}/{category}/{number}",
                    stage=Stage.SCENARIOS,
                    messages=ask_for_scenarios(category, number=size),
                )
                for number in range(num_requests)
            ]
            for category in self.recipe.categories
        }
        await self._write([ask for of_category in asks.values() for ask in of_category])
        known = NearDuplicates()
        scenarios: list[tuple[str, str]] = []
        for category, of_category in asks.items():
            items = [item for ask in of_category for item in self._read_items(ask, most=size)]
            distinct = [item for item in items if known.add(item)]
            self.tally.duplicates[Stage.SCENARIOS] += len(items) - len(distinct)
            scenarios += [(category, item) for item in distinct[: self.recipe.num_scenarios]]
        return scenarios

    def _read_items(self, ask: _Ask, *, most: int) -> list[str]:
        """Reads a list that was written; its last line is left out where it was cut."""
        found = self.ledger.get(ask.key)
        if found is None or found.ending not in {Ending.WRITTEN, Ending.CUT}:
            return []
        text = found.text.rpartition("\n")[0] if found.ending is Ending.CUT else found.text
        return read_list(text, most=most)

    async def _write(self, asks: Sequence[_Ask]) -> None:
        pending = [ask for ask in asks if self.ledger.get(ask.key) is None]
        if asks:
            self.report_requests(asks[0].stage.value, len(asks) - len(pending))
        while pending and not self.tally.is_stopped_by_limit:
            wave = pending[: self._count_next(pending)]
            pending = pending[len(wave) :]
            if not wave:
                self.tally.is_stopped_by_limit = True
                return
            try:
                outcomes = await asyncio.gather(*(self._write_one(ask) for ask in wave))
            finally:
                self.meter.save()
            lost = [outcome for outcome in outcomes if outcome is not None]
            if len(lost) == len(wave) and isinstance(lost[0], ModelUnavailableError):
                raise lost[0]
            if lost and self.ledger.is_empty() and isinstance(lost[0], ItemFailure):
                raise ModelUnavailableError(f"nothing was written: {lost[0].error}: {lost[0].message}")
            self.tally.failures.update(
                outcome.error if isinstance(outcome, ItemFailure) else type(outcome).__name__ for outcome in lost
            )

    def _count_next(self, pending: Sequence[_Ask]) -> int:
        wave = pending[:_WAVE_REQUESTS]
        affordable = self.meter.count_affordable(
            prompt_characters=max(ask.num_characters() for ask in wave), max_tokens=self.recipe.max_tokens
        )
        return len(wave) if affordable is None else min(len(wave), affordable)

    async def _write_one(self, ask: _Ask) -> ItemFailure | ModelUnavailableError | None:
        """Has one text written and keeps it; None where that succeeded, else why not."""
        request = ChatRequest(messages=ask.messages, options={"seed": _derive_seed(self.recipe.seed, ask.key)})
        try:
            (outcome,) = await self.chat.complete([request])
        except ModelUnavailableError as error:
            return error
        finally:
            self.report_requests(ask.stage.value, 1)
        if isinstance(outcome, ItemFailure):
            return outcome
        self.ledger.add(to_written(ask.key, ask.stage, outcome))
        return None


def answer_key(question: Question, stage: Stage) -> str:
    """Returns the key of one answer to a question."""
    return f"{stage}/{question.question_id}"


def question_of_prompt(prompt: str, *, category: str, wants_harmful: bool) -> Question:
    """Makes a question of a given prompt."""
    return Question(question_id=_hash(prompt), text=prompt, category=category, wants_harmful=wants_harmful)


def to_written(key: str, stage: Stage, completion: Completion) -> WrittenText:
    """Says how a text ended. What declines is a refusal whatever it was asked for, told by stock phrases in English."""
    text = (completion.text.strip() or completion.refusal.strip()).encode("utf-8", "replace").decode()
    if completion.refusal or completion.finish_reason == "content_filter" or is_refusal(text):
        ending = Ending.REFUSED
    elif not text:
        ending = Ending.EMPTY
    else:
        ending = Ending.CUT if completion.finish_reason == "length" else Ending.WRITTEN
    return WrittenText(key=key, stage=stage, ending=ending, text=text)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _derive_seed(seed: int, key: str) -> int:
    """Returns a seed below 2^31, which every server takes."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:4], "big") >> 1
