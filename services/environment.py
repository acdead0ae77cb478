"""Settings from environment variables, their JSON as strict as that on the wire."""

import os
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.wire.strict_json import KeyTwiceError, read_json


class StrictEnvironment(EnvSettingsSource):
    """Environment variables; a key that stands twice in one of them is no setting, since readers would differ on it."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return what a variable says.

        Raises:
            ConfigurationError: a key is there twice; the message names the variable and quotes nothing of it.
            ValueError: it is not JSON, or one that is not taken on the wire either.
        """
        try:
            # What is no UTF-8 stands in a variable as lone surrogates; with its own bytes it is refused.
            read_json(os.fsencode(value))
        except KeyTwiceError as error:
            names = sorted(name for name, content in os.environ.items() if content == value)
            raise ConfigurationError(f"environment variable {' or '.join(names)}: {error.message}") from None
        return super().decode_complex_value(field_name, field, value)
