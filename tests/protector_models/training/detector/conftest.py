"""A larger encoder small enough for tests, of the teacher's kind, and a teacher over it."""

from pathlib import Path

import pytest

from tests.protector_models.training.builders import make_example


@pytest.fixture(scope="session")
def tiny_larger_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch  # noqa: PLC0415 - seconds, not even for tests that are left out
    from transformers import MPNetConfig, MPNetModel  # noqa: PLC0415

    directory = tmp_path_factory.mktemp("larger_encoder")
    torch.manual_seed(1)
    config = MPNetConfig(
        vocab_size=30_527,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=514,
    )
    MPNetModel(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_teacher(tiny_larger_encoder: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch  # noqa: PLC0415 - seconds, not even for tests that are left out

    from protector_models.training.detector.answer_draws import cut_examples  # noqa: PLC0415
    from protector_models.training.detector.detector_network import DetectorNetwork  # noqa: PLC0415
    from protector_models.training.detector.detector_recipe import load_training_tokenizer  # noqa: PLC0415
    from protector_models.training.detector.teacher import TEACHER_RECIPE, save_teacher  # noqa: PLC0415

    directory = tmp_path_factory.mktemp("teacher")
    tokenizer = load_training_tokenizer(tiny_encoder)
    torch.manual_seed(2)
    network = DetectorNetwork.from_pretrained(tiny_larger_encoder).eval()
    with torch.no_grad():
        # Of an untrained head all probabilities are near one half: nothing to be pulled to.
        network.piece_head.bias[0], network.whole_head.bias[0] = 3.0, 3.0
    save_teacher(
        network,
        cut_examples([make_example()], tokenizer.token_to_id),
        [make_example(), make_example(response="bake some bread", harmful=0.0)],
        tokenizer=tokenizer,
        tokenizer_directory=tiny_encoder,
        encoder_directory=tiny_larger_encoder,
        directory=directory,
        recipe=TEACHER_RECIPE,
        report_rows=lambda _: None,
    )
    return directory
