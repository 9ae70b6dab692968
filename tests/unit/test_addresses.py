"""Which addresses a request may go to that somebody else asked for."""

from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_text.domain.addresses import METADATA, is_public, is_reachable

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:82a::200e",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2600::",
    "3ffe:ffff::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "64:ff9b::808:808",
]

SPECIAL = [
    "0.0.0.0",
    "0.0.0.1",
    "0.255.255.255",
    "10.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.0",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.1.1",
    "169.254.255.255",
    "172.16.0.0",
    "172.17.0.1",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.1",
    "192.0.0.8",
    "192.0.0.9",
    "192.0.0.10",
    "192.0.0.170",
    "192.0.0.171",
    "192.0.2.0",
    "192.0.2.255",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.88.99.2",
    "192.168.0.0",
    "192.168.1.1",
    "192.168.255.255",
    "192.175.48.1",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.254",
    "255.255.255.255",
    "::",
    "::1",
    "::2",
    "::7f00:1",  # the deprecated "IPv4-compatible" 127.0.0.1
    "::808:808",
    "::ffff:0:8.8.8.8",  # IPv4-translated (SIIT)
    "::ffff:0.0.0.0",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:192.168.1.1",
    "::ffff:169.254.1.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b::169.254.1.1",
    "64:ff9b:0:0:1::1",
    "64:ff9b:1::1",
    "64:ff9b:1::808:808",
    "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
    "100::1",
    "100:0:0:1::1",
    "2001::1",  # Teredo
    "2001:0:7f00:1:0:0:80ff:fffe",
    "2001:0:808:808::1",
    "2001:1::1",
    "2001:1::2",
    "2001:1::3",
    "2001:2::1",
    "2001:3::1",
    "2001:4:112::1",
    "2001:10::1",
    "2001:20::1",
    "2001:30::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "2001:db8:ffff::1",
    "2002:7f00:1::1",  # 6to4
    "2002:a00:1::1",
    "2002:808:808::1",
    "2620:4f:8000::1",
    "3fff::1",
    "3fff:fff::1",
    "4000::1",
    "5f00::1",
    "8000::1",
    "fc00::1",
    "fd00::1",
    "fdff:ffff::1",
    "fe00::1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2606:4700:4700::1111%eth0",
]

CREDENTIALS = [*sorted(map(str, METADATA)), "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "::ffff:a9fe:a9fe"]

EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_internet_is_public(text: str) -> None:
    assert is_public(ip_address(text))
    assert is_reachable(ip_address(text))


@pytest.mark.parametrize("text", SPECIAL)
def test_an_address_with_a_purpose_of_its_own_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))
    assert not is_reachable(ip_address(text))


@pytest.mark.parametrize("text", CREDENTIALS)
def test_what_tells_a_machine_its_credentials_is_never_reached_whatever_is_allowed(text: str) -> None:
    assert not is_reachable(ip_address(text))
    assert not is_reachable(ip_address(text), EVERYWHERE)


def test_an_allowed_network_is_reached_and_its_neighbour_is_not() -> None:
    allowed = (ip_network("10.20.0.0/16"), ip_network("fd12::/16"))
    assert is_reachable(ip_address("10.20.3.4"), allowed)
    assert is_reachable(ip_address("::ffff:10.20.3.4"), allowed)
    assert is_reachable(ip_address("fd12::1"), allowed)
    assert not is_reachable(ip_address("10.21.3.4"), allowed)
    assert not is_reachable(ip_address("fd13::1"), allowed)


def test_an_address_with_a_zone_is_not_reached_even_where_its_network_is_allowed() -> None:
    assert not is_reachable(ip_address("fe80::1%2"), EVERYWHERE)


@given(st.ip_addresses())
def test_nothing_is_public_here_that_python_calls_private_or_reserved(address: object) -> None:
    """Python's own opinion is a second one; it differs only where this one is stricter, and wraps."""
    found = ip_address(str(address))
    if is_public(found) and not str(found).startswith(("64:ff9b::", "::ffff:")):
        kinds = ("private", "loopback", "link_local", "multicast", "reserved", "unspecified")
        assert [kind for kind in kinds if getattr(found, f"is_{kind}")] == []


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_however_it_is_wrapped(address: IPv4Address) -> None:
    for prefix in ("::ffff:", "64:ff9b::"):
        assert is_public(ip_address(f"{prefix}{address}")) == is_public(address)
