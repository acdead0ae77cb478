"""Images in an S3-compatible store: a server on loopback that checks what it is asked."""

import hashlib
import hmac
from typing import Any

import boto3  # type: ignore[import-untyped]  # ships no types
import pytest
from aiohttp import web
from botocore.exceptions import ClientError  # type: ignore[import-untyped]  # ships no types
from pydantic import SecretStr

from protector_models.images.settings import FetchSettings, ObjectStoreSettings
from protector_models.moderation.images import ImageContent, ImageFault
from protector_models.moderation.model_outputs import ItemFailure
from tests.protector_models.images.image_hosts import (
    PNG,
    ImageHost,
    drip,
    open_host,
    open_internet,
    redirecting,
    replying,
)

SECRET = "very-secret-key"


def settings(host: ImageHost, **fields: Any) -> FetchSettings:
    """Build settings of a store on loopback."""
    store = ObjectStoreSettings(
        endpoint_url=f"http://127.0.0.1:{host.port}", access_key_id="me", secret_access_key=SecretStr(SECRET)
    )
    return FetchSettings(**{"schemes": ["s3"], "buckets": ["images"], "object_store": store, "timeout_s": 5, **fields})


def fault(result: ImageContent | ItemFailure) -> str:
    """Return the error of a failure."""
    assert isinstance(result, ItemFailure)
    assert not any(word in result.message for word in (SECRET, "Signature", "127.0.0.1"))
    return result.error


def signature(request: web.BaseRequest) -> str:
    """Return how a request has to be signed (AWS Signature Version 4, in the query), from what came in."""
    path, _, query = request.raw_path.partition("?")
    signed = "&".join(sorted(part for part in query.split("&") if not part.startswith("X-Amz-Signature=")))
    canonical = "\n".join(["GET", path, signed, f"host:{request.host}", "", "host", "UNSIGNED-PAYLOAD"])
    _, *scope = request.query["X-Amz-Credential"].split("/")
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", request.query["X-Amz-Date"], "/".join(scope), hashed])
    key = f"AWS4{SECRET}".encode()
    for part in (*scope, to_sign):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


async def test_objects_are_fetched_with_signed_requests() -> None:
    keys = ["cat.png", "a/b c/ä+%41.png", "query?=&.png"]
    async with open_host(replying()) as host, open_internet(settings(host), {}) as internet:
        results = await internet.source.fetch([f"s3://images/{key}" for key in keys])

        assert all(isinstance(result, ImageContent) for result in results)
        assert sorted(request.path for request in host.requests) == sorted(f"/images/{key}" for key in keys)
        assert [request.query["X-Amz-Signature"] for request in host.requests] == [
            signature(request) for request in host.requests
        ]
        assert not any(SECRET in str(request.rel_url) + str(request.headers) for request in host.requests)


async def test_only_buckets_that_are_configured_are_asked() -> None:
    references = ["s3://secrets/cat.png", "s3://Images/cat.png", "s3://images.evil/cat.png"]
    async with open_host(replying()) as host, open_internet(settings(host), {}) as internet:
        results = await internet.source.fetch(references)

        assert [fault(result) for result in results] == [ImageFault.REFERENCE_NOT_ALLOWED] * len(references)
        assert host.requests == []


async def test_what_names_no_single_object_is_refused() -> None:
    paths = ["images", "images/", "images/../secrets/a", "images/a/./b", "images//a", "images/a\nb", ""]
    async with open_host(replying()) as host, open_internet(settings(host), {}) as internet:
        results = await internet.source.fetch([f"s3://{path}" for path in [*paths, "images/" + "ä" * 513]])

        assert [fault(result) for result in results] == [ImageFault.INVALID_REFERENCE] * (len(paths) + 1)
        assert host.requests == []


async def test_objects_are_under_the_limits_of_all_downloads() -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        handlers = {
            "large": replying(PNG * 10),
            "gone": replying(b"", status=404),
            "drip": drip,
            "html": replying(b"<html>"),
            "redirect": redirecting(lambda request: f"http://{request.host}/images/cat.png"),
        }
        return await handlers[request.path.rsplit("/", 1)[-1]](request)

    names = ["large", "gone", "drip", "html", "redirect"]
    async with (
        open_host(handle) as host,
        open_internet(settings(host, max_bytes=len(PNG), timeout_s=0.5, max_attempts=1), {}) as internet,
    ):
        results = await internet.source.fetch([f"s3://images/{name}" for name in names])

    assert [fault(result) for result in results] == [
        ImageFault.TOO_MANY_BYTES,
        ImageFault.FETCH_FAILED,
        ImageFault.FETCH_TIMEOUT,
        ImageFault.FORMAT_NOT_ALLOWED,
        ImageFault.REDIRECT_NOT_ALLOWED,
    ]


async def test_without_keys_the_request_fails_and_the_process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3.session.Session, "get_credentials", lambda _session: None)
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _session: None)
    async with open_host(replying()) as host:
        store = ObjectStoreSettings(endpoint_url=f"http://127.0.0.1:{host.port}")
        async with open_internet(settings(host, object_store=store), {}) as internet:
            assert fault(await internet.fetch("s3://images/cat.png")) == ImageFault.FETCH_FAILED
        assert host.requests == []


async def test_a_role_that_is_refused_is_a_failure_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_named: object) -> str:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "AssumeRole")

    async with open_host(replying()) as host, open_internet(settings(host), {}) as internet:
        monkeypatch.setattr("botocore.signers.RequestSigner.generate_presigned_url", refuse)
        assert fault(await internet.fetch("s3://images/cat.png")) == ImageFault.FETCH_FAILED
        assert host.requests == []
