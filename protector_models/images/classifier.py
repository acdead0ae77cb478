"""An image classifier by transformers: scores of our categories for the views of a picture.

Shapes: V views, L labels.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from protector_models.checkpoints.model_folders import hash_folder, locate_model
from protector_models.images.decoding import Pixels
from protector_models.images.settings import ImageClassifierSettings
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.revisions import make_revision
from protector_models.transformer_models.base_models import explain, require_device
from protector_models.transformer_models.pretrained_weights import load_pretrained, require_all_weights

_SECTION = "images.classifier"
_SCORE_DECIMALS = 4


class ImageClassifier:
    """Scores pictures. Several threads may use one classifier at once."""

    def __init__(
        self, model: Any, processor: Any, *, categories_by_label: Mapping[int, str], is_multi_label: bool, revision: str
    ) -> None:
        """Put a classifier together; `load` does.

        Args:
            model: a transformers model for image classification, in evaluation mode on its device.
            processor: makes its input.
            categories_by_label: our category of each label that counts, by number.
            is_multi_label: labels are independent of each other, rather than alternatives.
            revision: "name@revision".
        """
        self._model = model
        self._processor = processor
        self._categories_by_label = categories_by_label
        self._is_multi_label = is_multi_label
        self.revision = revision

    @classmethod
    def load(cls, settings: ImageClassifierSettings) -> Self:
        """Loads what the settings name. Code of a repository is never run.

        Raises:
            ConfigurationError: it cannot be loaded, its files lack some of its weights, or it does not know a label.
        """
        require_device(settings.device, section=_SECTION)
        directory = locate_model(settings.model, section=_SECTION)
        model, processor = _load(directory)
        choices = {**settings.model_dump(mode="json", include={"labels", "device"}), "files": hash_folder(directory)}
        config = model.config
        return cls(
            model.to(settings.device).eval(),
            processor,
            categories_by_label=_number_labels(config.id2label, settings.labels),
            # One label alone has no alternative: transformers leaves its score to a sigmoid too.
            is_multi_label=config.problem_type == "multi_label_classification" or len(config.id2label) == 1,
            revision=make_revision(Path(settings.model).name, choices),
        )

    def score(self, views: Sequence[Pixels], *, check_time: Callable[[], None]) -> dict[str, float]:
        """Scores a picture.

        Args:
            views: of it.
            check_time: called before each view; what it raises ends the work.

        Returns:
            For each category the highest score that any view gets: the sum of its labels' probabilities where labels
            are alternatives, else the highest of them. 4 decimals.
        """
        scores = dict.fromkeys(sorted(set(self._categories_by_label.values())), 0.0)
        # One at a time: the last bits of a score would depend on what else is in the batch.
        for view in views:
            check_time()
            for category, score in self._score_view(view).items():
                scores[category] = max(scores[category], round(min(score, 1.0), _SCORE_DECIMALS))
        return scores

    def _score_view(self, view: Pixels) -> dict[str, float]:
        inputs = self._processor(images=[Image.fromarray(view)], return_tensors="pt")
        with torch.inference_mode():
            logits_L = self._model(**inputs.to(self._model.device)).logits[0].float()
        shares_L = (logits_L.sigmoid() if self._is_multi_label else logits_L.softmax(dim=0)).tolist()
        scores: dict[str, float] = {}
        for label, category in self._categories_by_label.items():
            known = scores.get(category, 0.0)
            scores[category] = max(known, shares_L[label]) if self._is_multi_label else known + shares_L[label]
        return scores


def _load(directory: Path) -> tuple[Any, Any]:
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        model, untrained = load_pretrained(
            AutoModelForImageClassification, directory, config=config, dtype=torch.float32
        )
        processor = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
            directory, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ConfigurationError(
            f"{_SECTION}.model: {directory}: no image classifier that transformers loads: {explain(error)}"
        ) from error
    try:
        require_all_weights(directory, untrained)
    except ConfigurationError as error:
        raise ConfigurationError(f"{_SECTION}.model: {error}") from error
    return model, processor


def _number_labels(names: Mapping[int, str], categories: Mapping[str, str]) -> dict[int, str]:
    unknown = sorted(set(categories) - set(names.values()))
    if unknown:
        known = ", ".join(sorted(names.values()))
        raise ConfigurationError(f"{_SECTION}.labels: {', '.join(unknown)}: expected labels of the model: {known}")
    return {number: categories[name] for number, name in sorted(names.items()) if name in categories}
