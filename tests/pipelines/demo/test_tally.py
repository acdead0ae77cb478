"""What the demonstration counts."""

import json

from pipelines.demo.tally import Tally, shorten
from pipelines.streaming.broker import Headers, Record, TopicPartition
from protector_models.moderation.fakes import FakeHarmDetector, RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.model_outputs import ScoredPiece
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.verdict import Action, RewriteMethod, Verdict
from protector_models.moderation.wire.codec import encode_moderated
from tests import builders


def _record(value: bytes, headers: Headers = ()) -> Record:
    return Record(source=TopicPartition("t", 0), offset=0, timestamp_ms=0, key=None, value=value, headers=headers)


async def test_results_are_counted_by_action_category_and_error_and_add_up() -> None:
    moderator = Moderator(
        policy=builders.policy(),
        detector=FakeHarmDetector(),
        cache=MemoryVerdictCache(max_entries=10),
        metrics=RecordedMetrics(),
    )
    responses = ["fine", "harm=0.9 category=hate one", "harm=0.9 category=hate two"]
    events = [builders.event(response, event_id=f"e{number}") for number, response in enumerate(responses)]
    tally = Tally()
    for event, outcome in zip(events, await moderator.moderate(events), strict=True):
        assert isinstance(outcome, Verdict)
        tally.note_sent(event.model_dump_json().encode(), 1.0)
        tally.note_verdict(_record(encode_moderated(event, outcome)), 1.5)
    tally.note_sent(b"nonsense", 1.0)
    tally.note_sent(json.dumps({"event_id": 7, "response": None}).encode(), 1.0)
    tally.note_dead_letter(_record(b"nonsense", (("weir-error", b"InvalidEvent"),)))

    result = tally.result(sent=4, first_verdict_s=1.0, elapsed_s=2.0)
    assert result.sent == sum(result.actions.values()) + sum(result.dead_letters.values()) == tally.results()
    assert result.actions[Action.ALLOW] == 1
    assert result.categories == {"hate": {Action.REWRITE: 2}}
    assert result.methods[RewriteMethod.COMPLETE] == sum(result.methods.values()) == result.actions[Action.REWRITE]
    assert result.dead_letters == {"InvalidEvent": 1}
    assert result.latency_ms == {"p50": 500.0, "p95": 500.0, "p99": 500.0}
    assert result.events_per_s == 2.0
    (example,) = result.examples
    assert example.before == responses[1]
    assert example.after == builders.SAFE_TEXT
    assert example.method is RewriteMethod.COMPLETE


async def test_there_is_an_example_of_each_way_of_rewriting_that_begins_before_what_was_changed() -> None:
    moderator = Moderator(
        policy=builders.policy(
            rewrite_methods={"default": ["omit", "complete"]}, omissions={"default": "(Left out.)"}, omit_up_to=0.5
        ),
        detector=FakeHarmDetector(),
        cache=MemoryVerdictCache(max_entries=100),
        metrics=RecordedMetrics(),
    )
    kept = "Knead the dough for ten minutes and bake it until it is brown. " * 3
    responses = ["harm=0.9 category=hate one", f"{kept}harm=0.9 category=hate says this long sentence to you. {kept}"]
    events = [builders.event(response, event_id=f"e{number}") for number, response in enumerate(responses)]
    tally = Tally()
    for event, outcome in zip(events, await moderator.moderate(events), strict=True):
        assert isinstance(outcome, Verdict)
        tally.note_sent(event.model_dump_json().encode(), 1.0)
        tally.note_verdict(_record(encode_moderated(event, outcome)), 1.5)
    result = tally.result(sent=2, first_verdict_s=1.0, elapsed_s=2.0)
    assert [example.method for example in result.examples] == [RewriteMethod.COMPLETE, RewriteMethod.OMIT]
    partial = result.examples[1]
    assert partial.after is not None
    assert partial.before.startswith("…")
    assert partial.before[:20] == partial.after[:20]
    assert "harm=0.9" in partial.before
    assert "(Left out.)" in partial.after


def test_a_long_text_is_shown_by_its_beginning_on_one_line() -> None:
    assert shorten("a\nb") == "a b"
    shown = shorten("word " * 100)
    assert len(shown) == 160
    assert shown.endswith("…")


async def test_of_answers_with_a_toxic_sentence_in_them_the_worst_piece_is_named() -> None:
    moderator = Moderator(
        policy=builders.policy(),
        detector=FakeHarmDetector(),
        cache=MemoryVerdictCache(max_entries=10),
        metrics=RecordedMetrics(),
    )
    text = "Stir it well. harm=0.9 category=hate Serve it warm."
    events = [
        builders.event(text, event_id="mixed", metadata={"inserted_sentence": "a set"}),
        builders.event("fine", event_id="missed", metadata={"inserted_sentence": "a set"}),
        builders.event("harm=0.9 category=hate", event_id="whole"),
    ]
    pieces = (
        ScoredPiece(start=0, end=13, harmfulness=0.1, categories={}),
        ScoredPiece(start=14, end=36, harmfulness=0.8, categories={}),
    )
    tally = Tally()
    for event, outcome in zip(events, await moderator.moderate(events), strict=True):
        assert isinstance(outcome, Verdict)
        assert outcome.assessment is not None
        judged = outcome.model_copy(update={"assessment": outcome.assessment.model_copy(update={"pieces": pieces})})
        tally.note_sent(event.model_dump_json().encode(), 1.0)
        tally.note_verdict(_record(encode_moderated(event, judged)), 1.5)

    diluted = tally.result(sent=3, first_verdict_s=1.0, elapsed_s=2.0).diluted
    assert (diluted.sent, diluted.acted_on) == (2, 1)
    assert diluted.example is not None
    assert (diluted.example.before, diluted.example.after) == ("Stir it well.", "Serve it warm.")
    assert (diluted.example.sentence, diluted.example.harmfulness) == ("harm=0.9 category=hate", 0.8)
