"""`weir dead-letters`: see what could not be moderated, and put it back."""

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from pipelines.commands.options import ConfigOption, JsonOption
from pipelines.settings import load_settings
from pipelines.streaming.broker import Record
from pipelines.streaming.dead_letter import facts_of
from pipelines.streaming.replay import ReplayCount, replay, replay_settings
from pipelines.streaming.replayed_places import ReplayedPlaces, places_topic
from pipelines.streaming.settings import KafkaSettings, StreamSettings
from protector_models.moderation.errors import ConfigurationError
from services.logs import configure_logs

app = typer.Typer(help="See what could not be moderated, and put it back.", no_args_is_help=True)

StageOption = Annotated[str | None, typer.Option("--stage", help="Only letters that failed in this stage.")]
ErrorOption = Annotated[str | None, typer.Option("--error", help="Only letters with this class of error.")]

_SHOWN = ("stage", "error", "attempt", "message")


@app.command("list")
def list_letters(
    config: ConfigOption = None,
    stage: StageOption = None,
    error: ErrorOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many letters.")] = 1_000,
    as_json: JsonOption = False,
) -> None:
    """List dead letters: where each came from, and why it is one. Values are not printed."""
    settings = load_settings(config)
    configure_logs(settings.log)
    # Imported here, not above: kafka-python takes half a second, and every other command would pay for it.
    from pipelines.streaming.kafka.broker_administration import read_topic  # noqa: PLC0415

    is_wanted = _filter(stage, error)
    with closing(read_topic(settings.kafka, settings.stream.dead_letters.topic)) as records:
        letters = (record for record in records if is_wanted(record))
        facts = [
            {"partition": record.source.partition, "offset": record.offset, **facts_of(record.headers)}
            for record in islice(letters, limit)
        ]
    if as_json:
        typer.echo(json.dumps({"topic": settings.stream.dead_letters.topic, "dead_letters": facts}, indent=2))
        return
    table = Table("from", *_SHOWN, title=f"{len(facts)} dead letters in {settings.stream.dead_letters.topic}")
    for fact in facts:
        table.add_row(escape(_origin(fact)), *(escape(str(fact.get(name, ""))) for name in _SHOWN))
    Console().print(table)


def _origin(fact: Mapping[str, object]) -> str:
    """Return where a letter was read, as topic/partition@offset; a question mark for what its headers do not say."""
    topic, partition, offset = (fact.get(f"original-{name}", "?") for name in ("topic", "partition", "offset"))
    return f"{topic}/{partition}@{offset}"


@app.command("replay")
def replay_letters(
    config: ConfigOption = None,
    stage: StageOption = None,
    error: ErrorOption = None,
    discard_others: Annotated[
        bool, typer.Option("--discard-others", help="Needed with --stage or --error: the others count as handled.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put dead letters back into the topics they came from, each once, in one pass over the topic.

    Goes on where the last replay ended, up to the present end; a compacted topic, that of the letters with ".replayed"
    behind its name, keeps that place. A record goes into the partition it was read from. Letters that --stage or
    --error pass over count as handled and are not replayed later either, so --discard-others must be said with them. A
    letter that fails again comes back with a higher attempt number.
    """
    if (stage or error) and not discard_others:
        raise ConfigurationError("--stage and --error pass letters over for good: expected --discard-others with them")
    settings = load_settings(config)
    configure_logs(settings.log)
    # Imported here, not above: see `list_letters`.
    from pipelines.streaming.kafka.broker_administration import end_offsets, num_partitions, read_topic  # noqa: PLC0415
    from pipelines.streaming.kafka.connection import connect  # noqa: PLC0415

    stream = replay_settings(settings.stream)
    ends = end_offsets(settings.kafka, stream.source_topic)
    places = _ensure_places(settings.kafka, stream)
    connection = connect(settings.kafka, stream, member="replay")
    progress = Progress(
        SpinnerColumn(), TextColumn("replaying: {task.fields[number]} letters"), console=Console(stderr=True)
    )
    try:
        with progress:
            task = progress.add_task("replaying", number=0)

            def show(count: ReplayCount) -> None:
                progress.update(task, number=count.replayed)

            # Not before there is a connection: an earlier replay may have been about to write some.
            kept = read_topic(settings.kafka, places_topic(places.letters))
            count = replay(
                connection,
                ends,
                places=places,
                replayed_before=places.read(kept, ends),
                num_partitions=partial(num_partitions, settings.kafka),
                is_wanted=_filter(stage, error),
                on_progress=show,
            )
    finally:
        connection.close(timeout_s=stream.drain_timeout_s)
    if as_json:
        typer.echo(json.dumps(asdict(count)))
    else:
        typer.echo(f"replayed {count.replayed}, passed over {count.passed_over}, impossible {count.impossible}")


def _ensure_places(kafka: KafkaSettings, stream: StreamSettings) -> ReplayedPlaces:
    """Return what keeps the places of a replay, and make their topic if there is none: as safe as that of the letters.

    Raises:
        BrokerUnavailableError: the broker is away, or refuses to make it.
    """
    # Imported here, not above: see `list_letters`.
    from pipelines.streaming.kafka.broker_administration import describe_topics, ensure_topics  # noqa: PLC0415

    letters = stream.source_topic
    description = describe_topics(kafka, [letters])[letters]
    ensure_topics(
        kafka,
        {places_topic(letters): 1},
        replication_factor=description.replication_factor,
        configs={"cleanup.policy": "compact"},
    )
    return ReplayedPlaces(letters=letters, letters_id=description.topic_id, group=stream.group)


def _filter(stage: str | None, error: str | None) -> Callable[[Record], bool]:
    wanted = {name: value for name, value in (("stage", stage), ("error", error)) if value is not None}

    def is_wanted(record: Record) -> bool:
        facts = facts_of(record.headers)
        return all(facts.get(name) == value for name, value in wanted.items())

    return is_wanted
