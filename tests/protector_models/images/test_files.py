"""Images in files: only under the folders that are configured, wherever links lead."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from protector_models.images.settings import FetchSettings, ImageSettings
from protector_models.images.source import load_image_source
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.images import ImageContent, ImageFault
from protector_models.moderation.model_outputs import ItemFailure
from tests.protector_models.images.image_hosts import PNG


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return an allowed folder beside a secret one."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s.png").write_bytes(PNG)
    root = tmp_path / "images"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "a b.png").write_bytes(PNG)
    return root


async def fetch(reference: str, root: Path) -> ImageContent | ItemFailure:
    """Fetch one file."""
    source = load_image_source(
        ImageSettings(fetch=FetchSettings(schemes=("file",), roots=(root,), max_bytes=len(PNG), timeout_s=5))
    )
    (result,) = await source.fetch([reference])
    await source.close()
    return result


async def fault(reference: str, root: Path) -> str:
    """Return why a file is not fetched."""
    result = await fetch(reference, root)
    assert isinstance(result, ItemFailure)
    assert str(root) not in result.message
    return result.error


@pytest.mark.parametrize("form", ["file://{}/inner/a%20b.png", "file://localhost{}/inner/../inner/a b.png"])
async def test_a_file_under_a_configured_folder_is_read(root: Path, form: str) -> None:
    result = await fetch(form.format(root), root)
    assert isinstance(result, ImageContent)
    assert (result.data, result.media_type) == (PNG, "image/png")


@pytest.mark.parametrize(
    "path",
    ["../secret/s.png", "inner/../../secret/s.png", "%2e%2e/secret/s.png", "inner/..%2f..%2fsecret/s.png", "../no", ""],
)
async def test_no_path_leads_out_of_it_and_none_says_what_is_there(root: Path, path: str) -> None:
    assert await fault(f"file://{root}/{path}", root) == ImageFault.REFERENCE_NOT_ALLOWED


@pytest.mark.parametrize("path", ["/etc/passwd", "/dev/zero", "/proc/self/environ", "/"])
async def test_files_elsewhere_are_refused(root: Path, path: str) -> None:
    assert await fault(f"file://{path}", root) == ImageFault.REFERENCE_NOT_ALLOWED


@pytest.mark.parametrize(
    "reference",
    ["file:", "file:a.png", "file:/a.png", "file://example.org/a.png", "file:///a.png?b", "file:///a%00.png"],
)
async def test_what_is_no_path_is_refused(root: Path, reference: str) -> None:
    assert await fault(reference, root) == ImageFault.INVALID_REFERENCE


async def test_links_are_followed_inside_and_not_to_the_outside(root: Path) -> None:
    (root / "inside.png").symlink_to(root / "inner" / "a b.png")
    (root / "outside.png").symlink_to(root.parent / "secret" / "s.png")
    (root / "folder").symlink_to(root.parent / "secret")
    (root / "circle").symlink_to(root / "circle")

    assert isinstance(await fetch(f"file://{root}/inside.png", root), ImageContent)
    for name in ("outside.png", "folder/s.png", "folder/none.png"):
        assert await fault(f"file://{root}/{name}", root) == ImageFault.REFERENCE_NOT_ALLOWED
    assert await fault(f"file://{root}/circle", root) == ImageFault.FETCH_FAILED


@pytest.mark.parametrize("swapped", ["inner", "inner/a b.png"])
async def test_a_link_that_is_put_there_after_the_check_leads_nowhere(
    root: Path, swapped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = Path.resolve

    def resolve_and_swap(path: Path, strict: bool = False) -> Path:
        resolved = resolve(path, strict)
        if path.name == "a b.png":
            (root / swapped).rename(root / "moved")
            (root / swapped).symlink_to(root.parent / "secret")
        return resolved

    monkeypatch.setattr(Path, "resolve", resolve_and_swap)
    (root.parent / "secret" / "a b.png").write_bytes(PNG)
    assert await fault(f"file://{root}/inner/a%20b.png", root) == ImageFault.FETCH_FAILED


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, ImageFault.FETCH_FAILED),
        (os.mkfifo, ImageFault.REFERENCE_NOT_ALLOWED),
        (Path.mkdir, ImageFault.REFERENCE_NOT_ALLOWED),
        (lambda path: path.write_bytes(PNG + b"x"), ImageFault.TOO_MANY_BYTES),
        (lambda path: path.write_bytes(b"<svg/>"), ImageFault.FORMAT_NOT_ALLOWED),
    ],
)
async def test_what_is_no_picture_of_allowed_size_is_refused(
    root: Path, make: Callable[[Path], object], expected: ImageFault
) -> None:
    make(root / "a.png")
    assert await fault(f"file://{root}/a.png", root) == expected


def test_a_folder_that_is_none_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="roots"):
        load_image_source(ImageSettings(fetch=FetchSettings(schemes=("file",), roots=(tmp_path / "none",))))
