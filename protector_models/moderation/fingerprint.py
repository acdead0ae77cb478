"""Keys under which model outputs are cached: what the model saw, and which model it was."""

import hashlib
import json

from protector_models.moderation.conversation import Exchange, SeenImage, UnreadPart
from protector_models.moderation.ports import RewriteRequest


def exchange_fingerprint(exchange: Exchange) -> str:
    """Return a digest of everything the models see of an exchange.

    Each part is preceded by its length, so that no two exchanges share the bytes that are hashed.

    Returns:
        64 hexadecimal characters (SHA-256).
    """
    digest = hashlib.sha256()
    # Unread parts come last, and only where there are any: the keys of all other exchanges stay as they were.
    unread = map(_as_unread, exchange.unread_parts)
    for part in (exchange.prompt, exchange.response, *map(_as_part, exchange.images), *unread):
        encoded = part.encode()
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return digest.hexdigest()


def _as_part(image: SeenImage) -> str:
    # Coverage tells the reasons, so they are part of what a detector puts out.
    return f"unread:{image.unread_reason}" if image.text is None else f"text:{image.text}"


def _as_unread(part: UnreadPart) -> str:
    # Like no image's part: those begin with "unread:" or "text:".
    return f"part:{part.position}:{part.kind}"


def image_key(reader_revision: str, sha256: str) -> str:
    """Return the cache key of what a reader reads in an image."""
    return f"image:{reader_revision}:{sha256}"


def assessment_key(detector_revision: str, fingerprint: str) -> str:
    """Return the cache key of a detector's assessment of an exchange."""
    return f"assessment:{detector_revision}:{fingerprint}"


def rewrite_key(detoxifier_revision: str, request: RewriteRequest, fingerprint: str) -> str:
    """Return the cache key of a detoxifier's rewrite; it depends on all that a `RewriteRequest` holds.

    Args:
        detoxifier_revision: who writes.
        request: what is asked for.
        fingerprint: of its exchange.
    """
    # As JSON no part can run into the next, and "no category" differs from an empty one.
    spans = [[span.start, span.end] for span in request.spans]
    asked = json.dumps([request.method, spans, request.category, request.attempt])
    return f"rewrite:{detoxifier_revision}:{fingerprint}:{hashlib.sha256(asked.encode()).hexdigest()}"
