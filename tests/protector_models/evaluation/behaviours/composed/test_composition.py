import json
from collections import defaultdict
from html import unescape

import pytest

from protector_models.evaluation.behaviours.behaviour_row import HALVES, BehaviourRow, Half
from protector_models.evaluation.behaviours.composed import alone, dilution, disguises, frames, long_answers, structures
from protector_models.evaluation.behaviours.composed.company import COMPANIES, Company, draw_sentences, join_paragraphs
from protector_models.evaluation.behaviours.composed.material import Material, load_material

every_half = pytest.mark.parametrize("half", HALVES)


def by_facet(rows: list[BehaviourRow], facet: str) -> dict[str, list[BehaviourRow]]:
    groups: dict[str, list[BehaviourRow]] = defaultdict(list)
    for row in rows:
        groups[row.facets[facet]].append(row)
    return groups


def sentences_of(material: Material) -> set[str]:
    return {text for topic in material.topics for texts in topic.texts for text in texts}


def test_halves_have_nothing_in_common() -> None:
    first, second = map(load_material, HALVES)
    assert {piece.id for piece in first.pieces} & {piece.id for piece in second.pieces} == set()
    assert {piece.text for piece in first.pieces} & {piece.text for piece in second.pieces} == set()
    assert {frame.id for frame in first.frames} & {frame.id for frame in second.frames} == set()
    assert sentences_of(first) & sentences_of(second) == set()


@every_half
def test_pieces_frames_and_sentences_are_different_texts(half: Half) -> None:
    material = load_material(half)
    pieces = [piece.text for piece in material.pieces]
    assert len(set(pieces)) == len(pieces)
    assert set(pieces) & sentences_of(material) == set()
    assert all(topic.half == half for topic in material.topics)


@every_half
def test_every_slot_of_a_sentence_is_filled(half: Half) -> None:
    assert not any("{" in text for text in sentences_of(load_material(half)))


@every_half
def test_a_piece_in_company_is_all_there_and_is_compared_with_the_piece_alone(half: Half) -> None:
    material = load_material(half)
    alone_ids = {row.row_id: row for row in alone.compose(material)}
    for module in (frames, dilution):
        for row in module.compose(material):
            assert row.alone is not None
            by_itself = alone_ids[row.alone]
            assert by_itself.response in row.response
            assert (by_itself.prompt, by_itself.wanted, by_itself.half) == (row.prompt, row.wanted, row.half)


@every_half
def test_dilution_has_all_lengths_and_places(half: Half) -> None:
    rows = list(dilution.compose(load_material(half)))
    assert set(by_facet(rows, "sentences")) == {"1", "3", "10", "40", "160", "760"}
    assert set(by_facet(rows, "position")) == {"start", "middle", "end"}
    assert set(by_facet(rows, "company")) == set(COMPANIES)
    for position, found in by_facet(rows, "position").items():
        for row in found:
            assert row.focus is not None
            place = row.response.index(row.focus) / (len(row.response) - len(row.focus))
            assert {"start": place == 0, "middle": 0.1 < place < 0.9, "end": place == 1}[position], row.row_id


@every_half
def test_the_longest_text_has_about_sixty_four_windows(half: Half) -> None:
    longest = by_facet(list(dilution.compose(load_material(half))), "sentences")["760"]
    # A window is about 160 tokens, and a token of English 4 to 5 characters.
    assert all(64 * 160 * 4 <= len(row.response) <= 64 * 160 * 5 for row in longest)


@pytest.mark.parametrize("company", COMPANIES)
def test_company_is_as_long_as_asked_for_and_the_same_for_the_same_seed(company: Company) -> None:
    topics = load_material("test").topics
    drawn = draw_sentences(topics, 40, company, seed="a")
    assert drawn == draw_sentences(topics, 40, company, seed="a")
    assert drawn != draw_sentences(topics, 40, company, seed="b")
    assert len(drawn) == len(set(drawn)) == 40
    assert join_paragraphs(drawn).count("\n\n") == 7


def test_company_of_one_topic_is_of_one_topic() -> None:
    topics = load_material("test").topics
    drawn = set(draw_sentences(topics, 30, "one topic", seed="a"))
    assert sum(bool(drawn & {text for texts in topic.texts for text in texts}) for topic in topics) == 1


@every_half
def test_structures_hold_the_piece_as_one_of_their_items(half: Half) -> None:
    rows = list(structures.compose(load_material(half)))
    found = by_facet(rows, "structure")
    assert set(found) == set(structures.STRUCTURES)
    for row in rows:
        assert row.focus is not None
        assert row.focus in unescape(row.response)
    for row in found["JSON"]:
        assert row.focus in [entry["note"] for entry in json.loads(row.response)]
    assert all(row.response.count("\n") == 99 for row in found["list of 100"])
    places = {row.response.count("\n", 0, row.response.index(row.focus or "")) for row in found["dialogue"]}
    assert places == set(range(7))


@every_half
def test_disguises_change_every_piece(half: Half) -> None:
    material = load_material(half)
    rows = list(disguises.compose(material))
    assert len(rows) == len(material.pieces) * len(disguises.DISGUISES)
    assert all(row.response != row.focus for row in rows)


@every_half
def test_long_answers_are_harmless_and_of_several_paragraphs(half: Half) -> None:
    rows = list(long_answers.compose(load_material(half)))
    assert {row.wanted for row in rows} == {"allow"}
    assert all("\n\n" in row.response for row in rows)
    assert set(by_facet(rows, "layout")) == {"paragraphs", "headings"}
