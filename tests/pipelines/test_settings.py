"""The configuration: file and environment, errors that name what is wrong, secrets that stay hidden."""

import os
from pathlib import Path

import pytest

from pipelines.settings import WeirSettings, load_settings
from protector_models.moderation.errors import ConfigurationError

SECRET = "hunter2hunter2"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("WEIR_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weir.yaml"


def error_of(path: Path | None, content: str | bytes | None = None) -> str:
    if path is not None and content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message + repr(caught.value.__cause__)
    return message


def test_without_file_and_variables_the_defaults_are_in_force() -> None:
    assert load_settings(None) == WeirSettings()


@pytest.mark.parametrize("content", ["", "# nothing but a comment\n", "---\n", "{}", "\ufeff"])
def test_an_empty_file_leaves_the_defaults_in_force(file: Path, content: str) -> None:
    file.write_text(content)
    assert load_settings(file) == WeirSettings()


def test_a_file_changes_what_it_names_and_nothing_else(file: Path) -> None:
    file.write_text("stream: {group: g, dead_letters: {topic: d}}\nlog: {level: debug}\n")
    settings = load_settings(file)
    assert (settings.stream.group, settings.stream.dead_letters.topic, settings.log.level) == ("g", "d", "debug")
    assert settings.stream.sink_topic == WeirSettings().stream.sink_topic
    assert settings.stream.dead_letters.runaway_window == WeirSettings().stream.dead_letters.runaway_window


def test_the_file_that_a_variable_names_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("stream: {group: g}")
    monkeypatch.setenv("WEIR_CONFIG", str(file))
    assert load_settings(None).stream.group == "g"


def test_a_file_that_is_named_wins_over_the_one_of_the_variable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("stream: {group: g}")
    monkeypatch.setenv("WEIR_CONFIG", str(file.with_name("other.yaml")))
    assert load_settings(file).stream.group == "g"


def test_a_variable_overrides_one_key_of_the_file_and_leaves_its_neighbours(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("stream: {group: file, sink_topic: file, dead_letters: {topic: dead, runaway_window: 5}}")
    monkeypatch.setenv("WEIR_STREAM__GROUP", "variable")
    monkeypatch.setenv("WEIR_STREAM__DEAD_LETTERS__TOPIC", "variable")
    stream = load_settings(file).stream
    assert (stream.group, stream.sink_topic) == ("variable", "file")
    assert (stream.dead_letters.topic, stream.dead_letters.runaway_window) == ("variable", 5)


def test_lists_and_sections_in_variables_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", '["a:1", "b:2"]')
    monkeypatch.setenv("WEIR_SERVE__DETECTOR__RESOURCES", '{"Accelerator": 1}')
    monkeypatch.setenv("WEIR_LOG", '{"level": "error"}')
    settings = load_settings(None)
    assert settings.kafka.bootstrap_servers == ("a:1", "b:2")
    assert settings.serve.detector.resources == {"Accelerator": 1.0}
    assert settings.log.level == "error"


@pytest.mark.parametrize("key", ["WEIR_KAFKA__BOOTSTRAP_SERVERS", "WEIR_LOG"])
def test_a_variable_that_is_not_json_where_it_must_be_is_named(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(key, SECRET)
    assert error_of(None) == f"environment variable {key}: expected JSON for a section or a list"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEIR_DETECTOR", '{"kind": "onnx", "kind": "bag_of_words"}'),
        ("WEIR_LOG", r'{"level": "error", "le\u0076el": "info"}'),
        ("WEIR_SERVE__DETECTOR__RESOURCES", '{"a": 1, "a": 1}'),
        ("WEIR_STREAM__DEAD_LETTERS", '{"topic": "a", "topic": "b"}'),
        ("WEIR_DETECTOR__CASCADE", '{"first": {"kind": "onnx", "kind": "bag_of_words"}}'),
        ("weir_log", '{"level": "error", "level": "error"}'),
    ],
)
def test_a_key_that_is_there_twice_in_a_variable_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert error_of(None) == f"environment variable {name}: a key is there twice"


def test_a_relative_policy_is_beside_the_file(file: Path) -> None:
    file.write_text("policy: rules/policy.yaml\nshadow_policy: rules/next.yaml")
    assert load_settings(file).policy == file.parent / "rules" / "policy.yaml"
    assert load_settings(file).shadow_policy == file.parent / "rules" / "next.yaml"


def test_relative_checkpoints_are_beside_the_file(file: Path) -> None:
    file.write_text("detector: {checkpoint: weights, max_windows: 3}\ndetoxifier: {checkpoint: edits, num_threads: 1}")
    settings = load_settings(file)
    assert (settings.detector.checkpoint, settings.detector.max_windows) == (file.parent / "weights", 3)
    assert (settings.detoxifier.checkpoint, settings.detoxifier.num_threads) == (file.parent / "edits", 1)


def test_a_model_that_begins_with_a_dot_is_beside_the_file(file: Path) -> None:
    guard = "{kind: transformers, model: %s, adapter: %s, description: %s, template: guard.txt}"
    first, second = (
        guard % ("./small", "org/adapter", "mine.yaml"),
        guard % ("org/large", "../adapter", "llama-guard-3"),
    )
    file.write_text(f"detector: {{kind: cascade, cascade: {{first: {first}, second: {second}, band: [0.1, 0.9]}}}}")
    cascade = load_settings(file).detector.cascade
    assert cascade is not None
    beside = file.parent
    assert (cascade.first.model, cascade.first.adapter) == (str(beside / "small"), "org/adapter")
    assert (cascade.second.model, cascade.second.adapter) == ("org/large", str(beside / "../adapter"))
    assert (cascade.first.description, cascade.second.description) == (str(beside / "mine.yaml"), "llama-guard-3")
    assert cascade.first.template == cascade.second.template == beside / "guard.txt"


def test_files_of_images_are_beside_the_file(file: Path) -> None:
    fetch = "{schemes: [file, https], roots: [pictures, /mnt], hosts: [example.org], ca_file: ca.pem}"
    file.write_text(f"images: {{fetch: {fetch}, known: {{file: known.txt}}}}")
    images, beside = load_settings(file).images, file.parent
    assert images.fetch.roots == (beside / "pictures", Path("/mnt"))
    assert images.fetch.ca_file == beside / "ca.pem"
    assert images.known is not None
    assert images.known.file == beside / "known.txt"


def test_the_edit_model_may_be_switched_on_and_off_in_words(file: Path) -> None:
    for word, expected in (("on", True), ("off", False)):
        file.write_text(f"detoxifier: {{edit: {word}}}")
        assert load_settings(file).detoxifier.edit is expected


@pytest.mark.parametrize("content", ["{}", "policy: mine.yaml\ndetector: {checkpoint: mine, max_windows: 3}"])
def test_a_relative_path_in_a_variable_is_in_the_working_directory(
    file: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(content)
    monkeypatch.setenv("WEIR_POLICY", "p.yaml")
    monkeypatch.setenv("WEIR_DETECTOR__CHECKPOINT", "weights")
    settings = load_settings(file)
    assert (settings.policy, settings.detector.checkpoint) == (Path("p.yaml"), Path("weights"))


def test_an_absolute_policy_stays_where_it_is(file: Path) -> None:
    file.write_text("policy: /etc/weir/policy.yaml")
    assert load_settings(file).policy == Path("/etc/weir/policy.yaml")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("kafak: {}", "line 1: kafak: unknown key; did you mean kafka?"),
        ("stream: {grup: g}", "line 1: stream.grup: unknown key; did you mean group?"),
        (
            "stream:\n  dead_letters: {topics: d}",
            "line 2: stream.dead_letters.topics: unknown key; did you mean topic?",
        ),
        (
            f"log: {{}}\nkafka: {{sasl_pasword: {SECRET}}}",
            "line 2: kafka.sasl_pasword: unknown key; did you mean sasl_password or ssl_password?",
        ),
        ("log: {verbosity: 3}", "line 1: log.verbosity: unknown key; expected one of: format, level"),
    ],
)
def test_an_unknown_key_of_the_file_is_named(file: Path, content: str, expected: str) -> None:
    assert error_of(file, content) == f"{file}, {expected}"


