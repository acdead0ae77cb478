"""The detoxifier over an edit model and a generative one."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.detoxification.broken_sentences import BROKEN_SENTENCE
from protector_models.detoxification.detoxifier import ModelDetoxifier, TextEditor, load_detoxifier
from protector_models.detoxification.settings import DetoxifierSettings
from protector_models.moderation.errors import DependencyError, ModelUnavailableError
from protector_models.moderation.fakes import POISON, FakeTextEditor
from protector_models.moderation.model_outputs import ItemFailure, Rewrite
from protector_models.moderation.ports import RewriteRequest, Span
from protector_models.moderation.verdict import RewriteMethod
from tests.builders import exchange
from tests.protector_models.open_detoxifier import OpenFakeDetoxifier

TOXIC = "harm=0.9"


def _edit(response: str, *places: tuple[int, int]) -> RewriteRequest:
    spans = tuple(Span(start=start, end=end) for start, end in places)
    return RewriteRequest(exchange=exchange(response), method=RewriteMethod.EDIT, spans=spans, category="hate")


def _generate(response: str = "anything", *, prompt: str = "Why?") -> RewriteRequest:
    return RewriteRequest(exchange=exchange(response, prompt=prompt), method=RewriteMethod.GENERATE, category=None)


def _detoxifier(
    editor: TextEditor | None = None, generator: OpenFakeDetoxifier | None = None, *, timeout_s: float = 60.0
) -> ModelDetoxifier:
    return ModelDetoxifier(editor=editor, generator=generator, timeout_s=timeout_s)


async def _text(request: RewriteRequest, edit: Callable[[str], str] | None = None) -> str:
    (rewrite,) = await _detoxifier(FakeTextEditor(edit) if edit else FakeTextEditor()).rewrite([request])
    return rewrite.error if isinstance(rewrite, ItemFailure) else rewrite.text


async def test_only_the_spans_are_edited_and_everything_else_stays_as_it_was() -> None:
    response = f"{TOXIC} stays.\n\n| a | {TOXIC} |\n```\n{TOXIC}\n```"
    start = response.index("|")
    assert await _text(_edit(response, (start, start + 16))) == f"{TOXIC} stays.\n\n| a | mild |\n```\n{TOXIC}\n```"


@pytest.mark.parametrize(
    ("response", "places", "expected"),
    [
        ("Hello. You fool. Bye.", [(7, 16)], "Hello. Bye."),
        ("You fool. Bye.", [(0, 9)], "Bye."),
        ("Hello.\n\nYou fool.", [(8, 17)], "Hello.\n\n"),
        ("Hello, you fool!", [(7, 16)], "Hello,"),
        ("Hello there. Fuck you!\n\n- item one", [(13, 22)], "Hello there.\n\n- item one"),
        ("You. You.", [(0, 4), (5, 9)], "EmptyRewrite"),
    ],
)
async def test_a_span_that_goes_leaves_no_gap(response: str, places: list[tuple[int, int]], expected: str) -> None:
    assert await _text(_edit(response, *places), lambda _text: "") == expected


async def test_where_nothing_was_changed_there_is_no_rewrite() -> None:
    assert await _text(_edit("All is well.", (0, 12))) == "NothingToEdit"
    assert await _text(_edit("All is well.")) == "NothingToEdit"


class BreakingEditor(FakeTextEditor):
    """Can edit nothing without breaking a sentence."""

    def edit(self, texts: Sequence[str]) -> list[str | ItemFailure]:
        return [ItemFailure(error=BROKEN_SENTENCE, message="expected whole sentences") for _ in texts]


async def test_what_no_edit_leaves_whole_fails_alone_and_says_nothing_against_the_model() -> None:
    detoxifier = _detoxifier(BreakingEditor(), OpenFakeDetoxifier())
    broken, generated = await detoxifier.rewrite([_edit(TOXIC, (0, 8)), _generate()])
    assert isinstance(broken, ItemFailure)
    assert broken.error == BROKEN_SENTENCE
    assert isinstance(generated, Rewrite)
    detoxifier.warm_up()
    await _detoxifier(BreakingEditor()).check_health(timeout_s=10)


async def test_a_method_without_a_model_is_a_failure_of_that_request_alone() -> None:
    edit_only = await _detoxifier(FakeTextEditor()).rewrite([_edit(TOXIC, (0, 8)), _generate()])
    generate_only = await _detoxifier(None, OpenFakeDetoxifier()).rewrite([_edit(TOXIC, (0, 8)), _generate()])

    assert [isinstance(outcome, ItemFailure) and outcome.error for outcome in edit_only] == [False, "NoModel"]
    assert [isinstance(outcome, ItemFailure) and outcome.error for outcome in generate_only] == ["NoModel", False]


def test_a_detoxifier_without_any_model_is_refused() -> None:
    with pytest.raises(ValueError, match="neither"):
        _detoxifier()


async def test_every_rewrite_is_under_the_revision_that_is_made_of_those_of_the_models() -> None:
    detoxifier = _detoxifier(FakeTextEditor(), OpenFakeDetoxifier())
    rewrites = await detoxifier.rewrite([_generate(), _edit(TOXIC, (0, 8))])

    assert detoxifier.revision == "fake-editor@1+fake-detoxifier@1"
    assert [isinstance(one, Rewrite) and one.detoxifier for one in rewrites] == [detoxifier.revision] * 2


requests = st.one_of(
    st.lists(st.sampled_from([TOXIC, "kind", POISON, "🔥é", "| a |", "```\ncode\n```", ""]), max_size=4).flatmap(
        lambda words: st.tuples(st.just(" ".join(words)), st.integers(0, 12), st.integers(1, 12)).map(
            lambda drawn: _edit(
                drawn[0], *([(drawn[1], min(len(drawn[0]), drawn[1] + drawn[2]))] if drawn[1] < len(drawn[0]) else [])
            )
        )
    ),
    st.sampled_from(["Why?", f"{POISON} in the prompt"]).map(lambda prompt: _generate(prompt=prompt)),
)


@given(st.lists(requests, max_size=6))
async def test_a_batch_gives_what_its_requests_give_alone(batch: list[RewriteRequest]) -> None:
    detoxifier = _detoxifier(FakeTextEditor(), OpenFakeDetoxifier())
    together = await detoxifier.rewrite(batch)
    alone = [rewrite for request in batch for rewrite in await detoxifier.rewrite([request])]
    assert together == alone
    for request, outcome in zip(batch, together, strict=True):
        edited = "".join(request.exchange.response[span.start : span.end] for span in request.spans)
        is_poisoned = POISON in (edited if request.method is RewriteMethod.EDIT else request.exchange.prompt)
        assert isinstance(outcome, ItemFailure) or not is_poisoned


class _Blocked(FakeTextEditor):
    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def edit(self, texts: Sequence[str]) -> list[str | ItemFailure]:
        self.released.wait()
        return super().edit(texts)


async def test_an_edit_that_takes_too_long_is_a_dead_dependency_and_one_that_does_not_end_is_an_illness() -> None:
    editor = _Blocked()
    detoxifier = _detoxifier(editor, timeout_s=0.05)
    try:
        with pytest.raises(ModelUnavailableError, match=r"fake-editor@1: no result within 0\.05 s"):
            await detoxifier.rewrite([_edit(TOXIC, (0, 8))])
        await asyncio.sleep(0.1)
        with pytest.raises(ModelUnavailableError, match="does not end"):
            await detoxifier.check_health(timeout_s=0.01)
    finally:
        editor.released.set()
        await detoxifier.close()


async def test_a_dead_generative_model_raises() -> None:
    class Dead(OpenFakeDetoxifier):
        async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
            raise DependencyError("the endpoint is gone")

    detoxifier = _detoxifier(FakeTextEditor(), Dead())
    assert len(await detoxifier.rewrite([_edit(TOXIC, (0, 8))])) == 1
    with pytest.raises(DependencyError, match="endpoint"):
        await detoxifier.rewrite([_edit(TOXIC, (0, 8)), _generate()])


def test_where_every_model_is_switched_off_there_is_no_detoxifier() -> None:
    assert load_detoxifier(DetoxifierSettings(edit=False), num_threads=1, timeout_s=1.0) is None


def test_settings_of_an_edit_model_that_is_switched_off_are_refused() -> None:
    with pytest.raises(ValueError, match="edit is off: expected no num_threads"):
        DetoxifierSettings(edit=False, num_threads=2)
