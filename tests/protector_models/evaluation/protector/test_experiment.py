import base64
from collections.abc import Sequence
from pathlib import Path

import pytest

from protector_models.evaluation.protector.evaluation import evaluate_protector
from protector_models.evaluation.protector.experiment import Experiment, make_event
from protector_models.evaluation.protector.report import ProtectorReport
from protector_models.evaluation.protector.trial_results import KeptResults, MemoryResults
from protector_models.evaluation.protector.trials import Trial, TrialSet
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import ConfigurationError, ModelUnavailableError
from protector_models.moderation.fakes import POISON, FakeDetoxifier, FakeGenerator
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.verdict import Action, Outcome
from tests.builders import policy, rule
from tests.protector_models.evaluation.protector.folders import WordAnswerJudge
from tests.protector_models.moderation.rig import build_rig


def _trial(number: int, response: str | None, *, label: int | None = None, prompt: str = "q") -> Trial:
    scenario = "even" if number % 2 == 0 else "odd"
    return Trial(trial_id=str(number), scenario=scenario, prompt=prompt, image=None, response=response, label=label)


def _attacks(*responses: str | None) -> TrialSet:
    trials = tuple(_trial(number, response) for number, response in enumerate(responses))
    return TrialSet(name="attacks", is_benign=False, trials=trials)


def _experiment(
    *, rules: Policy | None = None, judge: WordAnswerJudge | None = None, results: MemoryResults | None = None
) -> Experiment:
    rig = build_rig(
        policy=rules or policy(),
        detoxifier=FakeDetoxifier(lambda _: "I can't say that."),
        generator=FakeGenerator(),
        include_original=True,
    )
    return Experiment(moderator=rig.moderator, judge=judge or WordAnswerJudge(), results=results or MemoryResults())


async def _measure(experiment: Experiment, *sets: TrialSet) -> ProtectorReport:
    return await evaluate_protector(
        experiment, sets, policy=policy(), max_rows=None, report_set=lambda _: None, report_trials=lambda _: None
    )


async def test_unsafe_answers_are_counted_before_and_after_per_scenario() -> None:
    # Found and rewritten; missed by the detector; harmless; found and rewritten.
    report = await _measure(_experiment(), _attacks("harm=0.9", "bad advice", "fine", "harm=0.8"))
    found = report.attacks["attacks"]
    assert (found.total.unsafe_before.value, found.total.unsafe_after.value) == (0.75, 0.25)
    assert found.total.difference.value == -0.5
    assert found.scenarios["even"].unsafe_after.value == 0.0
    assert found.scenarios["odd"].unsafe_after.value == 0.5
    assert (found.total.rewritten.value, found.total.unchanged.value, found.total.withheld.value) == (0.5, 0.5, 0.0)
    assert found.methods == {"generate": 2}
    assert found.always_refuse.value == 0.0
    assert report.judge.revision == "word-judge@1"
    assert report.revisions["detector"] == "fake-detector@1"
    assert found.total.labels is None


async def test_what_is_held_back_is_not_unsafe_and_the_answer_before_it_is_judged() -> None:
    experiment = _experiment(rules=policy(rules=[rule(0.5, Action.REVIEW)]))
    total = (await _measure(experiment, _attacks("harm=0.9", "fine"))).attacks["attacks"].total
    assert (total.unsafe_before.value, total.unsafe_after.value, total.withheld.value) == (0.5, 0.0, 0.5)


async def test_failures_and_what_the_judge_cannot_judge_are_counted_and_in_no_share() -> None:
    report = await _measure(_experiment(), _attacks("harm=0.9", f"{POISON} bad", "odd", "fine"))
    found = report.attacks["attacks"]
    assert (found.total.n, found.total.failed, found.total.unjudged) == (2, 1, 1)
    assert found.total.unsafe_before.value == 0.5
    assert sum(found.failures.values()) == 1


async def test_an_mllm_answers_what_has_no_answer_and_its_answer_is_judged_before_and_after() -> None:
    live = TrialSet(
        name="live", is_benign=False, trials=(_trial(0, None, prompt="harm=0.9"), _trial(1, None, prompt="fine"))
    )
    total = (await _measure(_experiment(), live)).attacks["live"].total
    assert (total.unsafe_before.value, total.unsafe_after.value) == (0.5, 0.0)


async def test_labels_measure_the_detector_and_the_judge() -> None:
    trials = (
        _trial(0, "harm=0.9", label=1),
        _trial(1, "subtle", label=1),
        _trial(2, "fine", label=0),
        _trial(3, "bad but meant well", label=0),
        _trial(4, "harm=0.9 unlabelled"),
    )
    found = TrialSet(name="labelled", is_benign=False, trials=trials)
    labels = (await _measure(_experiment(), found)).attacks["labelled"].total.labels
    assert labels is not None
    assert (labels.caught.value, labels.caught.n) == (0.5, 2)
    assert (labels.safe_unchanged.value, labels.judge_recall.value, labels.judge_false_alarms.value) == (1.0, 0.5, 0.5)


async def test_benign_answers_count_as_unchanged_only_where_they_are_delivered_as_they_were() -> None:
    trials = tuple(_trial(n, text) for n, text in enumerate(["fine", "harm=0.9 by mistake", f"{POISON}", "good"]))
    report = await _measure(_experiment(), TrialSet(name="benign", is_benign=True, trials=trials))
    found = report.benign["benign"]
    assert (found.n, found.failed) == (3, 1)
    assert found.unchanged.value == pytest.approx(2 / 3)
    assert found.actions == {"allow": 2, "rewrite": 1}


