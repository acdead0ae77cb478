"""Files that evaluations draw into, asked for by an option: whether there can be one is found out before the work."""

from importlib import import_module
from pathlib import Path

from protector_models.moderation.errors import ConfigurationError


def require_drawable(file: Path, *, option: str, drawn_by: str) -> None:
    """Find out that a file can be written, and that what draws it is installed. What is in the file stays.

    Args:
        file: where the drawing shall be.
        option: the option that asks for it.
        drawn_by: the module that draws; importing it takes seconds.

    Raises:
        ConfigurationError: one of the two is not so.
    """
    try:
        import_module(drawn_by)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f'{option} needs {error.name}: install the "eval" extra of weir') from error
    try:
        if not file.parent.is_dir() or file.is_dir():
            raise ConfigurationError(f"{option}: expected a file in a directory that exists, got {file}")
        is_new = not file.exists()
        file.open("ab").close()
        if is_new:
            file.unlink()
    except OSError as error:
        raise _cannot_write(file, option, error) from error


def write_drawing(file: Path, drawing: str, *, option: str) -> None:
    """Write a drawing.

    Raises:
        ConfigurationError: the file cannot be written any more.
    """
    try:
        file.write_text(drawing, encoding="utf-8")
    except OSError as error:
        raise _cannot_write(file, option, error) from error


def _cannot_write(file: Path, option: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{option}: {file} cannot be written: {error.strerror}")
