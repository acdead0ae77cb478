"""`weir answer`: what the configured MLLM says, as it says it."""

import asyncio
import hashlib
import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.exit_statuses import ending_in_one_line
from pipelines.commands.options import ConfigOption, JsonOption
from pipelines.settings import WeirSettings, load_settings
from pipelines.terminal.texts import decode_argument, printable
from protector_models.images.formats import FORMATS_IN_WORDS, SIGNATURES_BYTES, sniff_media_type
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.images import ImageContent
from protector_models.moderation.messages.message import ContentPart, ImagePart, ImageUrl, TextPart
from protector_models.moderation.one_turn import make_turn
from services.logs import configure_logs

EXIT_UNANSWERED = 3

_STANDARD_INPUT = "-"
_NOTE = "weir: this is what the MLLM itself says; nobody has moderated it"


def answer(
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="What to ask the MLLM; - reads it from standard input.")
    ],
    images: Annotated[
        list[Path] | None, typer.Option("--image", help="A picture that is shown with it; may be given several times.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the MLLM of the configuration one question, and print its answer as it comes.

    This is the MLLM's own answer: neither detector nor policy has seen it. It shows whether a model is loaded and asked
    as it should be. `weir moderate` answers events without a response by the same model, and moderates what it says.

    Control characters are shown as dots (--json has them escaped, and prints the answer once it is whole). Bytes that
    are no UTF-8 are read as replacement characters.

    Ends with 0 when the answer is whole, 3 when the MLLM cannot answer this; 1 when it is gone, late or broke off, 2
    for a wrong call or configuration, 130 when interrupted.
    """
    text = sys.stdin.buffer.read().decode("utf-8", "replace") if prompt == _STANDARD_INPUT else decode_argument(prompt)
    settings = load_settings(config)
    configure_logs(settings.log)
    event = _ask(text, images or [])
    typer.echo(_NOTE, err=True)
    with ending_in_one_line("weir"):
        asyncio.run(_answer(settings, event, as_json=as_json))


def _ask(text: str, images: Sequence[Path]) -> ConversationEvent:
    parts: list[ContentPart] = [
        *(ImagePart(type="image_url", image_url=ImageUrl(url=_read_image(path))) for path in images),
        TextPart(type="text", text=text),
    ]
    return make_turn(parts, None, event_id="answer", occurred_at=datetime.now(UTC))


def _read_image(path: Path) -> str:
    """Return a file as a data URL.

    Raises:
        ConfigurationError: it cannot be read, or it is no image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"--image: {path}: {error.strerror}; expected a file that can be read") from error
    media_type = sniff_media_type(data[:SIGNATURES_BYTES])
    if media_type is None:
        raise ConfigurationError(f"--image: {path}: expected a {FORMATS_IN_WORDS} image")
    return ImageContent(data=data, media_type=media_type, sha256=hashlib.sha256(data).hexdigest()).data_url()


async def _answer(settings: WeirSettings, event: ConversationEvent, *, as_json: bool) -> None:
    # Imported here, not above: models and their libraries take seconds.
    from protector_models.mllms.mllm import load_mllm  # noqa: PLC0415
    from services.moderators import usable_cpus  # noqa: PLC0415

    mllm = load_mllm(
        settings.mllm, num_threads=usable_cpus(), timeout_s=settings.mllm.deadline_s, images=settings.images
    )
    pieces: list[str] = []
    try:
        async with aclosing(mllm.stream(event)) as stream:
            async for piece in stream:
                pieces.append(piece)
                if not as_json:
                    sys.stdout.write(printable(piece))
                    sys.stdout.flush()
    finally:
        if pieces and not as_json:
            sys.stdout.write("\n")
        await mllm.close()
    if as_json:
        sys.stdout.write(json.dumps({"mllm": mllm.revision, "answer": "".join(pieces)}) + "\n")
