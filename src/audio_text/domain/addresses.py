"""Which addresses are anybody's: those of the public internet, and none that only this machine or its network has."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SPECIAL_IPV4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network; 0.0.0.0 is this machine
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # behind a carrier's translator
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and what clouds tell their machines
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
"""IANA's IPv4 Special-Purpose Address Registry, all of it, and multicast."""

UNICAST_IPV6 = IPv6Network("2000::/3")
"""All that IANA gives out as global unicast: what lies outside is special, or nobody's yet."""

SPECIAL_IPV6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID, AMT, AS112
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which leads to an IPv4 address of its sender's choice
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
"""The rows of IANA's IPv6 Special-Purpose Address Registry that lie within global unicast."""

TRANSLATED = IPv6Network("64:ff9b::/96")
"""NAT64: the last 32 bits are the IPv4 address that is reached (RFC 6052)."""

METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # nearly all clouds
        "169.254.170.2",  # Amazon's containers
        "169.254.170.23",  # Amazon's pods
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's host, an address that looks public
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # Amazon
        "fd00:ec2::23",  # Amazon's pods
        "fd20:ce::254",  # Google
    )
)
"""Where a cloud hands a machine its credentials: never reached, whatever networks are allowed."""


def is_reachable(address: Address, allowed: Iterable[Network] = ()) -> bool:
    """Whether a request that somebody else asked for may go there: to a public address, or into an allowed network.

    What leads to an IPv4 address (mapped, NAT64) is judged as that one. Never metadata, nor an address with a zone.
    """
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return False
    final = _final(address)
    if final in METADATA:
        return False
    return is_public(final) or any(
        candidate in network
        for network in allowed
        for candidate in {address, final}
        if network.version == candidate.version
    )


def is_public(address: Address) -> bool:
    """Whether anybody on the internet may have this address."""
    address = _final(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in SPECIAL_IPV4)
    return (
        address.scope_id is None and address in UNICAST_IPV6 and not any(address in network for network in SPECIAL_IPV6)
    )


def _final(address: Address) -> Address:
    """The IPv4 address that is reached in the end, where an IPv6 address only wraps it."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in TRANSLATED:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
