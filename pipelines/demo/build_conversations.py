"""Builds conversations.jsonl.gz from recorded ones: `python -m pipelines.demo.build_conversations --data DIR`.

The file looks like an hour on a platform: most conversations are harmless, some go on for several turns, popular
questions come again and again, and a few records are broken. The same data give the same bytes.
"""

import argparse
import gzip
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random

from pydantic import JsonValue

from pipelines.demo.malformed import malformed_records
from pipelines.demo.mixed_answers import make_replies, put_into_answers, read_sentences
from pipelines.demo.sources import SOURCES, Row, Source, may_be_shipped

SEED = 20_240_106
START = datetime(2026, 1, 12, 9, 0, tzinfo=UTC)
HOUR_S = 3_600
NUM_REPEATED = 200
"""How many exchanges are asked again by somebody else."""
NUM_POPULAR = 40
"""Among how many questions those are."""
NUM_TURNED_HARMFUL = 30
"""In how many conversations the harmful turn follows a harmless one."""

MAX_PROMPT_CHARACTERS = 1_000
_SENTENCE_END = re.compile(r"(?<=[a-z\"')][.!?])\s")
"""A full stop after a letter; after a digit it numbers the next point of a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a user said and what was answered."""

    prompt: str
    response: str
    source: Source
    image: str | None


