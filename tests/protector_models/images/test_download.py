"""Images over HTTP from servers on loopback that hang, drip, lie, fail and redirect."""

import asyncio
import gzip

import pytest
from aiohttp import web

from protector_models.moderation.images import ImageContent, ImageFault
from protector_models.moderation.model_outputs import ItemFailure
from tests.protector_models.images.image_hosts import (
    METADATA,
    OTHER_PUBLIC,
    PNG,
    PRIVATE,
    PUBLIC,
    drip,
    hang,
    open_host,
    open_internet,
    redirecting,
    replying,
    stop_halfway,
    web_settings,
)

SECRET = "token=abc123"


def fault(result: ImageContent | ItemFailure) -> str:
    """Return the error of a failure."""
    assert isinstance(result, ItemFailure)
    assert SECRET not in result.message
    return result.error


async def test_an_image_is_fetched_with_nothing_but_its_bytes_and_their_format() -> None:
    async with (
        open_host(replying(Content_Type="text/html", Set_Cookie="a=b")) as host,
        open_internet(web_settings(host)) as internet,
    ):
        first = await internet.fetch(f"http://img.example.org:{host.port}/a/cat.png?{SECRET}#top")
        await internet.fetch(f"http://img.example.org:{host.port}/b")

        assert isinstance(first, ImageContent)
        assert (first.data, first.media_type) == (PNG, "image/png")
        assert [request.path_qs for request in host.requests] == [f"/a/cat.png?{SECRET}", "/b"]
        assert dict(host.requests[1].headers) == {
            "Host": f"img.example.org:{host.port}",
            "Accept": "image/*",
            "Accept-Encoding": "identity",
            "User-Agent": "weir",
        }


async def test_proxies_and_passwords_of_the_environment_take_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{PRIVATE}:3128")
    async with open_host(replying()) as host, open_internet(web_settings(host)) as internet:
        assert isinstance(await internet.fetch(f"http://img.example.org:{host.port}/"), ImageContent)
        assert internet.connector.attempts == [(PUBLIC, host.port)]


@pytest.mark.parametrize("handle", [hang, drip])
async def test_a_host_that_hangs_or_drips_ends_at_the_deadline(handle: object) -> None:
    async with (
        open_host(handle) as host,  # type: ignore[arg-type]  # both are handlers
        open_internet(web_settings(host, timeout_s=0.2)) as internet,
    ):
        begun = asyncio.get_running_loop().time()
        assert fault(await internet.fetch(f"http://img.example.org:{host.port}/?{SECRET}")) == ImageFault.FETCH_TIMEOUT
        assert asyncio.get_running_loop().time() - begun < 2


async def test_a_host_that_hangs_does_not_hold_up_another() -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        is_slow = request.headers["Host"].startswith("slow")
        return await (hang if is_slow else replying())(request)

    names = {"slow.example.org": [[PUBLIC]], "img.example.org": [[PUBLIC]]}
    async with open_host(handle) as host:
        settings = web_settings(host, hosts=["*"], concurrency=2, concurrency_per_host=1, timeout_s=0.5)
        async with open_internet(settings, names) as internet:
            slow = [f"http://slow.example.org:{host.port}/{number}" for number in range(20)]
            results = await internet.source.fetch([*slow, f"http://img.example.org:{host.port}/"])

    assert {fault(result) for result in results[:-1]} == {ImageFault.FETCH_TIMEOUT}
    assert isinstance(results[-1], ImageContent)


async def test_no_more_images_are_fetched_at_once_than_configured() -> None:
    at_once, most = 0, 0
    full = asyncio.Event()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if at_once == 4:
            full.set()
        await full.wait()
        at_once -= 1
        return await replying()(request)

    async with (
        open_host(handle) as host,
        open_internet(web_settings(host, concurrency=4)) as internet,
    ):
        references = [f"http://img.example.org:{host.port}/{number}" for number in range(40)]
        results = await internet.source.fetch(references)

    assert all(isinstance(result, ImageContent) for result in results)
    assert most == 4


