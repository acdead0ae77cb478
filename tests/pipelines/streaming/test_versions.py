"""What a dead letter says of the program, policy and models that had its record."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from pipelines.streaming.dead_letter import facts_of
from pipelines.streaming.versions import decode_versions, encode_versions, versions_in_use
from tests import builders
from tests.pipelines.streaming.rigs import build_rig, running, until


@dataclass
class ChangingModel:
    """A model that a rollout replaces."""

    revision: str


NAMES = st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=9)


@given(st.dictionaries(NAMES, st.text(st.characters(codec="utf-8"), max_size=30)))
def test_versions_are_read_as_they_were_written_whatever_stands_in_them(versions: dict[str, str]) -> None:
    assert decode_versions(encode_versions(versions)) == versions


def test_program_policy_and_all_models_that_are_switched_on_are_named() -> None:
    policy = builders.policy()
    models = {"detector": ChangingModel("a@1"), "detoxifier": None, "images": ChangingModel("b@2")}
    versions = versions_in_use(policy, models)
    assert versions.keys() == {"weir", "policy", "detector", "images"}
    assert (versions["policy"], versions["detector"], versions["images"]) == (policy.revision, "a@1", "b@2")


async def test_a_letter_names_the_revisions_of_the_moment_at_which_it_is_written() -> None:
    model = ChangingModel("detector@1")
    rig = build_rig(versions=lambda: {"detector": model.revision})
    rig.send_bytes(b"nonsense")
    async with running(rig.worker()):
        await until(lambda: len(rig.dead_letters()) == 1)
        model.revision = "detector@2"
        rig.send_bytes(b"nonsense")
        await until(lambda: len(rig.dead_letters()) == 2)
    named = [decode_versions(facts_of(letter.headers)["versions"]) for letter in rig.dead_letters()]
    assert named == [{"detector": "detector@1"}, {"detector": "detector@2"}]