Conversation = tuple[Turn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A turn at its place in a conversation and in time."""

    conversation: int
    turns: Conversation
    """The conversation so far; its last turn is what the event is about."""
    occurred_at: datetime


def build(data: Path) -> bytes:
    """Return the content of the file, uncompressed: one record per line."""
    random = Random(SEED)
    conversations = _let_some_turn_harmful(list(_conversations(data)), random)
    conversations += _repeat_popular(conversations, random)
    records = [_encode(number, event) for number, event in enumerate(_schedule(conversations, random), start=1)]
    for record in malformed_records():
        records.insert(random.randrange(len(records)), record)
    return b"".join(record + b"\n" for record in records)


def _conversations(data: Path) -> Iterator[Conversation]:
    taken: set[str] = set()
    used: set[str] = set()
    for source in SOURCES:
        rows = list(_choose(_candidates(data, source, used), source, taken))
        taken.update(str(row["id"]) for row in rows)
        for group in _group(rows, source):
            yield tuple(_turn(row, source) for row in group)


def _candidates(data: Path, source: Source, taken: set[str]) -> Iterable[Row]:
    """Return the rows of a source; those that are put together from two data sets have the label of what was put in."""
    sentences_of = source.inserted or source.replies
    if sentences_of is None:
        return _read(data / source.file)
    known = read_sentences(_read(data / sentences_of.file), sentences_of, _digest)
    sentences = [sentence for sentence in known if sentence not in taken]
    if source.replies is not None:
        return make_replies(sentences, source.prompts, _digest)
    hosts = [row for row in _read(data / source.file) if str(row["id"]) not in taken and source.accepts(row)]
    return put_into_answers(hosts, sentences, _digest)


def _read(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _choose(rows: Iterable[Row], source: Source, taken: set[str]) -> Iterator[Row]:
    """Pick rows of a source, in an order that depends on nothing but their ids."""
    asked: Counter[str] = Counter()

    def fits(row: Row) -> bool:
        wanted = row["label"] == (1 if source.label == "harmful" else 0) and str(row["id"]) not in taken
        if not (wanted and source.accepts(row) and _is_shippable(row, source)):
            return False
        question = " ".join(str(row["prompt"]).lower().split())
        asked[question] += 1
        return asked[question] <= source.max_per_prompt

    return islice(filter(fits, sorted(rows, key=lambda row: _order(row, source))), source.num_turns)


def _order(row: Row, source: Source) -> tuple[str, str]:
    identity = str(row["id"])
    return _digest(_document(row) if source.same_document else identity), _digest(identity)


def _digest(text: str) -> str:
    return hashlib.sha256(f"{SEED}:{text}".encode()).hexdigest()


def _document(row: Row) -> str:
    """Return what rows of one document have in common; ids count the questions of a document after a hyphen."""
    return f"{row['source']}/{str(row['id']).rpartition('-')[0]}"


def _is_shippable(row: Row, source: Source) -> bool:
    prompt, response = str(row["prompt"] or "").strip(), _cut(str(row["response"] or "").strip(), source)
    return (
        bool(prompt) and len(prompt) <= MAX_PROMPT_CHARACTERS and bool(response) and may_be_shipped(row, source.label)
    )


def _cut(response: str, source: Source) -> str:
    """Return the answer as it is shown; empty where it cannot be."""
    if len(response) <= source.max_characters:
        return response
    if source.label == "safe":
        return ""
    ends = [match.start() for match in _SENTENCE_END.finditer(response, 0, source.max_characters)]
    return response[: ends[-1]] if ends else ""


def _group(rows: Sequence[Row], source: Source) -> Iterator[list[Row]]:
    group: list[Row] = []
    for row in rows:
        is_full = len(group) == source.turns_per_conversation
        if group and (is_full or (source.same_document and _document(row) != _document(group[0]))):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _turn(row: Row, source: Source) -> Turn:
    image = f"file:{source.name.lower()}/{str(row['id']).replace('/', '-')}.jpg" if source.shows_image else None
    response = _cut(str(row["response"]).strip(), source)
    return Turn(prompt=str(row["prompt"]).strip(), response=response, source=source, image=image)


def _let_some_turn_harmful(conversations: Sequence[Conversation], random: Random) -> list[Conversation]:
    """Put a harmless turn before some harmful ones, as people come to it."""
    harmful = [talk for talk in conversations if talk[0].source.label == "harmful"]
    openings = [talk for talk in conversations if talk[0].source.name in {"PandaLM", "Self-Instruct"}]
    joined = dict(
        zip(random.sample(harmful, NUM_TURNED_HARMFUL), random.sample(openings, NUM_TURNED_HARMFUL), strict=True)
    )
    used = set(joined.values())
    return [joined.get(talk, ()) + talk for talk in conversations if talk not in used]


def _repeat_popular(conversations: Sequence[Conversation], random: Random) -> list[Conversation]:
    """Let others ask what was asked before; the first questions are the most popular."""
    popular = random.sample([talk for talk in conversations if len(talk) == 1], NUM_POPULAR)
    weights = [1 / rank for rank in range(1, NUM_POPULAR + 1)]
    return random.choices(popular, weights, k=NUM_REPEATED)


def _schedule(conversations: Sequence[Conversation], random: Random) -> list[Scheduled]:
    """Spread the conversations over an hour, the turns of one by some minutes."""
    events = []
    for number, talk in enumerate(random.sample(conversations, len(conversations)), start=1):
        occurred_at = START + timedelta(milliseconds=random.randrange(HOUR_S * 1_000))
        for position in range(len(talk)):
            events.append(Scheduled(conversation=number, turns=talk[: position + 1], occurred_at=occurred_at))
            occurred_at += timedelta(milliseconds=random.randrange(20_000, 240_000))
    return sorted(events, key=lambda event: event.occurred_at)


def _encode(number: int, event: Scheduled) -> bytes:
    turn = event.turns[-1]
    record: dict[str, JsonValue] = {
        "schema_version": 1,
        "event_id": f"event-{number:04}",
        "conversation_id": f"conversation-{event.conversation:04}",
        "tenant": turn.source.tenant,
        "occurred_at": event.occurred_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "messages": list(_messages(event.turns)),
        "response": turn.response,
        "metadata": _metadata(turn.source),
    }
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def _metadata(source: Source) -> JsonValue:
    names: dict[str, JsonValue] = {"source": source.name, "recorded_label": source.label}
    return names if source.inserted is None else {**names, "inserted_sentence": source.inserted.name}


def _messages(turns: Conversation) -> Iterator[JsonValue]:
    """Yield the messages before the last response, in the OpenAI chat format."""
    if turns[0].source.system_prompt is not None:
        yield {"role": "system", "content": turns[0].source.system_prompt}
    for turn in turns[:-1]:
        yield {"role": "user", "content": turn.prompt}
        yield {"role": "assistant", "content": turn.response}
    last = turns[-1]
    text: JsonValue = {"type": "text", "text": last.prompt}
    picture: JsonValue = {"type": "image_url", "image_url": {"url": last.image}}
    yield {"role": "user", "content": last.prompt if last.image is None else [text, picture]}


def main() -> None:
    """Write conversations.jsonl.gz beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory that holds train/ and eval/")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("conversations.jsonl.gz"))
    arguments = parser.parse_args()
    content = build(arguments.data)
    # Neither name nor time of the file are in it: the same data give the same bytes.
    arguments.out.write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
    sys.stdout.write(f"{len(content.splitlines())} records, {arguments.out.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
