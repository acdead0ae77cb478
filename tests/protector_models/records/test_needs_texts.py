from collections import Counter

from protector_models.detectors.shipped.needs_head import NEEDS
from protector_models.records.needs_texts import load_answer_texts, load_needs_texts


def test_no_text_stands_twice() -> None:
    assert max(Counter(row.text for row in load_needs_texts()).values()) == 1
    assert max(Counter(row.text for row in load_answer_texts()).values()) == 1


def test_every_need_has_texts_and_as_many_sound_alike() -> None:
    rows = load_needs_texts()
    counts = Counter(need for row in rows for need in row.needs)
    assert counts.keys() == set(NEEDS)
    assert min(counts.values()) >= 50
    assert sum(bool(row.needs) for row in rows) >= 500
    assert sum(not row.needs for row in rows) >= 600
