from __future__ import annotations

import pytest

from turnkeeper.channels.platform_url import address_of, platform_url

EXAMPLE = "https://api.example.org"


@pytest.mark.parametrize(
    ("told", "url", "address", "is_local"),
    [
        ("https://api.example.org", "https://api.example.org", "api.example.org:443", False),
        ("https://api.example.org/", "https://api.example.org", "api.example.org:443", False),
        ("https://example.org:8443/v1/", "https://example.org:8443/v1", "example.org:8443", False),
        ("http://127.0.0.1:81", "http://127.0.0.1:81", "127.0.0.1:81", True),
        ("http://localhost", "http://localhost", "localhost:80", True),
        ("http://[::1]:81", "http://[::1]:81", "::1:81", True),
    ],
)
def test_a_plain_url_is_taken(told: str, url: str, address: str, is_local: bool) -> None:
    place = platform_url(told, "api_url", EXAMPLE)
    assert (place.url, place.address, place.is_local) == (url, address, is_local)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("https://[", "api_url is no URL"),
        ("https://example.org:99999", "api_url is no URL"),
        ("example.org", f"api_url must be like {EXAMPLE}"),
        ("https://", f"api_url must be like {EXAMPLE}"),
        ("https://me@example.org", f"api_url must be like {EXAMPLE}"),
        ("https://:secret@example.org", f"api_url must be like {EXAMPLE}"),
        ("https://example.org?a=b", f"api_url must be like {EXAMPLE}"),
        ("https://example.org#a", f"api_url must be like {EXAMPLE}"),
        ("http://example.org", "api_url must begin with https://"),
        ("ftp://localhost", "api_url must begin with https://"),
    ],
)
def test_another_url_is_refused_and_not_quoted(told: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        platform_url(told, "api_url", EXAMPLE)
    assert "secret" not in str(refused.value)


def test_a_query_is_taken_where_there_may_be_one() -> None:
    told = "https://example.org/a?b=c"
    assert platform_url(told, "outbound_url", EXAMPLE, with_query=True).url == told
    with pytest.raises(ValueError, match="must be like"):
        platform_url(f"{told}#d", "outbound_url", EXAMPLE, with_query=True)


def test_an_address_has_the_port_of_its_scheme() -> None:
    assert address_of("https://EXAMPLE.org/a?b") == "example.org:443"
    assert address_of("http://example.org") == "example.org:80"
    assert address_of("https://example.org:444") == "example.org:444"
