"""The address that a request counts for is never one that the client itself could write."""

from typing import Any

import pytest

from audio_text.api.client_address import MOST_HOPS, client_address

PROXIES = ("10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1")


def scope(peer: str, *forwarded: str) -> dict[str, Any]:
    lines = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    return {"client": (peer, 4711), "headers": [(b"host", b"api.test"), *lines]}


def test_without_trusted_proxies_it_is_the_peer_whatever_the_header_says() -> None:
    assert client_address(scope("192.0.2.1", "198.51.100.7"), ()) == "192.0.2.1"


def test_a_peer_that_is_no_trusted_proxy_is_not_believed() -> None:
    assert client_address(scope("192.0.2.1", "198.51.100.7"), PROXIES) == "192.0.2.1"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:0DB8:0:0::7", "2001:db8::7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("  198.51.100.7\t", "198.51.100.7"),
        ("1.2.3.4, 198.51.100.7", "198.51.100.7"),
        ("1.2.3.4, 198.51.100.7, 10.2.3.4", "198.51.100.7"),
        ("1.2.3.4,198.51.100.7,10.2.3.4,2001:db8:1::5,127.0.0.1", "198.51.100.7"),
        ("10.9.9.9, 10.2.3.4", "10.9.9.9"),
    ],
)
def test_trusted_proxies_tell_whom_they_had_as_client(forwarded: str, client: str) -> None:
    assert client_address(scope("10.0.0.1", forwarded), PROXIES) == client


def test_several_lines_of_the_header_are_one_list() -> None:
    assert client_address(scope("10.0.0.1", "1.2.3.4", "198.51.100.7, 10.2.3.4"), PROXIES) == "198.51.100.7"
    assert client_address(scope("10.0.0.1", "198.51.100.7", "10.2.3.4"), PROXIES) == "198.51.100.7"


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "unknown",
        "_hidden",
        "198.51.100.7:port",
        "198.51.100.7:",
        "[2001:db8::7",
        "[2001:db8::7]x",
        "198.51.100.07",
        "198.51.100",
        "3325256711",
        "198.51.100.7/8",
        "\xff",
        '"198.51.100.7"',
        "198.51.100.7;10.0.0.1",
        "٣.1.1.1".encode().decode("latin-1"),
    ],
)
def test_garbage_is_ignored_and_so_is_everything_before_it(garbage: str) -> None:
    assert client_address(scope("10.0.0.1", f"1.2.3.4, {garbage}"), PROXIES) == "10.0.0.1"
    assert client_address(scope("10.0.0.1", f"1.2.3.4, {garbage}, 10.2.3.4"), PROXIES) == "10.2.3.4"


def test_a_list_longer_than_any_way_is_read_only_so_far() -> None:
    endless = "1.2.3.4," + "10.0.0.2," * 50_000
    assert client_address(scope("10.0.0.1", endless.rstrip(",")), PROXIES) == "10.0.0.2"
    as_far_as_it_goes = "198.51.100.7" + ",10.0.0.2" * (MOST_HOPS - 1)
    assert client_address(scope("10.0.0.1", as_far_as_it_goes), PROXIES) == "198.51.100.7"


def test_the_peer_of_an_ipv6_socket_may_be_an_ipv4_proxy() -> None:
    assert client_address(scope("::ffff:10.0.0.1", "198.51.100.7"), PROXIES) == "198.51.100.7"
    assert client_address(scope("::ffff:192.0.2.1"), PROXIES) == "192.0.2.1"


def test_a_connection_without_an_address_has_none() -> None:
    assert client_address({"client": None, "headers": [(b"x-forwarded-for", b"1.2.3.4")]}, ("0.0.0.0/0",)) == ""
