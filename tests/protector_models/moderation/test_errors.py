"""Errors travel between processes and say what may be tried again."""

import pickle

import pytest

from protector_models.moderation import errors
from protector_models.moderation.errors import DependencyError, WeirError

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, WeirError)]


@pytest.mark.parametrize("kind", ALL)
def test_an_error_survives_the_way_to_another_process(kind: type[WeirError]) -> None:
    error = kind("expected a number, got 'seven'", 7)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert copy.args == error.args
    assert str(copy) == str(error)


@pytest.mark.parametrize("kind", ALL)
def test_every_error_stands_in_the_tree_at_the_top_of_the_module(kind: type[WeirError]) -> None:
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__


def test_only_errors_of_dependencies_may_be_tried_again() -> None:
    assert {kind.__name__ for kind in ALL if issubclass(kind, DependencyError)} == {
        "DependencyError",
        "ModelUnavailableError",
        "BrokerUnavailableError",
    }
