"""The public names of the core: which there are, and that each says what it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from protector_models import moderation

PROJECT = Path(__file__).parents[3]

LISTED = frozenset(
    {
        # What comes in.
        *("ConversationEvent", "Message", "TextPart", "ImagePart", "ImageUrl", "UnreadContent", "UnreadKind"),
        *("Exchange", "SeenImage", "UnreadPart"),
        # What comes out.
        *("Outcome", "Verdict", "ModeratedConversation", "EvaluationStatus", "ImageFinding", "ImageStatus"),
        *("Failure", "Stage", "StageStatus", "Action", "UNSPECIFIED"),
        # What decides, and by what.
        *("Moderator", "moderate_isolating", "Policy", "TenantRules", "TenantOverrides", "Rule", "ImageRule"),
        # Ports, and what models are given and give.
        *("Moderates", "HarmDetector", "Detoxifier", "ResponseGenerator", "ImageSource", "ImageReader"),
        *("VerdictCache", "MemoryVerdictCache", "Metrics"),
        *("Assessment", "Coverage", "UnreadImage", "ItemFailure", "Answer", "RewriteRequest", "Rewrite"),
        *("RewriteMethod", "Span", "ImageContent", "ImageReading", "ImageFault"),
        # Bytes.
        *("decode", "decode_event", "DecodedEvent", "encode_moderated"),
        *("moderate_encoded", "EncodedVerdict", "FailedValue"),
        # Errors.
        *(
            "WeirError",
            "ConfigurationError",
            "InvalidEventError",
            "UnforeseenError",
            "RefusedByModelError",
            "UnansweredError",
        ),
        *("DependencyError", "ModelUnavailableError", "BrokerUnavailableError"),
        *("IncompleteError", "SuspectBatchError", "LateError", "DeviceMemoryError", "DeviceFailedError"),
        "EndlessComputationError",
    }
)


def imported_names() -> dict[str, Path]:
    """Return each name that the package imports, with the file that it is imported from."""
    tree = ast.parse(Path(moderation.__file__).read_text())
    return {
        alias.name: PROJECT / (node.module.replace(".", "/") + ".py")
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }


def described_names(module: Path) -> Iterator[str]:
    """Yield the names that a module defines with a docstring in them, or under them."""
    body = ast.parse(module.read_text()).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            yield node.name
        elif isinstance(node, ast.Assign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def test_the_public_names_are_these() -> None:
    # Taking a name away, or giving it another meaning, breaks programs that are not in this project.
    assert set(moderation.__all__) == LISTED


def test_every_imported_name_is_public_and_every_public_name_is_imported_once() -> None:
    assert sorted(moderation.__all__) == sorted(imported_names())


@pytest.mark.parametrize("name", sorted(LISTED))
def test_every_public_name_can_be_imported_and_is_described_where_it_is_defined(name: str) -> None:
    assert getattr(moderation, name) is not None
    assert name in described_names(imported_names()[name])


def test_every_error_that_is_raised_in_several_packages_is_public() -> None:
    tree = ast.parse((PROJECT / "protector_models" / "moderation" / "errors.py").read_text())
    assert {node.name for node in tree.body if isinstance(node, ast.ClassDef)} <= LISTED
