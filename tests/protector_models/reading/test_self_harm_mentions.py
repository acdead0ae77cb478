@pytest.mark.parametrize("text", ["Suicide runs in my family.", "how suicide attacks you at night"])
def test_what_suicide_does_is_no_name(text: str) -> None:
    assert speaks_of_self_harm(text)