async def test_an_image_at_the_limit_is_fetched_and_one_byte_more_is_not() -> None:
    async with open_host(replying()) as host:
        for max_bytes, expected in ((len(PNG), None), (len(PNG) - 1, ImageFault.TOO_MANY_BYTES)):
            async with open_internet(web_settings(host, max_bytes=max_bytes)) as internet:
                result = await internet.fetch(f"http://img.example.org:{host.port}/?{SECRET}")
                assert (None if isinstance(result, ImageContent) else fault(result)) == expected


async def test_a_body_without_end_or_length_is_read_to_the_limit_only() -> None:
    sent = 0

    async def pour(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65_536))
            sent += 65_536

    async with open_host(pour) as host, open_internet(web_settings(host, max_bytes=100_000)) as internet:
        assert fault(await internet.fetch(f"http://img.example.org:{host.port}/")) == ImageFault.TOO_MANY_BYTES
    # What the kernel's buffers took is not what was read.
    assert sent < 20_000_000


async def test_a_length_that_is_announced_too_large_ends_it_before_the_body() -> None:
    async def announce(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(10**15)})
        await response.prepare(request)
        return await hang(request)

    async with open_host(announce) as host, open_internet(web_settings(host)) as internet:
        assert fault(await internet.fetch(f"http://img.example.org:{host.port}/")) == ImageFault.TOO_MANY_BYTES


async def test_compressed_answers_are_refused_so_that_none_can_grow() -> None:
    bomb = gzip.compress(PNG + bytes(50_000_000))
    async with (
        open_host(replying(bomb, Content_Encoding="gzip")) as host,
        open_internet(web_settings(host)) as internet,
    ):
        assert fault(await internet.fetch(f"http://img.example.org:{host.port}/")) == ImageFault.FETCH_FAILED


async def test_what_only_pretends_to_be_a_picture_is_refused() -> None:
    bodies = [
        b"<html><body>not a picture</body></html>",
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        b"%PDF-1.7",
        b"BMW is a car, not a bitmap",
        b"",
    ]

    async def pretend(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bodies[int(request.path[1])], content_type="image/png")

    async with open_host(pretend) as host, open_internet(web_settings(host)) as internet:
        references = [f"http://img.example.org:{host.port}/{number}.png" for number in range(len(bodies))]
        results = await internet.source.fetch(references)

    assert [fault(result) for result in results] == [ImageFault.FORMAT_NOT_ALLOWED] * len(bodies)


async def answer_with_status(request: web.BaseRequest) -> web.StreamResponse:
    """Answer with the status that the path names."""
    return web.Response(status=int(request.path[1:]), headers={"Retry-After": "0"})


async def test_a_refusal_is_final() -> None:
    statuses = (204, 206, 301, 304, 400, 403, 404, 410, 501)
    async with open_host(answer_with_status) as host, open_internet(web_settings(host)) as internet:
        references = [f"http://img.example.org:{host.port}/{status}?{SECRET}" for status in statuses]
        results = await internet.source.fetch(references)

        assert [fault(result) for result in results] == [ImageFault.FETCH_FAILED] * len(statuses)
        assert len(host.requests) == len(statuses)


async def test_a_host_that_is_busy_is_asked_again_as_often_as_configured() -> None:
    statuses = (408, 429, 500, 502, 503, 504)
    async with open_host(answer_with_status) as host, open_internet(web_settings(host, max_attempts=3)) as internet:
        results = await internet.source.fetch([f"http://img.example.org:{host.port}/{status}" for status in statuses])

        assert [fault(result) for result in results] == [ImageFault.FETCH_FAILED] * len(statuses)
        assert sorted(request.path for request in host.requests) == sorted([f"/{status}" for status in statuses] * 3)


async def test_the_image_of_a_host_that_recovers_is_fetched() -> None:
    replies = iter([replying(b"", status=429, Retry_After="0"), stop_halfway, replying()])

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await next(replies)(request)

    async with open_host(handle) as host, open_internet(web_settings(host)) as internet:
        assert isinstance(await internet.fetch(f"http://img.example.org:{host.port}/"), ImageContent)


async def test_half_a_body_is_no_image() -> None:
    async with open_host(stop_halfway) as host, open_internet(web_settings(host, max_attempts=2)) as internet:
        assert fault(await internet.fetch(f"http://img.example.org:{host.port}/")) == ImageFault.FETCH_FAILED
        assert len(host.requests) == 2


