"""How hypothesis draws examples: the same ones in every run, few in plain `pytest`, many in `make test`."""

from hypothesis import HealthCheck, settings

_REPEATABLE = settings(
    derandomize=True,
    database=None,
    # Nothing fails because the machine is busy.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

settings.register_profile("few", _REPEATABLE, max_examples=10)
settings.register_profile("many", _REPEATABLE, max_examples=50)
settings.load_profile("few")