async def test_the_judge_is_never_the_detector_under_test() -> None:
    experiment = _experiment(judge=WordAnswerJudge(revision="fake-detector@1"))
    with pytest.raises(ConfigurationError, match=r"got fake-detector@1 for both"):
        await _measure(experiment, _attacks("fine"))


async def test_an_unchanged_answer_is_judged_once() -> None:
    judge = WordAnswerJudge()
    await _measure(_experiment(judge=judge), _attacks("fine", "fine"))
    assert judge.judged.count("fine") == 1


class _BreaksDown:
    """A Moderator whose models are gone after some batches."""

    def __init__(self, experiment: Experiment, *, num_batches: int) -> None:
        self._moderator = experiment.moderator
        self._num_left = num_batches
        self.num_moderated = 0

    async def moderate(self, events: Sequence[ConversationEvent]) -> list[Outcome]:
        if self._num_left == 0:
            raise ModelUnavailableError("gone")
        self._num_left -= 1
        self.num_moderated += len(events)
        return await self._moderator.moderate(events)


async def test_an_interrupted_run_goes_on_and_ends_with_the_same_report(tmp_path: Path) -> None:
    attacks = _attacks(*[f"harm=0.{number % 10} row {number}" for number in range(40)])
    whole = await _measure(_experiment(), attacks)
    first = _BreaksDown(_experiment(), num_batches=1)
    kept = KeptResults.open(tmp_path, identity="a")
    with pytest.raises(ModelUnavailableError):
        await _measure(Experiment(moderator=first, judge=WordAnswerJudge(), results=kept), attacks)
    with (tmp_path / "results.jsonl").open("ab") as file:
        file.write(b'{"set_name": "attacks", "tri')  # killed while it wrote
    second = _BreaksDown(_experiment(), num_batches=9)
    kept = KeptResults.open(tmp_path, identity="a")
    resumed = await _measure(Experiment(moderator=second, judge=WordAnswerJudge(), results=kept), attacks)
    assert resumed == whole
    assert 0 < second.num_moderated == 40 - first.num_moderated
    assert b"row" not in (tmp_path / "results.jsonl").read_bytes()


async def test_a_trial_that_failed_is_run_again(tmp_path: Path) -> None:
    attacks = _attacks("fine", f"{POISON} bad")
    nums_moderated = []
    for _ in range(2):
        moderator = _BreaksDown(_experiment(), num_batches=9)
        kept = KeptResults.open(tmp_path, identity="a")
        await _measure(Experiment(moderator=moderator, judge=WordAnswerJudge(), results=kept), attacks)
        nums_moderated.append(moderator.num_moderated)
    assert nums_moderated == [2, 1]


async def test_a_changed_trial_is_run_again(tmp_path: Path) -> None:
    for responses in (("harm=0.9", "fine"), ("fine", "fine")):
        kept = KeptResults.open(tmp_path, identity="a")
        report = await _measure(_experiment(results=kept), _attacks(*responses))
    assert report.attacks["attacks"].total.unsafe_before.value == 0.0
    assert len((tmp_path / "results.jsonl").read_bytes().splitlines()) == 3


async def test_kept_results_of_another_detector_are_refused(tmp_path: Path) -> None:
    await _measure(_experiment(results=KeptResults.open(tmp_path, identity="a")), _attacks("fine"))
    file = tmp_path / "results.jsonl"
    file.write_bytes(file.read_bytes().replace(b"fake-detector@1", b"fake-detector@0"))
    with pytest.raises(ConfigurationError, match="detector fake-detector@0 and of fake-detector@1"):
        await _measure(_experiment(results=KeptResults.open(tmp_path, identity="a")), _attacks("fine", "more"))


async def test_results_of_another_configuration_are_refused(tmp_path: Path) -> None:
    KeptResults.open(tmp_path, identity="a")
    with pytest.raises(ConfigurationError, match="another configuration, policy or judge"):
        KeptResults.open(tmp_path, identity="b")


async def test_why_pictures_were_not_read_is_kept_and_counted(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG picture")
    trials = tuple(
        Trial(trial_id=str(n), scenario="s", prompt="q", image=tmp_path / "x.png", response="fine") for n in range(2)
    )
    results = KeptResults.open(tmp_path / "work", identity="a")
    # The Moderator of fakes reads no pictures at all.
    report = await _measure(
        _experiment(results=results),
        TrialSet(name="attacks", is_benign=False, trials=trials),
        TrialSet(name="benign", is_benign=True, trials=trials),
    )
    for found in (report.attacks["attacks"], report.benign["benign"]):
        assert (found.images, found.images_read, found.images_unread) == (2, 0, {"ImagesNotRead": 2})
    kept = KeptResults.open(tmp_path / "work", identity="a").get("attacks", trials[0])
    assert kept is not None
    assert kept.images_unread == ("ImagesNotRead",)


def test_a_picture_goes_along_with_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG picture")
    event = make_event(Trial(trial_id="1", scenario="s", prompt="q", image=tmp_path / "x.png", response=None), "set/1")
    (reference,) = event.image_references()
    assert base64.b64decode(reference.partition(",")[2]) == b"\x89PNG picture"
    assert event.response is None
