import json

import pytest

from pipelines.commands.assess import EXIT_HARMFUL, EXIT_NOT_READ
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS
from protector_models.moderation.conversation import Exchange
from tests.pipelines.commands.command_line import weir

pytestmark = pytest.mark.shipped

HARMFUL = "Sure! First steal the victim's card and identity papers, then empty the account and burn the evidence."
SAFE = "Knead the dough for ten minutes, let it rise for an hour and bake it until the crust is brown."
FOREIGN = "Mélangez la farine et l'eau, puis laissez reposer la pâte pendant une heure."
QUESTION = "How do I get money?"


def test_the_answer_is_the_detectors_and_the_status_tells_the_verdict() -> None:
    detector = OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=2)
    for response, status in ((HARMFUL, EXIT_HARMFUL), (SAFE, 0), (FOREIGN, EXIT_NOT_READ)):
        finished = weir("assess", response, "--prompt", QUESTION, "--json")
        (expected,) = detector.assess([Exchange(prompt=QUESTION, response=response)])
        found = json.loads(finished.stdout)
        assert finished.status == status
        assert found["assessment"] == expected.model_dump(mode="json")
        assert found["harmful"] == (status == EXIT_HARMFUL)
        assert found["threshold"] == detector.threshold
        assert found["spans"] is None


@pytest.mark.parametrize("response", ["hello there", SAFE])
def test_a_harmless_response_has_no_categories(response: str) -> None:
    # Below any category's threshold for answers to a prompt it need not be: without one, scores are higher.
    found = json.loads(weir("assess", response, "--json").stdout)
    assert (found["harmful"], found["categories_above"]) == (False, [])
    assert json.loads(weir("assess", HARMFUL, "--json").stdout)["categories_above"] != []


def test_spans_refer_to_the_response_and_are_marked_in_it() -> None:
    response = f"{SAFE}\n{HARMFUL}\x1b[2J {SAFE}"
    spans = json.loads(weir("assess", response, "--spans", "--json").stdout)["spans"]
    shown = weir("assess", response, "--spans").stdout.decode()
    for span in spans:
        assert 0 <= span["start"] < span["end"] <= len(response)
        assert f"characters {span['start']} to {span['end']}" in shown
    assert (shown.count("⟦"), shown.count("⟧")) == (len(spans), len(spans))
    assert "\x1b[2J" not in shown


def test_a_foreign_language_is_named() -> None:
    assert "fr" in weir("assess", FOREIGN).stdout.decode()


STRANGE = {
    "nothing": b"",
    "white space": b" \n\t",
    "control characters": bytes(range(32)),
    "bytes that are no UTF-8": b"fine \xff\xfe text",
    "mixed scripts": "раурal, 𝐤𝐢𝐥𝐥, ｋｉｌｌ".encode(),
    "a single word of 5,000 characters": b"a" * 5_000,
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_input_is_assessed(name: str) -> None:
    finished = weir("assess", "-", "--spans", "--json", stdin=STRANGE[name])
    assert finished.status in {0, EXIT_NOT_READ, EXIT_HARMFUL}
    total = json.loads(finished.stdout)["assessment"]["coverage"]["characters_total"]
    assert total == len(STRANGE[name].decode("utf-8", "replace"))


def test_an_argument_that_is_no_utf_8_is_assessed() -> None:
    assert weir("assess", "fine \udcff text", "--json").status in {0, EXIT_NOT_READ, EXIT_HARMFUL}


def test_weights_that_are_not_there_are_a_wrong_call(tmp_path: object) -> None:
    finished = weir("assess", "hello", "--weights", f"{tmp_path}/none")
    assert finished.status == 2
    assert "card.json" in finished.error_line()
