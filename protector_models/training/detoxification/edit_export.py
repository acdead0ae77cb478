"""The trained edit model as an ONNX graph."""

from pathlib import Path

from protector_models.detoxification.edit_model import EDIT_INPUT
from protector_models.training.detoxification.edit_network import EditNetwork, ServedEditNetwork
from protector_models.training.export import BATCH, BATCH_AND_TOKENS, example_ids, export_graph


def export_edit_fp32(network: EditNetwork, directory: Path) -> Path:
    """Writes the served edit model as an fp32 ONNX graph with free batch and token axes; returns its file."""
    return export_graph(
        ServedEditNetwork(network),
        network.encoder,
        (example_ids(),),
        directory,
        axes={EDIT_INPUT: BATCH_AND_TOKENS, "edit": BATCH_AND_TOKENS, "tags": BATCH_AND_TOKENS}
        | {"toxic": BATCH, "fluent": BATCH},
    )
