"""From a trained edit network to a weights directory that the service loads: export, int8, held-out figures, card."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from protector_models.checkpoints.cards import hash_file
from protector_models.detoxification.edit_decoding import DecodingPlan
from protector_models.detoxification.edit_encoding import EDIT_LAYOUT
from protector_models.detoxification.edit_model import EditModel, EditModelCard
from protector_models.evaluation.detoxification.text_scores import chrf
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.training.detoxification.careful_rows import RewrittenSentence
from protector_models.training.detoxification.edit_examples import EditExamples
from protector_models.training.detoxification.edit_export import export_edit_fp32
from protector_models.training.detoxification.edit_network import EditNetwork
from protector_models.training.detoxification.edit_recipe import EditRecipe
from protector_models.training.export import copy_tokenizer, quantise

NAME = "weir-edit"
TOLERANCE = "toxic_edited within .02, safe_changed within .004, chrf within .015"

_NUM_SAFE = 2_000


def package_edit_model(
    network: EditNetwork,
    tag_names: Sequence[str],
    examples: EditExamples,
    *,
    encoder_directory: Path,
    directory: Path,
    recipe: EditRecipe,
    num_threads: int,
    report_texts: Callable[[int], None],
) -> EditModelCard:
    """Writes model, tokenizer and card, and measures the model as it is served.

    Args:
        network: the trained network.
        tag_names: what its tags stand for.
        examples: with the held-out sentences.
        encoder_directory: where the tokenizer is.
        directory: where everything goes.
        recipe: the choices of the run.
        num_threads: threads to measure with.
        report_texts: called with the number of texts edited since the last call.

    Returns:
        The card that was written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    fp32_file = export_edit_fp32(network, directory)
    files = [quantise(fp32_file, directory), copy_tokenizer(encoder_directory, directory)]
    fp32_file.unlink()
    card = EditModelCard(
        name=NAME,
        files={file.name: hash_file(file) for file in files},
        recipe=asdict(recipe),
        validation={},
        layout=EDIT_LAYOUT,
        tags=tuple(tag_names),
        decoding=DecodingPlan(),
        tolerance=TOLERANCE,
    )
    card.save(directory)
    model = EditModel.load(directory, num_threads=num_threads)
    measured = card.model_copy(update={"validation": _measure(model, examples, report_texts)})
    measured.save(directory)
    return measured


def count_measured_texts(examples: EditExamples) -> int:
    """Returns how many texts packaging edits."""
    groups = (
        examples.held_out,
        _unseen_safe(examples),
        examples.held_out_innocent,
        examples.held_out_careful,
        examples.held_out_kept,
    )
    return sum(len(group) for group in groups)


def _unseen_safe(examples: EditExamples) -> Sequence[str]:
    return examples.held_out_safe[:_NUM_SAFE]


def _measure(
    model: EditModel, examples: EditExamples, report_texts: Callable[[int], None]
) -> dict[str, float | int | None]:
    """Returns what the model does to held-out sentences, toxic and safe."""
    sources = [sentence.source for sentence in examples.held_out]
    edited = _edit(model, sources, report_texts)
    safe = _unseen_safe(examples)
    kept = _edit(model, safe, report_texts)
    innocent = _edit(model, examples.held_out_innocent, report_texts)
    careful_sources = [sentence.source for sentence in examples.held_out_careful]
    careful = _edit(model, careful_sources, report_texts)
    kept_sentences = _edit(model, examples.held_out_kept, report_texts)
    return {
        "num_toxic": len(sources),
        "toxic_edited": _share(sources, edited),
        "chrf": _overlap(edited, examples.held_out),
        "num_safe": len(safe),
        "safe_changed": _share(safe, kept),
        "num_innocent": len(innocent),
        "innocent_changed": _share(examples.held_out_innocent, innocent),
        "num_careful": len(careful),
        "careful_edited": _share(careful_sources, careful),
        "careful_chrf": _overlap(careful, examples.held_out_careful),
        "num_kept": len(kept_sentences),
        "kept_changed": _share(examples.held_out_kept, kept_sentences),
    }


def _overlap(edited: Sequence[str], sentences: Sequence[RewrittenSentence]) -> float:
    overlaps = [chrf(text, sentence.human_rewrites) for text, sentence in zip(edited, sentences, strict=True)]
    return round(sum(overlaps) / max(1, len(overlaps)), 4)


def _edit(model: EditModel, texts: Sequence[str], report_texts: Callable[[int], None]) -> list[str]:
    edited: list[str] = []
    for batch in split_by_count(texts, 64):
        outcomes = model.edit(batch)
        edited += ["" if isinstance(outcome, ItemFailure) else outcome for outcome in outcomes]
        report_texts(len(outcomes))
    return edited


def _share(before: Sequence[str], after: Sequence[str]) -> float | None:
    """Returns the share of texts that differ."""
    if not before:
        return None
    return round(sum(old != new for old, new in zip(before, after, strict=True)) / len(before), 4)
