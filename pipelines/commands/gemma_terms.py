"""The terms of Gemma, asked for before its first use by any command."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from protector_models.mllms.gemma_wheels import TERMS, GemmaFile
from protector_models.moderation.errors import ConfigurationError

AcceptTermsOption = Annotated[
    bool, typer.Option("--accept-gemma-terms", help="Accept the terms of the language model, which are shown.")
]


def require_accepted(*, accepts_terms: bool) -> GemmaFile:
    """Return the model's file, once it is installed and its terms are accepted.

    Raises:
        ConfigurationError: they are not.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    file = GemmaFile(folder=cache / "weir" / "gemma3-270m")
    file.require_installed()
    if file.is_accepted():
        return file
    typer.echo(TERMS, err=True)
    if not accepts_terms and not (sys.stdin.isatty() and typer.confirm("Do you accept them?", err=True)):
        raise ConfigurationError("expected the terms to be accepted: --accept-gemma-terms")
    file.accept()
    return file
