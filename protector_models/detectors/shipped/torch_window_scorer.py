"""Runs the encoder over windows with torch in fp32: the engine for GPUs, and on a CPU the one to check the other by.

Windows are padded to a bucket of their own length and run in batches of a shape that the bucket alone decides; what is
missing to a full batch is filled up. So a window is always computed by the same kernels. On a CPU a batch is one
window, and its logits are the same bits whatever it is scored with. On a GPU the kernels are the same too, but the row
of the batch in which a window stands is not, and CUDA promises nothing about that.

Importing this module takes seconds: only what is configured to use it does.

The heads score what comes back as they do for the other engine.

Shapes: B windows of a run, T tokens of the bucket, H hidden units.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel

from protector_models.checkpoints.cards import CheckpointError
from protector_models.detectors.shipped.detector_heads import DetectorHeads, WindowLogits
from protector_models.detectors.shipped.graph_weights import GraphWeights, read_graph_weights
from protector_models.detectors.shipped.window_layout import TokenPair
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.moderation.errors import ConfigurationError
from protector_models.settings import Device

_BUCKET_STEP = 32
_TOKENS_PER_RUN: dict[Device, int] = {"cpu": 1, "cuda": 16_384}
"""Tokens of one batch, padding included. One window where it is longer than that: on a CPU always, because a batch of
eight is no faster there and a single window would have to wait for seven empty ones."""


class EncoderModule(nn.Module):
    """The encoder as it is served."""

    def __init__(self, encoder: BertModel | MPNetModel) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def from_weights(cls, weights: GraphWeights) -> Self:
        """Builds the network of some weights, in fp32 on the CPU.

        Raises:
            CheckpointError: they are not all the tensors of one encoder.
        """
        shapes = {name: tensor.shape for name, tensor in weights.encoder.items()}
        try:
            encoder = _build_mpnet(shapes, weights) if weights.is_mpnet else _build_bert(shapes, weights)
            encoder.load_state_dict({name: torch.tensor(tensor) for name, tensor in weights.encoder.items()})
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"the graph's weights are not those of one encoder: {error}") from error
        return cls(encoder).eval()

    def forward(self, ids_BT: Tensor, mask_BT: Tensor, segments_BT: Tensor) -> Tensor:
        """Returns the tokens' vectors [B, T, H]. `mask_BT` is 1 on real tokens, and every row has at least one."""
        if isinstance(self.encoder, MPNetModel):
            # It knows no segments, and its first two positions are for padding.
            positions_BT = (torch.arange(ids_BT.shape[1], device=ids_BT.device) + 2).expand_as(ids_BT)
            found = self.encoder(input_ids=ids_BT, attention_mask=mask_BT, position_ids=positions_BT)
        else:
            found = self.encoder(input_ids=ids_BT, attention_mask=mask_BT, token_type_ids=segments_BT)
        hidden_BTH: Tensor = found.last_hidden_state
        return hidden_BTH


