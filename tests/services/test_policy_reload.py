"""The policy file while a service runs: what a change of it changes, and when."""

import asyncio
import tempfile
import threading
from pathlib import Path

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from protector_models.moderation.fakes import RecordedMetrics
from protector_models.moderation.policy.policy import Policy
from protector_models.policies.policy_file import load_policy, parse_policy
from services import policy_reload
from services.configuration import ModerationSettings
from services.policy_reload import PolicyReload

TEXT = """\
version: VERSION
rules: [{category: any, threshold: 0.5, action: rewrite}]
safe_completions: {default: "a secret text"}
tenants: {kids: {on_unread_text: block}}
"""


def written(version: str) -> bytes:
    return TEXT.replace("VERSION", version).encode()


HALF = written("half-written")[:-20]
UNFIT = written("unfit").replace(b"any", b"gossip")
MISSPELT = written("misspelt").replace(b"rules:", b"rulez:")
CONTENTS = (written("v1"), written("v2"), written("v2") + b"# a remark\n", HALF, UNFIT, MISSPELT, b"", None)
USABLE = frozenset({written("v1"), written("v2"), written("v2") + b"# a remark\n"})


def put(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(content)


def reload_of(path: Path, metrics: RecordedMetrics) -> PolicyReload:
    settings = ModerationSettings(policy=path, policy_reload_s=0.01)
    return PolicyReload(path, load_policy(None), settings=settings, metrics=metrics)


def outcomes(metrics: RecordedMetrics) -> dict[str, int]:
    return {
        dict(labels)["outcome"]: number
        for (name, labels), number in metrics.counts.items()
        if name == "weir_policy_reloads_total"
    }


@given(at_start=st.sampled_from(CONTENTS), later=st.lists(st.sampled_from(CONTENTS), max_size=12))
@settings(max_examples=40, deadline=None)
async def test_in_force_is_the_last_usable_policy_that_stood_still_between_two_looks(
    at_start: bytes | None, later: list[bytes | None]
) -> None:
    with tempfile.TemporaryDirectory() as folder, structlog.testing.capture_logs():
        path, metrics = Path(folder) / "policy.yaml", RecordedMetrics()
        put(path, at_start)
        reload = reload_of(path, metrics)
        expected = load_policy(path).revision if at_start in USABLE else load_policy(None).revision
        assert (await reload.begin()).revision == expected
        before, num_loaded = at_start, int(at_start in USABLE)
        for content in later:
            put(path, content)
            is_new = content == before and content in USABLE and load_policy(path).revision != expected
            assert await reload.look() == is_new
            if is_new:
                expected, num_loaded = load_policy(path).revision, num_loaded + 1
            assert reload.policy.revision == expected
            before = content
        assert outcomes(metrics).get("loaded", 0) == num_loaded


@pytest.mark.parametrize(
    ("content", "outcome"),
    [(HALF, "refused"), (UNFIT, "refused"), (MISSPELT, "refused"), (b"", "refused"), (None, "unreadable")],
    ids=["half-written", "unfit", "misspelt", "empty", "gone"],
)
async def test_a_file_that_cannot_be_used_is_counted_and_told_once_and_nothing_of_it_is_quoted(
    tmp_path: Path, content: bytes | None, outcome: str
) -> None:
    path, metrics = tmp_path / "policy.yaml", RecordedMetrics()
    put(path, written("v1"))
    reload = reload_of(path, metrics)
    before = await reload.begin()
    put(path, content)
    with structlog.testing.capture_logs() as lines:
        for _ in range(5):
            assert not await reload.look()
    assert reload.policy is before
    assert outcomes(metrics) == {"loaded": 1, outcome: 1}
    (line,) = lines
    assert line["log_level"] == "error"
    assert line["policy"] == before.revision
    for quoted in ("secret", "gossip", "rulez", "misspelt", "half-written"):
        assert quoted not in str(line)
    put(path, written("v2"))
    assert [await reload.look() for _ in range(2)] == [False, True]


async def test_the_lines_at_fault_are_told(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    put(path, MISSPELT)
    with structlog.testing.capture_logs() as lines:
        await reload_of(path, RecordedMetrics()).begin()
    assert lines[0]["lines"] == [None, 2]  # what is missing stands in no line


async def test_whatever_goes_wrong_the_watch_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, metrics = tmp_path / "policy.yaml", RecordedMetrics()
    put(path, written("v1"))
    reload = reload_of(path, metrics)

    def fail(*_: object) -> None:
        raise KeyError("a secret text")

    with monkeypatch.context() as broken, structlog.testing.capture_logs() as lines:
        broken.setattr(policy_reload, "require_fitting_policy", fail)
        await reload.begin()
    assert outcomes(metrics) == {"failed": 1}
    assert "secret" not in str(lines)
    put(path, written("v2"))
    assert [await reload.look() for _ in range(2)] == [False, True]


async def test_files_are_read_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, threads = tmp_path / "policy.yaml", set[int]()
    put(path, written("v1"))

    def noting(content: bytes, path: Path) -> Policy:
        threads.add(threading.get_ident())
        return parse_policy(content, path)

    monkeypatch.setattr(policy_reload, "parse_policy", noting)
    await reload_of(path, RecordedMetrics()).begin()
    assert threads
    assert threading.get_ident() not in threads


async def test_while_it_is_watched_each_policy_that_comes_into_force_is_handed_on(tmp_path: Path) -> None:
    path, metrics = tmp_path / "policy.yaml", RecordedMetrics()
    put(path, written("v1"))
    reload = reload_of(path, metrics)
    await reload.begin()
    handed: asyncio.Queue[Policy] = asyncio.Queue()
    async with asyncio.timeout(30), reload.watching(handed.put_nowait):
        for version in ("v2", "v1", "v3"):
            put(path, written(version))
            assert (await handed.get()).version == version
    assert handed.empty()


async def test_without_a_file_there_is_nothing_to_watch() -> None:
    metrics = RecordedMetrics()
    reload = PolicyReload(None, load_policy(None), settings=ModerationSettings(policy_reload_s=0.001), metrics=metrics)
    assert await reload.begin() == load_policy(None)
    async with reload.watching(lambda policy: pytest.fail(f"nobody changed {policy.revision}")):
        await asyncio.sleep(0.02)
    assert not await reload.look()
    assert outcomes(metrics) == {}
