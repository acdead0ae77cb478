"""What a teacher says of some batches of a run, on disk: shards of fifty batches, each whole or not there.

Computing them takes longer than the student's own training, so an interruption may not cost more than a shard, and
logits of other windows, or of another teacher, may not pass for these.

Shapes: B windows, T tokens, S pieces of all windows of a batch, K logits.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from protector_models.training.detector.batches import Batch
from protector_models.training.detector.detector_network import DetectorLogits

BATCHES_PER_SHARD = 50

_CHOICES, _WINDOWS = "choices", "windows"

_REMOVE = "remove the directory to compute them anew"

Choices = Mapping[str, str | int | float]
"""By name; equal choices give equal windows and logits."""


class TeacherLogits:
    """The logits of a teacher for batches of one stream."""

    def __init__(self, directory: Path, choices: Choices, *, every: int, num_batches: int) -> None:
        """Names where the shards lie; nothing is read.

        Args:
            directory: of the shards; need not exist.
            choices: whatever decides the windows of the stream and what the teacher says of them.
            every: the teacher reads the first of so many batches of the stream.
            num_batches: that it reads.
        """
        self._directory = directory
        self._choices = dict(choices)
        self._every = every
        self._num_batches = num_batches
        self._loaded: tuple[int, dict[str, DetectorLogits]] | None = None

    def group(self, batches: Iterator[Batch]) -> Iterator[list[Batch]]:
        """Yields the batches of each shard, in order; takes no more from the stream than it has to."""
        wanted = islice(batches, 0, (self._num_batches - 1) * self._every + 1, self._every)
        while shard := list(islice(wanted, BATCHES_PER_SHARD)):
            yield shard

    def has(self, shard: int, batches: Sequence[Batch]) -> bool:
        """Tells whether the logits of a shard's batches are there.

        Raises:
            ValueError: the file is damaged, or holds logits of another teacher, recipe, or other windows.
        """
        file = self._find_file(shard)
        if not file.exists():
            return False
        found = _read_metadata(file)
        choices, windows = json.loads(found[_CHOICES]), json.loads(found[_WINDOWS])
        if changed := sorted(
            name for name in {*choices, *self._choices} if choices.get(name) != self._choices.get(name)
        ):
            raise ValueError(f"{file}: logits of another teacher or recipe (differ in {', '.join(changed)}); {_REMOVE}")
        expected = [_hash_windows(batch) for batch in batches]
        common = min(len(windows), len(expected))
        if windows[:common] != expected[:common]:
            raise ValueError(f"{file}: logits of other windows than the recipe draws now; {_REMOVE}")
        # A shorter run ended within this shard.
        return len(windows) >= len(expected)

    def save(self, shard: int, batches: Sequence[Batch], logits: Sequence[DetectorLogits]) -> None:
        """Writes a shard; an interruption leaves it whole or not there."""
        file = self._find_file(shard)
        file.parent.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{place}.{name}": scores.contiguous()
            for place, one in enumerate(logits)
            for name, scores in one._asdict().items()
        }
        windows = [_hash_windows(batch) for batch in batches]
        metadata = {_CHOICES: json.dumps(self._choices, sort_keys=True), _WINDOWS: json.dumps(windows)}
        unfinished = file.with_suffix(".tmp")
        save_file(tensors, unfinished, metadata=metadata)
        unfinished.replace(file)

    def find(self, step: int) -> DetectorLogits | None:
        """Returns the logits of the batch of a step, counted from 1; None where the teacher did not read it."""
        read, others = divmod(step - 1, self._every)
        if others or read >= self._num_batches:
            return None
        shard, place = divmod(read, BATCHES_PER_SHARD)
        if self._loaded is None or self._loaded[0] != shard:
            self._loaded = (shard, _read_shard(self._find_file(shard)))
        return self._loaded[1][str(place)]

    def _find_file(self, shard: int) -> Path:
        return self._directory / f"{shard:05d}.safetensors"


def _read_metadata(file: Path) -> dict[str, str]:
    try:
        with safe_open(file, framework="pt") as content:
            found: dict[str, str] = content.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{file}: damaged; {_REMOVE}") from error
    if missing := {_CHOICES, _WINDOWS} - set(found):
        raise ValueError(f"{file}: expected a shard of a teacher's logits, it lacks {min(missing)}; {_REMOVE}")
    return found


def _read_shard(file: Path) -> dict[str, DetectorLogits]:
    tensors = load_file(file)
    places = {name.partition(".")[0] for name in tensors}
    return {
        place: DetectorLogits(**{name: tensors[f"{place}.{name}"] for name in DetectorLogits._fields})
        for place in places
    }


def _hash_windows(batch: Batch) -> str:
    digest = hashlib.sha256()
    for tensor in (batch.ids_BT, batch.segments_BT, batch.pieces_BT):
        digest.update(str(tuple(tensor.shape)).encode() + tensor.numpy().tobytes())
    return digest.hexdigest()
