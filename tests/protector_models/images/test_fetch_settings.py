"""From where images may be fetched, as it is configured."""

from typing import Any

import pytest
from pydantic import ValidationError

from protector_models.images.settings import FetchSettings

WEB = {"schemes": ["https"], "hosts": ["img.example.org"]}


def test_by_default_only_data_urls_are_read() -> None:
    settings = FetchSettings()
    assert settings.schemes == ("data",)
    assert (settings.hosts, settings.buckets, settings.roots, settings.allowed_networks) == ((), (), (), ())


@pytest.mark.parametrize(
    "fields",
    [
        {**WEB, "hosts": ["*.Example.org", "*", "[::1]", "10.1.2.3"], "allowed_networks": ["10.1.0.0/16", "::1/128"]},
        {"schemes": ["s3"], "buckets": ["b"], "object_store": {"endpoint_url": "http://minio:9000", "region": "eu"}},
        {"schemes": ["data", "file"], "roots": ["/images"]},
    ],
)
def test_settings_that_were_written_out_can_be_read_again(fields: dict[str, Any]) -> None:
    settings = FetchSettings.model_validate(fields)
    assert FetchSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"schemes": ["https"]}, "hosts"),
        ({"schemes": ["s3"]}, "buckets"),
        ({"schemes": ["file"]}, "roots"),
        ({"schemes": ["gopher"]}, "schemes"),
        ({"hosts": ["img.example.org"]}, "hosts"),
        ({"roots": ["/images"]}, "roots"),
        ({"schemes": ["file"], "roots": ["/images"], "max_redirects": 1}, "max_redirects"),
        ({**WEB, "hosts": ["https://img.example.org"]}, "hosts"),
        ({**WEB, "hosts": ["img.*.org"]}, "hosts"),
        ({**WEB, "hosts": [""]}, "hosts"),
        ({**WEB, "ports": []}, "ports"),
        ({**WEB, "allowed_networks": ["10.1.2.3/8"]}, "allowed_networks"),
        ({"schemes": ["s3"], "buckets": ["b"], "object_store": {"access_key_id": "a"}}, "secret_access_key"),
        ({"schemes": ["s3"], "buckets": ["b"], "object_store": {"endpoint_url": "http://a:b@c"}}, "endpoint_url"),
        ({"proxy": "http://proxy"}, "proxy"),
    ],
)
def test_what_allows_nothing_or_is_not_used_is_an_error_that_names_the_key(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        FetchSettings.model_validate(fields)


@pytest.mark.parametrize("wrong", [{"region": 1}, {"access_key_id": None}])
@pytest.mark.parametrize("fields", [{}, {"schemes": ["data"]}])
def test_the_secret_key_is_not_shown(wrong: dict[str, Any], fields: dict[str, Any]) -> None:
    store = {"access_key_id": "me", "secret_access_key": "very-secret", **wrong}
    with pytest.raises(ValidationError) as caught:
        FetchSettings.model_validate({"schemes": ["s3"], "buckets": ["b"], "object_store": store, **fields})
    assert "very-secret" not in str(caught.value)
