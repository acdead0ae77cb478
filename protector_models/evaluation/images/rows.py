"""Records with pictures whose text is known, the same requests as plain questions, and benign prompts."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from protector_models.moderation.conversation import Exchange
from protector_models.records.labelled_records import LabelledRecord, RecordError, find_record_files, read_records


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """A picture, what stands in it, and the prompt that was sent with it."""

    prompt: str
    text: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRows:
    """The images that are read, and the questions beside them."""

    images: list[ImageRow]
    questions: list[str]
    """The same requests as plain text."""
    benign: list[str]
    """Distinct."""


def read_image_rows(data: Path, benign: Path, *, max_images: int | None) -> ImageRows:
    """Reads records with pictures, records without (the same requests as plain questions), and benign prompts.

    Raises:
        RecordError: a record or a picture cannot be read, or there are none of a kind; names the file.
    """
    images: list[ImageRow] = []
    questions: list[str] = []
    for file in find_record_files(data):
        for record in read_records(file):
            if record.image:
                images.append(_read_row(record, file))
            elif record.prompt:
                questions.append(record.prompt)
    prompts = dict.fromkeys(
        record.prompt for file in find_record_files(benign) for record in read_records(file) if record.prompt
    )
    if not images or not prompts:
        raise RecordError(f"{data}, {benign}: expected records with images, and records with prompts")
    return ImageRows(images=images[:max_images], questions=questions[:max_images], benign=list(prompts))


def _read_row(record: LabelledRecord, file: Path) -> ImageRow:
    picture = file.parent / record.image
    try:
        # Checked here: a text without a UTF-8 form is a fault of the data, found before the work.
        Exchange(prompt=record.prompt, response=record.text)
        return ImageRow(prompt=record.prompt, text=record.text, content=picture.read_bytes())
    except (OSError, ValidationError) as error:
        raise RecordError(f"{file}: {picture}: cannot be used: {type(error).__name__}") from error
