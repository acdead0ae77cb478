"""Public addresses of the internet: those that lead to no private, local or special network.

Written out, and not taken from `ipaddress.is_global`: what that returns changes between patch releases of Python, and
it calls multicast addresses and those of tunnels global.

Source: the special-purpose address registries of IANA (RFC 6890 and its updates), read 2026-11.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_SPECIAL_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # behind a carrier's address translation
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; clouds keep their metadata service, and its keys, there
        "168.63.129.16/32",  # the host of a virtual machine at Azure: public by its number, but never by its use
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)

_GLOBAL_UNICAST_IPV6 = IPv6Network("2000::/3")
"""What is not in here is loopback, link-local, site-local, unique local, multicast, or not assigned."""

_SPECIAL_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments; Teredo tunnels, benchmarks, identifiers that are no addresses
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 tunnels: any IPv4 address, private ones as well, in 48 bits
        "3fff::/20",  # documentation
        "3ffe::/16",  # a test network that is no more
    )
)

_TRANSLATED = IPv6Network("64:ff9b::/96")
"""How hosts without IPv4 reach those without IPv6 (NAT64): the last 32 bits are the IPv4 address."""


def reached_address(address: IPAddress) -> IPAddress:
    """Return where packets to an address end: the IPv4 address that a mapped or translated IPv6 address holds."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_public(address: IPAddress) -> bool:
    """Say whether an address is a global unicast one, and the address that it holds, if any, as well."""
    reached = reached_address(address)
    if isinstance(reached, IPv4Address):
        return not any(reached in network for network in _SPECIAL_IPV4)
    return reached in _GLOBAL_UNICAST_IPV6 and not any(reached in network for network in _SPECIAL_IPV6)


def is_in(address: IPAddress, networks: tuple[IPNetwork, ...]) -> bool:
    """Say whether an address, or the one that it holds, lies in one of the networks."""
    reached = reached_address(address)
    return any(reached in network for network in networks)
