"""What edits leave behind, and when that is no sentence any more."""

import pytest

from protector_models.detoxification.broken_sentences import Fault, find_fault
from protector_models.detoxification.tagged_words import DELETE, KEEP, apply_tags, replace_tag, split_words


def _fault(sentence: str, edits: dict[str, str], least_left: float = 0.2) -> Fault | None:
    words = split_words(sentence)
    tags = [edits.get(sentence[word.start : word.end], KEEP) for word in words]
    return find_fault(sentence, words, tags, apply_tags(sentence, words, tags), least_left)


@pytest.mark.parametrize(
    ("sentence", "gone"),
    [
        ("You are a liar.", "liar"),
        ("the moron is home", "moron"),
        ("who gives a shit if they are drunk", "shit"),
        ("he is stupid and a liar", "stupid"),
        ("they are too full of shit , all of them", "shit"),
        ("this is very stupid.", "stupid"),
        ("my neighbour is an asshole , and rude", "asshole"),
        ("I need bitches!", "bitches"),
        ("piece of shit is what it is", "piece"),
    ],
)
def test_a_word_that_hangs_in_the_air_is_a_fault(sentence: str, gone: str) -> None:
    # Where somebody "gives a shit", both words go.
    edits = {gone: DELETE} | ({"a": DELETE} if "gives" in sentence else {})
    assert _fault(sentence, edits) is Fault.HANGING_WORD


@pytest.mark.parametrize(
    ("sentence", "edits"),
    [
        ("the fucking dog barked", {"fucking": DELETE}),
        ("You idiot, the bus left.", {"idiot": DELETE}),
        ("what are you talking about bitch ?", {"bitch": DELETE}),
        ("he is a moron and late", {"moron": replace_tag(["person"])}),
        ("well , he is , you know , a", {}),
        ("nobody gives a shit about it", {"a": DELETE, "shit": DELETE, "gives": replace_tag(["cares"])}),
        ("shut up bitch , please", {"bitch": DELETE}),
    ],
)
def test_what_people_write_is_no_fault(sentence: str, edits: dict[str, str]) -> None:
    assert _fault(sentence, edits) is None


def test_a_word_twice_is_a_fault_where_an_edit_brought_it_about() -> None:
    assert _fault("you the damn the dog", {"damn": DELETE}) is Fault.DOUBLED
    assert _fault("it is bad shit", {"shit": replace_tag(["bad"])}) is Fault.DOUBLED
    assert _fault("it was a long long damn day", {"damn": DELETE}) is None


def test_a_stump_is_a_fault_and_nothing_at_all_is_none() -> None:
    assert _fault("motherfucking bastards ate", {"motherfucking": DELETE, "bastards": DELETE}) is Fault.STUMP
    assert _fault("You fucking moron!", {"fucking": DELETE}) is Fault.STUMP
    assert _fault("Go fuck yourself.", {"fuck": DELETE}) is Fault.STUMP
    assert _fault("Suck my dick.", {"my": DELETE, "dick": DELETE}) is Fault.STUMP
    assert _fault("Shut the fuck up.", {"the": DELETE, "fuck": DELETE}) is None
    assert _fault("You are a stupid idiot.", {"a": DELETE, "stupid": DELETE, "idiot": replace_tag(["naive"])}) is None
    assert _fault("damn !", {"damn": DELETE, "!": DELETE}) is None


def test_a_capital_at_the_start_stays() -> None:
    words = split_words("Stupid dogs bark")
    assert find_fault("Stupid dogs bark", words, [DELETE, KEEP, KEEP], "dogs bark", 0.0) is Fault.LOWER_CASE_START
    assert _fault("Stupid dogs bark", {"Stupid": DELETE}) is None
