"""The models that a Moderator asks, wherever they run."""

from dataclasses import dataclass

from protector_models.moderation.ports import Detoxifier, HarmDetector, ImageReader, ResponseGenerator


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPorts:
    """The models that a Moderator asks, in its process or behind deployments; None where one is switched off."""

    detector: HarmDetector
    detoxifier: Detoxifier | None = None
    generator: ResponseGenerator | None = None
    image_reader: ImageReader | None = None

    def by_name(self) -> dict[str, HarmDetector | Detoxifier | ResponseGenerator | ImageReader | None]:
        """Return them by the names that verdicts use in `model_revisions`."""
        return {
            "detector": self.detector,
            "images": self.image_reader,
            "detoxifier": self.detoxifier,
            "mllm": self.generator,
        }