@pytest.mark.parametrize("name", ["WEIR_KAFAK__BOOTSTRAP_SERVERS", "WEIR_STREAM_GROUP", "WEIR_CONFIGS", "weir_kafak"])
def test_a_variable_of_an_unknown_section_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, SECRET)
    message = error_of(None)
    assert message.startswith(f"environment variable {name}: unknown; expected WEIR_ and one of: detector,")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("WEIR_STREAM__GRUP", "group"),
        ("WEIR_STREAM__DEAD_LETTERS__TOPICS", "topic"),
        ("WEIR_KAFKA__SASL_PASWORD", "sasl_password or ssl_password"),
    ],
)
def test_a_variable_of_an_unknown_key_is_named_not_the_file(
    file: Path, name: str, near: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SECRET)
    expected = f"environment variable {name}: unknown key; did you mean {near}?"
    assert error_of(file, "stream: {group: g}") == expected


def test_variables_of_others_and_of_the_tests_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEIRD", "OTHER_WEIR_KAFKA", "WEIR_TEST_KAFKA"):
        monkeypatch.setenv(name, "x")
    assert load_settings(None) == WeirSettings()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "stream: {batch_max_records: 0}",
            "stream.batch_max_records: expected greater than or equal to 1, got 0",
        ),
        ("stream: {batch_max_records: many}", "stream.batch_max_records: expected a valid integer"),
        ("stream: {delivery: twice}", "'exactly_once' or 'at_least_once', got 'twice'"),
        ("kafka: {bootstrap_servers: []}", "kafka.bootstrap_servers: Tuple should have at least 1 item"),
        ("kafka: localhost", "kafka: expected a mapping, got str"),
        ("log: null", "log: expected a mapping, got nothing"),
        ("log: {level: loud}", "got 'loud'"),
        ("redis: {ttl_s: -1}", "redis.ttl_s: expected greater than or equal to 1, got -1"),
        ("serve: {detector: {min_replicas: 3}}", "expected at least min_replicas (3), got 1"),
        ("detector: {device: cuda}", "engine 'onnx': expected device 'cpu', got 'cuda'"),
        ("mllm: {kind: openai}", "expected model and base_url to be set"),
        ("policy: [a]", "policy: "),
        ("stream: {source_topic: ''}", "stream.source_topic: expected the name of a topic"),
        ("stream: {sink_topic: a/b}", "got 'a/b'"),
        ("stream: {sink_topic: '..'}", "expected the name of a topic"),
        ('stream: {sink_topic: "a\\n"}', "expected the name of a topic"),
        (f"stream: {{dead_letters: {{topic: {'x' * 250}}}}}", "stream.dead_letters.topic: expected the"),
        ("stream: {group: ''}", "stream.group: String should have at least 1 character"),
        ("stream: {source_topic: a, sink_topic: a}", "expected three different topics as source_topic, sink_topic"),
        ("stream: {dead_letters: {topic: weir.moderated}}", "got weir.conversations, weir.moderated, weir.moderated"),
        (
            "stream: {max_poll_interval_s: 59}",
            "max_poll_interval_s: expected at least transaction_timeout_s (60), got 59",
        ),
        ("kafka: {1: 2}", "kafka"),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(file: Path, content: str, expected: str) -> None:
    message = error_of(file, content)
    assert message.startswith(f"{file}, line 1: ")
    assert expected in message


