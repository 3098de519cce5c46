# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which IP addresses are not on the public Internet, by the IANA registries of special-purpose addresses.

The registries are those of RFC 6890, for IPv4 and IPv6, and that of multicast. Of IPv6 only 2000::/3 is assigned to the
public Internet, so everything outside is refused, whatever it is used for one day.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

#: The first that contains an address decides what the address is called, so narrow ones come first.
SPECIAL_NETWORKS = tuple(
    (ip_network(network), kind)
    for network, kind in (
        # Services by which clouds hand credentials to their machines; some are public addresses.
        ("169.254.169.254/32", "the metadata service of a cloud"),
        ("169.254.170.2/32", "the metadata service of a cloud"),
        ("100.100.100.200/32", "the metadata service of a cloud"),
        ("168.63.129.16/32", "the metadata service of a cloud"),
        ("192.0.0.192/32", "the metadata service of a cloud"),
        ("fd00:ec2::254/128", "the metadata service of a cloud"),
        ("fd20:ce::254/128", "the metadata service of a cloud"),
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by the customers of a provider"),
        ("127.0.0.0/8", "of the machine itself"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.31.196.0/24", "reserved for protocols"),
        ("192.52.193.0/24", "reserved for protocols"),
        ("192.88.99.0/24", "a relay of 6to4"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved for protocols"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "of the machine itself"),
        ("::/96", "an IPv4 address in an old IPv6 form"),
        ("::ffff:0:0/96", "an IPv4 address in IPv6 form"),
        ("::ffff:0:0:0/96", "an IPv4 address in IPv6 form"),
        ("64:ff9b::/96", "translated by NAT64"),
        ("64:ff9b:1::/48", "translated by NAT64"),
        ("100::/64", "one where everything is discarded"),
        ("100:0:0:1::/64", "reserved for protocols"),
        ("2001::/32", "tunnelled by Teredo"),
        ("2001:2::/48", "for benchmarks"),
        ("2001:db8::/32", "for documentation"),
        ("2001::/23", "reserved for protocols"),
        ("2002::/16", "tunnelled by 6to4"),
        ("2620:4f:8000::/48", "reserved for protocols"),
        ("3fff::/20", "for documentation"),
        ("5f00::/16", "reserved for protocols"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("ff00::/8", "multicast"),
    )
)
PUBLIC_IPV6 = IPv6Network("2000::/3")
#: The last 64 bits of an address of ISATAP (RFC 5214, section 6.1): this, and then an IPv4 address.
ISATAP = 0x5EFE
#: Hides the bit by which an ISATAP address is marked as unique.
ISATAP_MASK = 0xFDFF_FFFF


def refusal(ip: IPv4Address | IPv6Address) -> str | None:
    """Return what a special address is, to follow "which is" in a sentence; None for a public one.

    >>> refusal(IPv4Address("10.1.2.3"))
    'private'
    """
    for network, kind in SPECIAL_NETWORKS:
        if ip.version == network.version and ip in network:
            return kind
    if isinstance(ip, IPv6Address):
        if ip not in PUBLIC_IPV6:
            return "reserved"
        if (int(ip) >> 32) & ISATAP_MASK == ISATAP:
            return "an IPv4 address in IPv6 form"
    # The table of the standard library may be newer than this one.
    return None if ip.is_global else "reserved"


def is_public(ip: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is on the public Internet."""
    return refusal(ip) is None
