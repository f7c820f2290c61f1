//! Addresses that a call to a configured URL never means: machines' own metadata services, and what is no single machine.
//!
//! Loopback and private addresses are allowed: that is where operators' inventories are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services outside of the link-local range.
const METADATA: [Ipv4Addr; 3] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Whether an address is refused: link-local, multicast, broadcast, reserved, unspecified, a metadata service; or one that leads
/// to such an IPv4 address.
pub fn is_refused(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_refused_v4(v4),
        IpAddr::V6(v6) => {
            let own = v6.is_multicast() || v6.is_unspecified() || v6.is_unicast_link_local() || v6 == METADATA_V6;
            own || within(v6).is_some_and(is_refused_v4)
        }
    }
}

/// Whether it is this machine.
pub fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    }
}

fn is_refused_v4(v4: Ipv4Addr) -> bool {
    // 0/8 is "this network"; Linux connects 0.0.0.0 to loopback. 240/4 with broadcast is nobody's.
    v4.octets()[0] == 0 || v4.is_link_local() || v4.is_multicast() || v4.octets()[0] >= 240 || METADATA.contains(&v4)
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, NAT64, 6to4.
fn within(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let o = v6.octets();
    let at = |i: usize| Some(Ipv4Addr::new(o[i], o[i + 1], o[i + 2], o[i + 3]));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] => at(12),
        [0, 0, 0, 0, 0, 0, ..] if !v6.is_loopback() => at(12),
        [0x64, 0xff9b, ..] => at(12),
        [0x2002, ..] => at(2),
        _ => None,
    }
}