async def test_a_wait_that_would_outlast_the_deadline_is_not_begun() -> None:
    async with (
        open_host(replying(b"", status=503, Retry_After="3600")) as host,
        open_internet(web_settings(host)) as internet,
    ):
        begun = asyncio.get_running_loop().time()
        assert fault(await internet.fetch(f"http://img.example.org:{host.port}/")) == ImageFault.FETCH_FAILED
        assert asyncio.get_running_loop().time() - begun < 2


async def test_what_is_no_http_is_a_failure() -> None:
    async def shout(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example.org ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(shout, "127.0.0.1", 0) as server, open_host(replying()) as host:
        host.port = server.sockets[0].getsockname()[1]
        async with open_internet(web_settings(host, max_attempts=1)) as internet:
            assert fault(await internet.fetch(f"http://img.example.org:{host.port}/")) == ImageFault.FETCH_FAILED


async def test_redirects_on_the_same_host_and_to_another_that_is_listed_are_followed() -> None:
    def forward(request: web.BaseRequest) -> str:
        port = request.transport.get_extra_info("sockname")[1] if request.transport else 0
        return {"/1": "/2", "/2": f"//cdn.example.org:{port}/3"}[request.path]

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await (replying() if request.path == "/3" else redirecting(forward))(request)

    names = {"img.example.org": [[PUBLIC]], "cdn.example.org": [[OTHER_PUBLIC]]}
    async with open_host(handle) as host:
        settings = web_settings(host, hosts=["img.example.org", "cdn.example.org"])
        async with open_internet(settings, names) as internet:
            assert isinstance(await internet.fetch(f"http://img.example.org:{host.port}/1"), ImageContent)
            assert {address for address, _ in internet.connector.attempts} == {PUBLIC, OTHER_PUBLIC}


async def test_a_redirect_leads_to_nothing_that_could_not_be_a_reference() -> None:
    locations = [
        f"http://{METADATA}/latest/meta-data/",
        f"//{PRIVATE}/",
        "http://other.example.org/",
        "http://img.example.org:22/",
        "http://user:password@img.example.org/",
        "file:///etc/passwd",
        "ftp://img.example.org/",
        "data:image/png;base64,iVBORw0KGgo=",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "http://[",
        "http://img.example.org\\@127.0.0.1/",
        "http://2130706433/",
    ]
    async with (
        open_host(redirecting(lambda request: locations[int(request.path[1:])])) as host,
        open_internet(web_settings(host)) as internet,
    ):
        references = [f"http://img.example.org:{host.port}/{number}?{SECRET}" for number in range(len(locations))]
        results = await internet.source.fetch(references)

        assert [fault(result) for result in results] == [ImageFault.REDIRECT_NOT_ALLOWED] * len(locations)
        assert len(host.requests) == len(locations)
        assert set(internet.connector.attempts) == {(PUBLIC, host.port)}


@pytest.mark.parametrize("target", [f"http://{METADATA}/latest/", f"http://{PRIVATE}/", "http://inside.example.org/"])
async def test_a_redirect_to_a_private_address_is_refused_even_where_any_host_is_allowed(target: str) -> None:
    names = {"img.example.org": [[PUBLIC]], "inside.example.org": [[PRIVATE]]}
    async with (
        open_host(redirecting(lambda _request: target)) as host,
        open_internet(web_settings(host, hosts=["*"], ports=[host.port, 80]), names) as internet,
    ):
        assert fault(await internet.fetch(f"http://img.example.org:{host.port}/")) == ImageFault.ADDRESS_NOT_ALLOWED
        assert internet.connector.attempts == [(PUBLIC, host.port)]


@pytest.mark.parametrize("max_redirects", [0, 1, 3])
async def test_a_redirect_loop_ends_at_the_limit(max_redirects: int) -> None:
    async with (
        open_host(redirecting(lambda request: request.path)) as host,
        open_internet(web_settings(host, max_redirects=max_redirects)) as internet,
    ):
        result = await internet.fetch(f"http://img.example.org:{host.port}/")

        assert fault(result) == ImageFault.REDIRECT_NOT_ALLOWED
        assert len(host.requests) == max_redirects + 1