class TorchWindowScorer:
    """Scores windows on a GPU or a CPU. Implements `WindowScorer`."""

    tells_pieces_apart = True

    def __init__(self, module: EncoderModule, heads: DetectorHeads, device: Device) -> None:
        self._module = module
        self._heads = heads
        self._device = device

    @classmethod
    def load(cls, model_file: Path, heads: DetectorHeads, *, device: Device, num_threads: int) -> Self:
        """Loads the weights of an exported graph onto a device.

        Args:
            model_file: the graph, int8 or fp32; the computation is in fp32.
            heads: over the graph's output.
            device: where to compute.
            num_threads: CPU threads of torch, in the whole process. On a CPU the bits of a logit may depend on it.

        Raises:
            CheckpointError: the file is no graph that `weir train detector` wrote.
            ConfigurationError: torch has no such device here.
            ValueError: `num_threads` is less than 1.
        """
        if num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, got {num_threads}")
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigurationError("detector.device: 'cuda', but torch finds no GPU here; expected one, or 'cpu'")
        torch.set_num_threads(num_threads)
        return cls(EncoderModule.from_weights(read_graph_weights(model_file)).to(device), heads, device)

    @property
    def engine(self) -> str:
        """Torch on a kind of device; another number of CPU threads may give other bits."""
        threads = f" {torch.get_num_threads()} threads" if self._device == "cpu" else ""
        return f"torch {self._device}{threads}"

    def score(self, windows: Iterable[TokenPair]) -> list[WindowLogits]:
        """Scores windows: takes all, then runs them bucket by bucket, a full batch at a time.

        Raises:
            RuntimeError: torch failed, for instance for want of memory.
        """
        taken = list(windows)
        logits_by_index: dict[int, WindowLogits] = {}
        for run in plan_runs([len(window.input_ids) for window in taken], tokens_per_run=_TOKENS_PER_RUN[self._device]):
            scored = self._run([taken[index] for index in run.indices], run)
            logits_by_index |= dict(zip(run.indices, scored, strict=True))
        return [logits_by_index[index] for index in range(len(taken))]

    def _run(self, windows: Sequence[TokenPair], run: "Run") -> list[WindowLogits]:
        ids_BT, mask_BT, segments_BT = torch.zeros(3, run.num_rows, run.num_tokens, dtype=torch.int64)
        mask_BT[:, 0] = 1  # rows that only fill up have one token: attention over none is no number
        for row, window in enumerate(windows):
            length = len(window.input_ids)
            ids_BT[row, :length] = torch.tensor(window.input_ids)
            segments_BT[row, :length] = torch.tensor(window.segment_ids)
            mask_BT[row, :length] = 1
        inputs = (tensor.to(self._device) for tensor in (ids_BT, mask_BT, segments_BT))
        with torch.inference_mode():
            hidden_BTH = self._module(*inputs)[: len(windows)].cpu().numpy()
        return [
            self._heads.score(hidden_TH[: len(window.input_ids)], window)
            for hidden_TH, window in zip(hidden_BTH, windows, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One batch: which windows, and the shape that their bucket gives it."""

    indices: Sequence[int]
    num_rows: int
    num_tokens: int


def plan_runs(lengths: Sequence[int], *, tokens_per_run: int) -> Iterator[Run]:
    """Plans batches over windows of some lengths (tokens, at least 1); every window is in one of them.

    The shape of a window's batch depends on its own length alone.
    """
    buckets: defaultdict[int, list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        buckets[-(-length // _BUCKET_STEP) * _BUCKET_STEP].append(index)
    for num_tokens, indices in sorted(buckets.items()):
        num_rows = max(1, tokens_per_run // num_tokens)
        for part in split_by_count(indices, num_rows):
            yield Run(indices=part, num_rows=num_rows, num_tokens=num_tokens)


def _build_bert(shapes: Mapping[str, tuple[int, ...]], weights: GraphWeights) -> BertModel:
    """Builds the network that tensors of these shapes belong to."""
    config = BertConfig(
        **_measure(shapes, weights),
        num_hidden_layers=sum(name.endswith("attention.self.query.weight") for name in shapes),
        type_vocab_size=shapes["embeddings.token_type_embeddings.weight"][0],
    )
    return BertModel(config, add_pooling_layer=False)


def _build_mpnet(shapes: Mapping[str, tuple[int, ...]], weights: GraphWeights) -> MPNetModel:
    """Builds the network that tensors of these shapes belong to."""
    config = MPNetConfig(
        **_measure(shapes, weights),
        num_hidden_layers=sum(name.endswith("attention.attn.q.weight") for name in shapes),
        relative_attention_num_buckets=shapes["encoder.relative_attention_bias.weight"][0],
    )
    return MPNetModel(config, add_pooling_layer=False)


def _measure(shapes: Mapping[str, tuple[int, ...]], weights: GraphWeights) -> dict[str, Any]:
    """Returns what both kinds of configuration have."""
    vocabulary_size, hidden_size = shapes["embeddings.word_embeddings.weight"]
    return {
        "vocab_size": vocabulary_size,
        "hidden_size": hidden_size,
        "num_attention_heads": hidden_size // weights.attention_head_size,
        "intermediate_size": shapes["encoder.layer.0.intermediate.dense.weight"][0],
        "max_position_embeddings": shapes["embeddings.position_embeddings.weight"][0],
        "layer_norm_eps": weights.layer_norm_eps,
        "hidden_act": weights.activation,
    }