def test_a_bad_variable_is_named_with_what_was_expected(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_STREAM__BATCH_MAX_RECORDS", "0")
    message = error_of(file, "stream: {batch_max_records: 5}")
    expected = "environment variable WEIR_STREAM__BATCH_MAX_RECORDS: expected greater than or equal to 1, got '0'"
    assert message == expected


def test_all_faults_are_told_at_once(file: Path) -> None:
    message = error_of(file, "a: 1\nstream: {batch_max_records: 0}\nlog: {level: loud}")
    assert all(named in message for named in ("a: unknown key", "stream.batch_max_records", "log.level"))


@pytest.mark.parametrize("content", ["[1, 2]", "text", "5", "1: 2"])
def test_a_file_that_is_no_mapping_of_sections_is_refused(file: Path, content: str) -> None:
    assert "expected a mapping of sections" in error_of(file, content)


@pytest.mark.parametrize(
    "content",
    [
        f"kafka: {{sasl_password: {SECRET}",
        f"redis:\n  url: 'redis://:{SECRET}@host\n",
        f"a: b: {SECRET}",
        f"\t{SECRET}: 1",
        f"a: *{SECRET}",
        b"\xff\xfe\xff",
        "a: \x00",
        "log: 2026-13-45",
    ],
)
def test_a_file_that_is_not_yaml_is_refused_without_quoting_it(file: Path, content: str | bytes) -> None:
    assert error_of(file, content).startswith(str(file))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert error_of(tmp_path / "none.yaml") == f"{tmp_path / 'none.yaml'}: cannot be read: No such file or directory"
    assert error_of(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"


SECRETS = f"""
kafka: {{sasl_password: {SECRET}, ssl_password: {SECRET}}}
redis: {{url: "redis://:{SECRET}@host"}}
mllm: {{kind: openai, base_url: "http://host/v1", model: m, api_key: {SECRET}}}
"""


def test_secrets_are_there_and_are_not_shown(file: Path) -> None:
    file.write_text(SECRETS)
    settings = load_settings(file)
    assert settings.kafka.sasl_password is not None
    assert settings.kafka.sasl_password.get_secret_value() == SECRET
    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert SECRET not in shown


@pytest.mark.parametrize(
    "content",
    [
        f"redis: redis://:{SECRET}@host",
        f"redis: {{url: [{SECRET}]}}",
        f"redis: {{url: {{host: {SECRET}}}}}",
        f"mllm: {{kind: openai, api_key: {SECRET}}}",
        f"mllm: {{api_key: [{SECRET}]}}",
        f"mllm: {{base_url: 'https://user:{SECRET}@host/v1'}}",
        f"mllm: {{kind: openai, model: m, base_url: 'https://{SECRET}@host/v1'}}",
        f"kafka: {SECRET}",
        f"kafka: [{SECRET}]",
        f"kafka: {{sasl_password: {{a: {SECRET}}}}}",
        f"{SECRETS}\nlog: {{level: loud}}",
    ],
)
def test_an_error_never_shows_what_may_be_a_secret(file: Path, content: str) -> None:
    assert error_of(file, content)


@pytest.mark.parametrize("name", ["WEIR_REDIS", "WEIR_KAFKA", "WEIR_MLLM", "WEIR_KAFKA__SASL_PASSWORD__VALUE"])
@pytest.mark.parametrize("value", [SECRET, f'{{"url": "{SECRET}"', f'"{SECRET}"', f'["{SECRET}"]'])
def test_an_error_never_shows_the_value_of_a_variable_that_may_be_a_secret(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert error_of(None)


@pytest.mark.parametrize("url", [f"https://user:{SECRET}@host/v1", f"https://{SECRET}@host", f"user:{SECRET}@host:1/a"])
def test_a_password_in_the_address_of_the_mllm_is_refused(file: Path, url: str) -> None:
    message = error_of(file, f"mllm: {{base_url: '{url}'}}")
    assert message.startswith(f"{file}, line 1: mllm.base_url: ")
    assert "a key belongs in api_key" in message


GENERATOR = "kind: openai, model: m, base_url: 'http://host/v1'"


@pytest.mark.parametrize("rewrite_s", [179.5, 180])
def test_a_call_for_rewrites_that_ends_before_the_generator_must_is_refused(file: Path, rewrite_s: float) -> None:
    content = f"detoxifier: {{generator: {{{GENERATOR}}}}}\nserve: {{deadlines: {{rewrite_s: {rewrite_s}}}}}"
    assert error_of(file, content) == (
        f"{file}: serve.deadlines.rewrite_s: expected more than detoxifier.generator.deadline_s (180 s), "
        f"got {rewrite_s:g} s"
    )


def test_the_deadline_of_a_variable_is_compared_as_well(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_DETOXIFIER__GENERATOR__DEADLINE_S", "240")
    message = error_of(file, f"detoxifier: {{generator: {{{GENERATOR}, api_key: {SECRET}}}}}")
    assert message.endswith("expected more than detoxifier.generator.deadline_s (240 s), got 240 s")
    monkeypatch.setenv("WEIR_SERVE__DEADLINES__REWRITE_S", "241")
    assert load_settings(file).serve.deadlines.rewrite_s == 241


def test_without_a_generator_calls_for_rewrites_may_be_short(file: Path) -> None:
    file.write_text("serve: {deadlines: {rewrite_s: 5}}")
    assert load_settings(file).serve.deadlines.rewrite_s == 5


ENDPOINT = "kind: openai, base_url: 'http://host/v1', model: m"
GUARD = f"{{{ENDPOINT}, description: llama-guard-3, deadline_s: 70}}"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (
            f"mllm: {{{ENDPOINT}, deadline_s: 240}}",
            "serve.deadlines.generate_s: expected more than mllm.deadline_s (240 s)",
        ),
        (
            "images: {time_limit_s: 100}",
            "images_s: expected more than 3 * images.time_limit_s (300 s), got 200 s",
        ),
        (
            f"detector: {{{ENDPOINT}, description: llama-guard-3, deadline_s: 120}}",
            "assess_s: expected more than detector.deadline_s of every endpoint in it (120 s), got 120 s",
        ),
        (
            f"detector: {{kind: cascade, cascade: {{first: {GUARD}, second: {GUARD}, band: [0.1, 0.9]}}}}",
            "assess_s: expected more than detector.deadline_s of every endpoint in it (140 s), got 120 s",
        ),
    ],
)
def test_a_call_that_ends_before_the_model_behind_it_must_is_refused(file: Path, content: str, named: str) -> None:
    assert named in error_of(file, content)


def test_keys_of_the_front_come_from_the_file_and_from_a_variable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(None).http is None
    file.write_text(f"http: {{host: 0.0.0.0, keys: [{{tenant: acme, sha256: {'a' * 64}}}]}}")
    http = load_settings(file).http
    assert http is not None
    assert [key.tenant for key in http.keys] == ["acme"]
    monkeypatch.setenv("WEIR_HTTP__KEYS", f'[{{"tenant": "kids", "sha256": "{"b" * 64}"}}]')
    http = load_settings(file).http
    assert http is not None
    assert ([key.tenant for key in http.keys], http.host) == (["kids"], "0.0.0.0")


def test_a_front_that_would_answer_everybody_is_refused(file: Path) -> None:
    message = error_of(file, "http: {host: 0.0.0.0}")
    assert "expected a loopback address" in message
    assert "line 1" in message


SCALING_FRONT = "serve: {http: {min_replicas: 1, max_replicas: 4}, detector: {min_replicas: 1, max_replicas: 4}}"


def test_behind_haproxy_the_front_has_a_fixed_number_of_replicas_and_its_models_scale(file: Path) -> None:
    message = error_of(file, f"http: {{ingress: haproxy}}\n{SCALING_FRONT}")
    assert "serve.http: expected as many max_replicas as min_replicas with http.ingress 'haproxy'" in message
    assert message.endswith("got 1 and 4")
    file.write_text(f"http: {{ingress: proxy}}\n{SCALING_FRONT}")
    assert load_settings(file).serve.http.max_replicas == 4
    file.write_text(f"http: {{ingress: haproxy}}\n{SCALING_FRONT.replace('min_replicas: 1', 'min_replicas: 4', 1)}")
    settings = load_settings(file)
    assert settings.http is not None
    assert (settings.http.ingress, settings.serve.detector.min_replicas) == ("haproxy", 1)


@pytest.mark.parametrize("ports", ["{stats_port: 8080}", "{metrics_port: 8080}", "{stats_port: 9101}"])
def test_haproxys_ports_are_its_own(file: Path, ports: str) -> None:
    assert "expected stats_port and metrics_port to differ" in error_of(
        file, f"http: {{ingress: haproxy, haproxy: {ports}}}"
    )
    file.write_text(f"http: {{haproxy: {ports}}}")
    assert load_settings(file).http is not None
