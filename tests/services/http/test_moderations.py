"""`POST /v1/moderations`, as OpenAI has it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.fakes import POISON
from protector_models.moderation.policy.policy import TenantOverrides
from protector_models.moderation.verdict import Action
from services.http.categories import OPENAI_CATEGORIES, OWN_CATEGORIES
from services.http.moderations import write_answer
from tests.builders import event, policy, rule
from tests.loop_watchdog import watch_callbacks
from tests.protector_models.moderation.rig import verdicts
from tests.services.http.front import HARM_ME, Front, error_of

THIRTEEN = [
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm"),
    *("self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence", "violence/graphic"),
]


def image(url: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}}


def text(said: str) -> dict[str, object]:
    return {"type": "text", "text": said}


async def test_a_harmless_text_is_not_flagged_and_every_category_stands_there() -> None:
    answer = await Front().moderate("Take the bus.")
    assert answer["id"].startswith("modr-")
    assert answer["model"] == "fake-detector@1"
    [result] = answer["results"]
    assert result["flagged"] is False
    for name in ("categories", "category_scores", "category_applied_input_types"):
        assert list(result[name]) == [*THIRTEEN, *OWN_CATEGORIES]
    assert not any(result["categories"].values())
    assert set(result["category_scores"].values()) == {0.0}


async def test_a_harmful_text_is_flagged_in_the_category_that_is_openais_name_for_ours() -> None:
    [result] = (await Front().moderate("harm=0.9 category=self_harm"))["results"]
    assert result["flagged"] is True
    assert [name for name, is_in in result["categories"].items() if is_in] == ["self-harm"]
    assert result["category_scores"]["self-harm"] == 0.9
    assert result["category_applied_input_types"]["self-harm"] == ["text"]
    assert result["category_applied_input_types"]["self-harm/intent"] == []
    assert result["weir"]["action"] == "rewrite"
    assert result["weir"]["category"] == "self_harm"


@pytest.mark.parametrize("category", OWN_CATEGORIES)
async def test_harm_that_openai_has_no_name_for_is_flagged_too(category: str) -> None:
    [result] = (await Front().moderate(f"harm=0.9 category={category}"))["results"]
    assert result["flagged"] is True
    assert [name for name, is_in in result["categories"].items() if is_in] == [category]


async def test_harm_of_no_category_is_flagged_though_no_category_is() -> None:
    [result] = (await Front().moderate("harm=0.9"))["results"]
    assert (result["flagged"], any(result["categories"].values())) == (True, False)
    assert result["weir"]["category"] == "unspecified"


async def test_a_category_of_a_detectors_own_stands_beside_the_others() -> None:
    [result] = (await Front().moderate("harm=0.9 category=spam"))["results"]
    assert list(result["categories"])[-1] == "spam"
    assert result["categories"]["spam"] is True


async def test_every_category_of_ours_has_one_place() -> None:
    ours = [category.ours for category in OPENAI_CATEGORIES.values() if category.ours is not None]
    assert sorted([*ours, *OWN_CATEGORIES]) == sorted(
        [
            *("harassment", "hate", "illicit", "self_harm", "sexual", "sexual_minors", "violence"),
            *("privacy", "deception", "unsafe_advice"),
        ]
    )


async def test_categories_whose_own_rules_apply_are_flagged_beside_the_one_that_led_to_the_action() -> None:
    rules = policy(rules=[rule(0.8), rule(0.3, category="hate"), rule(0.95, category="violence")])
    [result] = (await Front(policy=rules).moderate("harm=0.5 category=hate category=violence category=sexual"))[
        "results"
    ]
    assert [name for name, is_in in result["categories"].items() if is_in] == ["hate"]


async def test_a_list_of_texts_has_a_result_for_each_in_order() -> None:
    answer = await Front().moderate(["fine", HARM_ME, "fine"])
    assert [result["flagged"] for result in answer["results"]] == [False, True, False]


async def test_texts_are_judged_alone_without_a_prompt() -> None:
    front = Front()
    await front.moderate(["one", "two"])
    assert [(exchange.question(), exchange.response) for exchange in front.detector.assessed] == [
        ("", "one"),
        ("", "two"),
    ]


async def test_parts_have_one_result_and_what_stands_in_images_is_judged() -> None:
    front = Front(images={"data:good": b"a sunny day", "data:bad": b"harm=0.9 category=violence"})
    [result] = (await front.moderate([text("Look"), image("data:good"), image("data:bad"), text("here")]))["results"]
    assert result["flagged"] is True
    assert result["categories"]["violence"] is True
    assert result["category_applied_input_types"]["violence"] == ["text", "image"]
    # OpenAI's clients know no images in others.
    [result] = (await front.moderate([image("data:bad"), text("category=hate")]))["results"]
    assert result["category_applied_input_types"]["hate"] == ["text"]
    assert front.detector.assessed[0].response == "Look\nhere\na sunny day\nharm=0.9 category=violence"


async def test_an_image_alone_is_judged_by_what_stands_in_it() -> None:
    front = Front(images={"data:bad": HARM_ME.encode()})
    [result] = (await front.moderate([image("data:bad")]))["results"]
    assert result["flagged"] is True


async def test_an_image_that_is_not_read_is_flagged_and_told() -> None:
    [result] = (await Front().moderate([text("Look"), image("https://example.org/a.png")]))["results"]
    assert result["flagged"] is True
    assert result["weir"]["action"] == "review"
    assert [found["reason"] for found in result["weir"]["images"]] == ["FetchFailed"]


async def test_nothing_is_rewritten_for_a_moderation_call() -> None:
    front = Front()
    await front.moderate([HARM_ME] * 3)
    assert front.detoxifier is not None
    assert front.detoxifier.requested == []


async def test_in_the_shadow_mode_of_a_tenant_nothing_is_flagged_and_the_verdict_says_what_would_be() -> None:
    [result] = (await Front(policy=policy(shadow=True)).moderate(HARM_ME))["results"]
    assert result["flagged"] is False
    assert not any(result["categories"].values())
    assert (result["weir"]["action"], result["weir"]["shadow_action"]) == ("allow", "rewrite")


async def test_a_text_that_cannot_be_judged_refuses_the_call_and_is_named() -> None:
    answer = await Front().post("/v1/moderations", {"input": ["fine", POISON, "fine"]})
    error = error_of(answer, 422)
    assert (error["code"], error["param"]) == ("not_judged", "input[1]")
    assert "results" not in answer.json()


@pytest.mark.parametrize(("on_failure", "flagged"), [(Action.ALLOW, False), (Action.REVIEW, True)])
async def test_what_a_policy_says_of_a_failing_detector_is_done(on_failure: Action, *, flagged: bool) -> None:
    front = Front(policy=policy(on_failure=on_failure))
    [result] = (await front.moderate(POISON))["results"]
    assert result["flagged"] is flagged
    assert result["weir"]["harmfulness"] is None
    assert result["weir"]["evaluation_status"]["assessment"] == "failed"
    assert not any(result["category_applied_input_types"].values())
    assert front.metrics.total("weir_failures_decided_by_policy_total") == 1


@pytest.mark.parametrize("model", [None, "weir", "fake-detector@1", "omni-moderation-latest", "text-moderation-stable"])
async def test_the_detector_is_named_by_itself_by_weir_and_by_openais_names(model: str | None) -> None:
    assert (await Front().moderate("fine", model=model))["model"] == "fake-detector@1"


async def test_an_answer_with_very_many_results_is_written_beside_the_event_loop() -> None:
    front = Front()
    [verdict] = verdicts(await front.moderator.in_shadow().moderate([event(HARM_ME)]))
    with watch_callbacks() as slow:
        answer = await write_answer("id", [verdict] * 3_000, front.policy, model="none")
    assert slow == []
    assert len(json.loads(answer)["results"]) == 3_000


async def test_a_detector_that_was_replaced_goes_by_its_new_name() -> None:
    front = Front()
    await front.moderate("one")
    front.detector.revision = "fake-detector@2"
    assert (await front.moderate("two", model="fake-detector@2"))["model"] == "fake-detector@2"
    assert (await front.post("/v1/moderations", {"input": "x", "model": "fake-detector@1"})).status_code == 404


async def test_an_unknown_model_is_not_found() -> None:
    answer = await Front().post("/v1/moderations", {"input": "fine", "model": "gpt-secret"})
    error = error_of(answer, 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "gpt-secret" not in answer.text


@pytest.mark.parametrize(
    ("given_input", "param"),
    [
        ("", "input"),
        ([], "input"),
        (["fine", ""], "input[1]"),
        (["fine", 7], "input[1]"),
        (["fine", text("a part")], "input[0]"),
        ([text("")], "input"),
        ([{"type": "text"}], "input[0].text"),
        ([{"type": "audio", "audio": "x"}], "input[0]"),
        ([image("")], "input[0].image_url.url"),
        ([{"type": "image_url", "image_url": "data:x"}], "input[0].image_url"),
        (7, "input"),
        (None, "input"),
        ({"text": "x"}, "input"),
        ([["nested"]], "input[0]"),
        ([image("data:a")] * 1_001, "input"),
        ([text("a")] * 20_000, "input"),
    ],
)
async def test_an_input_of_another_form_is_refused_and_its_place_is_named(given_input: object, param: str) -> None:
    answer = await Front().post("/v1/moderations", {"input": given_input})
    error = error_of(answer, 400)
    assert (error["code"], error["param"], error["type"]) == ("invalid_value", param, "invalid_request_error")


async def test_results_are_counted_by_what_the_policy_does() -> None:
    front = Front()
    await front.moderate(["fine", HARM_ME, "fine"])
    labels = {"route": "/v1/moderations", "action": "allow"}
    assert front.metrics.counts["weir_http_results_total", frozenset(labels.items())] == 2


async def test_without_keys_the_rules_are_those_of_everybody() -> None:
    rules = policy(tenants={"acme": TenantOverrides(shadow=True)})
    [result] = (await Front(policy=rules).moderate(HARM_ME))["results"]
    assert result["flagged"] is True


@given(st.lists(st.sampled_from(["fine", HARM_ME, "harm=0.4 category=violence", "harm=1 category=spam", "é"])))
async def test_a_batch_has_the_results_of_its_texts_one_by_one(texts: list[str]) -> None:
    if not texts:
        return
    together = (await Front().moderate(texts))["results"]
    alone = [(await Front().moderate(each))["results"][0] for each in texts]
    for result in (*together, *alone):
        del result["weir"]["cached"]
    assert together == alone
