"""Commands start fast: what takes seconds to import is imported by the commands that need it."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.shipped

SLOW = ("ray", "kafka", "torch", "transformers", "onnxruntime", "redis", "sklearn", "matplotlib")


def imported_after(code: str, *, stdin: bytes = b"") -> set[str]:
    """Run code in a Python of its own; return which slow modules it has imported then."""
    program = f"{code}\nimport sys; print(*sorted(set({SLOW}) & sys.modules.keys()), file=sys.stderr)"
    finished = subprocess.run(
        [sys.executable, "-c", program], input=stdin, capture_output=True, check=True, timeout=100
    )
    return set(finished.stderr.decode().splitlines()[-1].split())


def run(*arguments: str) -> str:
    return (
        f"import sys; sys.argv = {['weir', *arguments]}\n"
        "from pipelines.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code"
    )


def test_the_command_line_imports_nothing_slow() -> None:
    assert imported_after("import pipelines.__main__") == set()


def test_help_and_version_import_nothing_slow() -> None:
    assert imported_after(run("--help")) == set()
    assert imported_after(run("version")) == set()


def test_moderating_imports_neither_ray_nor_kafka_nor_torch() -> None:
    event = {
        "schema_version": 1,
        "event_id": "e",
        "conversation_id": "c",
        "occurred_at": "2026-01-31T12:00:00Z",
        "messages": [{"role": "user", "content": "How do I get home?"}],
        "response": "Take the bus.",
    }
    imported = imported_after(run("moderate", "-"), stdin=json.dumps(event).encode())
    assert imported == {"onnxruntime", "redis"}
