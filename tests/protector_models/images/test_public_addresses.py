"""Which addresses are public, against what `ipaddress` knows of them."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.images.public_addresses import is_in, is_public, reached_address

ADDRESSES = st.ip_addresses() | st.sampled_from(
    [
        *("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "224.0.0.0/4", "fc00::/7", "fe80::/10"),
        *("fec0::/10", "ff00::/8", "2001::/16", "2002::/16", "64:ff9b::/96", "::ffff:0:0/96"),
    ]
).flatmap(lambda network: st.ip_addresses(network=network))


@given(ADDRESSES)
def test_no_address_is_public_that_the_standard_library_calls_special(address: IPv4Address | IPv6Address) -> None:
    reached = reached_address(address)
    is_special = any(
        (
            reached.is_private,
            reached.is_loopback,
            reached.is_link_local,
            reached.is_multicast,
            reached.is_reserved,
            reached.is_unspecified,
            isinstance(reached, IPv6Address) and reached.is_site_local,
        )
    )
    assert not (is_public(address) and is_special)
    assert not is_public(address) or reached.is_global


@given(st.ip_addresses(v=4))
def test_an_address_in_another_is_as_public_as_it_is_itself(address: IPv4Address) -> None:
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        holder = IPv6Address(int(IPv6Address(prefix)) + int(address))
        assert is_public(holder) == is_public(address)
        assert is_in(holder, (ipaddress.ip_network(address),))


@given(st.ip_addresses(v=4))
def test_no_address_of_a_tunnel_is_public(address: IPv4Address) -> None:
    teredo = IPv6Address((0x2001_0000 << 96) + (int(address) ^ 0xFFFF_FFFF))
    six_to_four = IPv6Address((0x2002 << 112) + (int(address) << 80))
    compatible = IPv6Address(int(address))
    assert not any(is_public(holder) for holder in (teredo, six_to_four, compatible))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.31.255.255"),
        "168.63.129.16",
        *("192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
        *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "fc00::1"),
        *("fd00:ec2::254", "fe80::1", "fe80::1%2", "fec0::1", "ff02::1", "2001::1", "2001:db8::1", "2002:7f00:1::"),
        *("3fff::1", "5f00::1", "4000::1"),
    ],
)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:2800:220:1::1", "64:ff9b::808:808", "::ffff:8.8.8.8", "2a00::1"],
)
def test_ordinary_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
