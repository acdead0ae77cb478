"""The cost of requests, over all runs into one folder, and how many more may be made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protector_models.moderation.errors import ConfigurationError

Count = Annotated[int, Field(ge=0)]
_PER_MILLION = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a million tokens cost, in whatever currency the limit is in."""

    prompt: float
    completion: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where to stop; None: nowhere."""

    max_cost: float | None
    max_requests: int | None


class Spending(BaseModel):
    """What was asked and paid for so far."""

    model_config = ConfigDict(extra="forbid")

    requests: Count = 0
    """Requests sent, each try among them."""
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    answers_without_usage: Count = 0
    """Answers whose tokens the endpoint did not count: their cost is in no figure."""


class _Usage(BaseModel):
    prompt_tokens: Count
    completion_tokens: Count


class _Answer(BaseModel):
    usage: Any = None


class Meter:
    """Counts what goes through a client, tries and refused answers among it, since they are paid for too."""

    def __init__(self, file: Path, spending: Spending, *, prices: Prices | None, limits: Limits) -> None:
        self._file = file
        self.spending = spending
        self._prices = prices
        self._limits = limits

    @classmethod
    def open(cls, file: Path, *, prices: Prices | None, limits: Limits) -> "Meter":
        """Goes on from what an earlier run has spent.

        Raises:
            ConfigurationError: a limit of the cost has no prices, or the file is not this one's.
        """
        if limits.max_cost is not None and prices is None:
            raise ConfigurationError("--max-cost: expected --prompt-price and --completion-price with it")
        try:
            spent = Spending.model_validate_json(file.read_bytes()) if file.exists() else Spending()
        except (OSError, ValidationError) as error:
            raise ConfigurationError(f"{file}: expected what earlier runs have spent") from error
        return cls(file, spent, prices=prices, limits=limits)

    def attach(self, client: httpx.AsyncClient) -> None:
        """Counts the requests and answers of a client from now on."""
        client.event_hooks = {"request": [self._count_request], "response": [self._count_tokens]}

    def cost(self) -> float | None:
        """Returns what was spent; None where no prices are known."""
        if self._prices is None:
            return None
        prompt, completion = self.spending.prompt_tokens, self.spending.completion_tokens
        return _PER_MILLION * (prompt * self._prices.prompt + completion * self._prices.completion)

    def count_affordable(self, *, prompt_characters: int, max_tokens: int) -> int | None:
        """Returns how many more requests of a size may be made; None: as many as one likes.

        The cost of a request is taken at its highest, a token a character and an answer as long as allowed, so that
        the limit holds; tries again may cost more.

        Raises:
            ConfigurationError: the cost is limited, and the endpoint does not say what it was.
        """
        allowed: list[int] = []
        if self._limits.max_requests is not None:
            allowed.append(max(0, self._limits.max_requests - self.spending.requests))
        spent = self.cost()
        if self._limits.max_cost is not None and self._prices is not None and spent is not None:
            if self.spending.answers_without_usage:
                raise ConfigurationError(
                    "--max-cost: the endpoint's answers have no 'usage'; expected it, or --max-requests alone"
                )
            highest = _PER_MILLION * (prompt_characters * self._prices.prompt + max_tokens * self._prices.completion)
            left = self._limits.max_cost - spent
            if highest > 0.0:
                allowed.append(max(0, int(left / highest)))
        return min(allowed, default=None)

    def save(self) -> None:
        """Writes what was spent. A process that is killed meanwhile leaves the former figures, not half a file."""
        new = self._file.with_suffix(".new")
        new.write_text(self.spending.model_dump_json() + "\n", encoding="utf-8")
        new.replace(self._file)

    async def _count_request(self, request: httpx.Request) -> None:  # noqa: ARG002  # httpx gives it
        self.spending.requests += 1

    async def _count_tokens(self, response: httpx.Response) -> None:
        if response.status_code != httpx.codes.OK:
            return
        content = await response.aread()
        try:
            usage = _Usage.model_validate(_Answer.model_validate_json(content).usage)
        except ValidationError:
            self.spending.answers_without_usage += 1
            return
        self.spending.prompt_tokens += usage.prompt_tokens
        self.spending.completion_tokens += usage.completion_tokens
