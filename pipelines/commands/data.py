"""`weir data`: training data."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.commands.exit_statuses import ending_in_one_line
from pipelines.commands.interrupts import EXIT_INTERRUPTED
from pipelines.commands.options import ConfigOption
from pipelines.settings import load_settings
from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.errors import ConfigurationError

if TYPE_CHECKING:
    from protector_models.data_generation.generated_records import GeneratedRecords
    from protector_models.data_generation.recipe import Question, Recipe, Tally
    from protector_models.data_generation.spending import Limits, Meter, Prices
    from protector_models.endpoints.chat_completions import ChatCompletions

app = typer.Typer(no_args_is_help=True, help="Training data.")


@app.callback()
def data() -> None:
    """Training data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What is asked for on the command line."""

    endpoint: MllmSettings
    recipe: "Recipe"
    questions: "list[Question] | None"
    """Given prompts; None: they are to be written."""
    out: Path
    prices: "Prices | None"
    limits: "Limits"


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="Folder of the data; started again with it, the run goes on there.")],
    config: ConfigOption = None,
    base_url: Annotated[str | None, typer.Option(help="Where the OpenAI-compatible API begins; needs no key.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name there.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Write answers to the prompts of these records; none are thought up then.")
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="Only harm of this category; may be repeated. Default: all.")
    ] = None,
    scenarios: Annotated[int, typer.Option(min=1, help="Scenarios of each category.")] = 20,
    questions: Annotated[int, typer.Option(min=1, max=50, help="Questions of each scenario.")] = 3,
    seed: Annotated[int, typer.Option(help="Sent along, mixed with what is asked for.")] = 0,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="Of all texts.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest text, in tokens.")] = 512,
    prompt_price: Annotated[float | None, typer.Option(min=0.0, help="Of a million tokens read.")] = None,
    completion_price: Annotated[float | None, typer.Option(min=0.0, help="Of a million tokens written.")] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0.0, help="Stop before all runs into --out together might cost more.")
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(min=1, help="Stop when all runs into --out together have sent so many.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Have a model write scenarios, questions, and a harmful and a harmless answer to each, as training records.

    The endpoint is the configuration's mllm section (kind openai), or --base-url with --model. Labels are by
    construction: what was asked for, checked by nobody. What declines or is empty is counted, and never labelled as
    harmful. Every text is on disk as soon as it is there. docs/data-generation.md has the files and the figures.

    Exit codes: 0 done; 1 the endpoint is gone: what was written is kept; 2 data or configuration cannot be used;
    3 stopped by --max-cost or --max-requests; 130 interrupted.
    """
    with ending_in_one_line("weir data generate"):
        try:
            order = _Order(
                endpoint=_choose_endpoint(config, base_url, model),
                recipe=_make_recipe(
                    category,
                    num_scenarios=scenarios,
                    num_questions=questions,
                    seed=seed,
                    temperature=temperature,
                    max_tokens=max_tokens,
                ),
                questions=None if prompts is None else _read_questions(prompts),
                out=out,
                prices=_make_prices(prompt_price, completion_price),
                limits=_make_limits(max_cost, max_requests),
            )
            summary = asyncio.run(_generate(order))
        except KeyboardInterrupt:
            typer.echo(f"interrupted; what is written is kept in {out}, and the same command goes on", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        _print_summary(summary)
    if summary["stopped_by_limit"]:
        raise typer.Exit(3)


def _choose_endpoint(config: Path | None, base_url: str | None, model: str | None) -> MllmSettings:
    if (base_url is None) != (model is None):
        raise ConfigurationError("--base-url and --model: expected both or neither")
    if base_url is None:
        endpoint = load_settings(config).mllm
        if endpoint.kind != "openai":
            raise ConfigurationError(f"mllm.kind: expected 'openai', or --base-url and --model, got {endpoint.kind!r}")
        return endpoint
    if config is not None:
        # A key that is configured for one endpoint is not sent to another.
        raise ConfigurationError("--base-url: expected no --config with it")
    try:
        return MllmSettings(kind="openai", base_url=base_url, model=model)
    except ValidationError as error:
        raise ConfigurationError(f"--base-url: {error.errors()[0]['msg']}") from error


def _make_recipe(
    categories: list[str] | None,
    *,
    num_scenarios: int,
    num_questions: int,
    seed: int,
    temperature: float,
    max_tokens: int,
) -> "Recipe":
    # Imported here, not above: numpy takes its time, and every other command would pay for it.
    from protector_models.data_generation.instructions import WRITABLE_CATEGORIES  # noqa: PLC0415
    from protector_models.data_generation.recipe import Recipe  # noqa: PLC0415

    chosen = tuple(dict.fromkeys(categories or WRITABLE_CATEGORIES))
    if unknown := [name for name in chosen if name not in WRITABLE_CATEGORIES]:
        expected = ", ".join(WRITABLE_CATEGORIES)
        raise ConfigurationError(f"--category: expected some of {expected}, got {', '.join(unknown)}")
    return Recipe(
        categories=chosen,
        num_scenarios=num_scenarios,
        num_questions=num_questions,
        seed=seed,
        temperature=temperature,
        max_tokens=max_tokens,
    )


def _read_questions(prompts: Path) -> "list[Question]":
    from protector_models.data_generation.generated_records import read_prompts  # noqa: PLC0415  # heavy, see above

    return read_prompts(prompts)


def _make_prices(prompt: float | None, completion: float | None) -> "Prices | None":
    from protector_models.data_generation.spending import Prices  # noqa: PLC0415  # heavy, see above

    if prompt is None and completion is None:
        return None
    if prompt is None or completion is None:
        raise ConfigurationError("--prompt-price and --completion-price: expected both or neither")
    return Prices(prompt=prompt, completion=completion)


def _make_limits(max_cost: float | None, max_requests: int | None) -> "Limits":
    from protector_models.data_generation.spending import Limits  # noqa: PLC0415  # heavy, see above

    return Limits(max_cost=max_cost, max_requests=max_requests)


async def _generate(order: _Order) -> dict[str, object]:
    from protector_models.data_generation.generated_records import collect_records, write_records  # noqa: PLC0415
    from protector_models.data_generation.ledger import Ledger  # noqa: PLC0415
    from protector_models.data_generation.recipe import Writer  # noqa: PLC0415
    from protector_models.data_generation.spending import Meter  # noqa: PLC0415

    ledger = Ledger.open(order.out, plan=_plan(order))
    meter = Meter.open(order.out / "spending.json", prices=order.prices, limits=order.limits)
    chat = _open_chat(order, meter)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    written = order.questions or []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("writing", total=None)

        def report(stage: str, num_requests: int) -> None:
            cost = meter.cost()
            spent = "" if cost is None else f", cost {cost:.4f}"
            progress.update(task, advance=num_requests, description=f"writing: {stage}{spent}")

        writer = Writer(chat=chat, recipe=order.recipe, ledger=ledger, meter=meter, report_requests=report)
        try:
            if order.questions is None:
                written = await writer.write_questions()
            await writer.write_answers(written)
        finally:
            await chat.close()
            meter.save()
            found = collect_records(written, ledger, model=order.endpoint.model or "")
            # Where the questions are not known yet, an earlier run may have known them.
            if written:
                write_records(order.out, found.records)
    return _summarise(found, writer.tally, meter, num_questions=len(written))


def _plan(order: _Order) -> dict[str, object]:
    """Returns what has to be the same in every run into one folder."""
    recipe, endpoint = order.recipe, order.endpoint
    plan: dict[str, object] = {
        "model": endpoint.model,
        "base_url": endpoint.base_url,
        "seed": recipe.seed,
        "temperature": recipe.temperature,
        "max_tokens": recipe.max_tokens,
    }
    if order.questions is None:
        plan |= {"categories": list(recipe.categories), "scenarios": recipe.num_scenarios}
        plan |= {"questions": recipe.num_questions}
    else:
        plan |= {"prompts": sorted(question.question_id for question in order.questions)}
    return plan


def _open_chat(order: _Order, meter: "Meter") -> "ChatCompletions":
    from protector_models.endpoints.chat_completions import ChatCompletions  # noqa: PLC0415  # heavy, see above
    from protector_models.endpoints.chat_connection import open_client  # noqa: PLC0415  # heavy, see above

    endpoint, recipe = order.endpoint, order.recipe
    assert endpoint.base_url is not None
    assert endpoint.model is not None
    client = open_client(
        endpoint.base_url,
        api_key=endpoint.api_key,
        timeout_s=endpoint.timeout_s,
        max_connections=endpoint.concurrency,
        section="mllm",
    )
    meter.attach(client)
    return ChatCompletions(
        client=client,
        model=endpoint.model,
        options={"temperature": recipe.temperature, "max_tokens": recipe.max_tokens},
        revision=endpoint.model,
        concurrency=endpoint.concurrency,
        max_attempts=endpoint.max_attempts,
        deadline_s=endpoint.deadline_s,
    )


def _summarise(found: "GeneratedRecords", tally: "Tally", meter: "Meter", *, num_questions: int) -> dict[str, object]:
    return {
        "questions": num_questions,
        "harmful_records": found.count(1),
        "harmless_records": found.count(0),
        "answers_missing": found.num_missing,
        "endings": dict(sorted(found.endings.items())),
        "duplicate_answers": found.num_duplicates,
        "harmful_answers_like_harmless_ones": found.num_like_harmless,
        "duplicates": {str(stage): count for stage, count in sorted(tally.duplicates.items())},
        "excluded_questions": tally.excluded,
        "failures": dict(sorted(tally.failures.items())),
        "stopped_by_limit": tally.is_stopped_by_limit,
        **meter.spending.model_dump(),
        "cost": meter.cost(),
    }


def _print_summary(summary: dict[str, object]) -> None:
    table = Table(title="weir data generate", show_header=False)
    for name, value in summary.items():
        if isinstance(value, dict):
            shown = ", ".join(f"{key} {count}" for key, count in value.items()) or "-"
        else:
            shown = "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
        table.add_row(name.replace("_", " "), shown)
    Console().print(table)
