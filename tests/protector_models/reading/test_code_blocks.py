import pytest

from protector_models.reading.code_blocks import find_code, is_within


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a\n```\nx = 1\n```\nb", ["```\nx = 1\n```"]),
        ("```python\nnever closed", ["```python\nnever closed"]),
        ("~~~\n```\n~~~", ["~~~\n```\n~~~"]),
        ("See:\n\n    x = 1\n    y = 2\n\nDone", ["    x = 1\n    y = 2\n"]),
        ("\tx = 1", ["\tx = 1"]),
        ("- a\n    - b\n    - c", []),
        ("no code ``` here", []),
        ("", []),
        ("    \n", []),
    ],
)
def test_code_is_what_is_fenced_or_indented(text: str, code: list[str]) -> None:
    assert [text[start:end] for start, end in find_code(text)] == code


def test_touching_is_sharing_a_character() -> None:
    assert is_within(3, 6, [(5, 9)])
    assert not is_within(3, 5, [(5, 9)])
    assert not is_within(9, 12, [(5, 9)])
