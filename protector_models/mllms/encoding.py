"""From a conversation to the inputs of an image-text-to-text model, by its own processor and chat template.

Importing this module takes seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from protector_models.images.data_urls import decode_data_url
from protector_models.images.decoding import MAX_VIEW_SIDE, DecodingLimits, UnreadImageError, decode_picture
from protector_models.images.fetch_error import ImageFetchError
from protector_models.mllms.conversations import Said, Turn, image_references, make_turns
from protector_models.mllms.vision_language_loading import render
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.images import ImageFault
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.transformer_models.control_tokens import find_control_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedConversation:
    """A conversation that the model can be asked."""

    turns: Sequence[Turn]
    num_tokens: int
    """Of the prompt, with those of the images."""
    has_images: bool


class ConversationEncoder:
    """Makes inputs of conversations."""

    def __init__(
        self, processor: Any, *, takes_system: bool, max_input_tokens: int, max_images: int, limits: DecodingLimits
    ) -> None:
        """Put an encoder together.

        Args:
            processor: the model's, padding on the left.
            takes_system: its chat template knows a system turn.
            max_input_tokens: of a prompt, images included.
            max_images: of a conversation.
            limits: of one image.
        """
        self._processor = processor
        self._takes_system = takes_system
        self._max_input_tokens = max_input_tokens
        self._max_images = max_images
        self._limits = limits
        self._control_tokens = find_control_tokens(processor.tokenizer)
        places = (getattr(processor, f"{kind}_token", None) for kind in ("image", "video", "audio"))
        self._control_tokens |= {place for place in places if isinstance(place, str)}

    def measure(self, event: ConversationEvent) -> EncodedConversation | ItemFailure:
        """Return a conversation with its length, or why the model cannot be asked it."""
        turns = make_turns(event, takes_system=self._takes_system, control_tokens=self._control_tokens)
        num_images = len(image_references(turns))
        if num_images > self._max_images:
            message = f"{num_images} images, expected at most {self._max_images}"
            return ItemFailure(error=ImageFault.TOO_MANY_IMAGES, message=message)
        if not turns:
            return ItemFailure(error="EmptyConversation", message="nothing is said or shown in it")
        try:
            num_tokens = self.encode([turns])["input_ids"].shape[1]
        except (ImageFetchError, UnreadImageError) as error:
            return error.as_failure()
        except Exception as error:  # noqa: BLE001  # a template is a program, and its errors are whatever it likes
            message = f"the model's processor or chat template refuses it ({type(error).__name__})"
            return ItemFailure(error="ConversationRefused", message=message)
        if num_tokens > self._max_input_tokens:
            message = f"{num_tokens} tokens, expected at most {self._max_input_tokens}"
            return ItemFailure(error="InputTooLong", message=message)
        return EncodedConversation(turns=turns, num_tokens=num_tokens, has_images=num_images > 0)

    def encode(self, conversations: Sequence[Sequence[Turn]]) -> Any:
        """Return the model's inputs, in the CPU's memory.

        Raises:
            ImageFetchError, UnreadImageError: an image is not here, too large, or cannot be decoded.
            Exception: whatever the processor or its template raises.
        """
        chats = [[_to_message(turn, self._limits) for turn in turns] for turns in conversations]
        return render(
            self._processor,
            chats,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            # Whatever limits the tokenizer's own files name: what is too long is not answered, never cut.
            processor_kwargs={"padding": True, "truncation": False, "max_length": None},
        )


def _to_message(turn: Turn, limits: DecodingLimits) -> dict[str, object]:
    parts: list[dict[str, object]] = [
        {"type": "text", "text": part.text}
        if isinstance(part, Said)
        else {"type": "image", "image": _decode(part.reference, limits)}
        for part in turn.parts
    ]
    return {"role": turn.role, "content": parts}


def _decode(reference: str, limits: DecodingLimits) -> Image.Image:
    """Decode an image that stands in its reference. Others were fetched before, by an `ImageSource`, or not at all."""
    if not reference.startswith("data:"):
        raise ImageFetchError(ImageFault.REFERENCE_NOT_ALLOWED, "expected a data URL; images are fetched before")
    # Its size was limited when it was fetched.
    data = decode_data_url(reference, max_bytes=len(reference))
    # The picture that is read for its text, as most programs show it: an MLLM sees nothing else.
    picture = Image.fromarray(decode_picture(data, limits).views[0])
    # Long pictures come larger than that for their letters' sake; a model would take thousands of tokens for one.
    picture.thumbnail((MAX_VIEW_SIDE, MAX_VIEW_SIDE))
    return picture
