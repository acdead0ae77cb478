"""The tree of errors is drawn as it is, and its errors survive the way between processes."""

import importlib
import pickle
import pkgutil
import re

import pytest

import pipelines
import protector_models
import services
from protector_models.images.fetch_error import ImageFetchError
from protector_models.moderation import errors
from protector_models.moderation.errors import WeirError
from protector_models.moderation.images import ImageFault
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import Failure
from services.client import errors as client_errors
from tests.protector_models.error_tree import all_errors, imported_errors

_DRAWN = re.compile(r"(?P<rails>[│ ]*)[├└]── (?P<name>\w+)")


def drawn_parents() -> dict[str, str]:
    """Return each error that the docstrings draw, with the one above it: the client's have a drawing of their own."""
    return {**_read_drawing(errors.__doc__, "WeirError"), **_read_drawing(client_errors.__doc__, "CallError")}


def _read_drawing(docstring: str | None, root: str) -> dict[str, str]:
    above = [root]
    parents: dict[str, str] = {}
    for line in (docstring or "").splitlines():
        if match := _DRAWN.match(line):
            depth = len(match["rails"]) // 4 + 1
            assert match["name"] not in parents
            parents[match["name"]] = above[depth - 1]
            above[depth:] = [match["name"]]
    return parents


@pytest.mark.training
def test_no_module_defines_another_error() -> None:
    for package in (protector_models, services, pipelines):
        for module in pkgutil.walk_packages(package.__path__, prefix=f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    assert set(imported_errors()) == set(all_errors())


def test_the_drawing_is_the_tree() -> None:
    tree = {kind.__name__: [base.__name__ for base in kind.__bases__] for kind in all_errors() if kind is not WeirError}
    assert {name: [parent] for name, parent in drawn_parents().items()} == tree


def _make(kind: type[WeirError], says: str) -> WeirError:
    arguments: dict[str, tuple[object, ...]] = {
        "IncompleteError": (errors.ModelUnavailableError(says), [1, None]),
        "PieceNotJudgedError": (Failure(stage=Stage.ASSESS, error="Poison", message=says),),
        "RefusedRecordsError": (says, [1]),
        "RefusedRequestError": ("invalid_value", says, "a"),
    }
    if issubclass(kind, client_errors.RefusedCallError):
        return kind(says, 400)
    if issubclass(kind, ImageFetchError):
        return kind(ImageFault.FETCH_TIMEOUT, says)
    return kind(*arguments.get(kind.__name__, (says,)))


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_an_error_comes_through_a_pickle_as_it_was(kind: type[WeirError]) -> None:
    says = "a: expected b"
    error = _make(kind, says)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (kind, str(error))


def test_every_error_says_what_it_is() -> None:
    for kind in all_errors():
        assert kind.__doc__, kind
