//! Addresses of callers and people. The listener, limits, the cool-down and policy ranges all use these
//! definitions. Pure.
//!
//! An [`Address`] is one exact address, and is compared with ranges. A [`Source`] is what limits count by: an
//! IPv4 address or an IPv6 /64, because one IPv6 host may use every address of its /64. Neither includes a
//! port or a zone.

use ipnet::{IpNet, Ipv4Net};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// RFC 6052's well-known prefix. A translator puts an IPv4 client's address into the last 32 bits.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// One exact address. IPv4 inside IPv6 (`::ffff:192.0.2.7`) is the IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

impl FromStr for Address {
    type Err = String;
    /// Parses an address with or without a zone (`fe80::1%eth0`).
    fn from_str(text: &str) -> Result<Self, String> {
        let found = match text.split_once('%') {
            Some((address, _zone)) => address.parse().map(IpAddr::V6).ok(),
            None => text.parse().ok(),
        };
        found.map(Self::from).ok_or_else(|| format!("{text:?} is not an address such as 192.0.2.7"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Address {
    /// The source that limits count for this address.
    pub fn source(self) -> Source {
        Source(match self.0 {
            IpAddr::V6(address) => counted(address),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// The address by which a source is counted. Each address below the NAT64 prefix is another IPv4 client, and
/// counts separately. No range of IPv4 addresses contains them, because an exemption must not depend on a
/// translated address.
fn counted(address: Ipv6Addr) -> IpAddr {
    let bits = address.to_bits();
    match u32::try_from(bits ^ NAT64.to_bits()) {
        Ok(inside) => Ipv4Addr::from_bits(inside).into(),
        Err(_) => Ipv6Addr::from_bits(bits & !u128::from(u64::MAX)).into(),
    }
}

/// What limits count by: an IPv4 address, or the first address of an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Address::from(address).source()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// A range of addresses, with the bits after the prefix cleared. A single address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range(IpNet);

impl Range {
    /// Whether the address is in the range. An IPv6 range never contains an IPv4 address, nor the reverse.
    pub fn contains(&self, address: Address) -> bool {
        self.0.contains(&address.0)
    }

    /// Whether all of `other` is in this range.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }
}

impl FromStr for Range {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let range = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let range = range.map_err(|_| format!("{text:?} is not an address or range such as 192.0.2.0/24"))?;
        Ok(Self(unwrapped(range).trunc()))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Converts a range of IPv4 addresses inside IPv6 (`::ffff:10.0.0.0/104`) to the IPv4 range.
fn unwrapped(range: IpNet) -> IpNet {
    let IpNet::V6(inside) = range else { return range };
    let plain = inside.prefix_len().checked_sub(96).zip(inside.addr().to_ipv4_mapped());
    plain.and_then(|(length, address)| Ipv4Net::new(address, length).ok()).map_or(range, IpNet::from)
}

/// The origin of a login or session, as its machine reports it: an address, or PAM's name for the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// For people: the exact address, or the reported name.
    pub shown: String,
    /// The text that limits and the cool-down compare. Never empty.
    pub key: String,
    /// The address that is compared with policy ranges; `None` for a name.
    pub address: Option<Address>,
}

impl Origin {
    /// The ssh client's address, or else `PAM_RHOST`. `None` if the machine reported neither.
    pub fn of(ssh_client: Option<IpAddr>, rhost: Option<&str>) -> Option<Self> {
        let address = ssh_client.map(Address::from);
        let address = address.or_else(|| rhost.and_then(|rhost| rhost.parse().ok()));
        if let Some(address) = address {
            let (shown, key) = (address.to_string(), address.source().to_string());
            return Some(Self { shown, key, address: Some(address) });
        }
        let name = rhost.filter(|name| !name.is_empty())?;
        let key = name.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(name).to_lowercase();
        Some(Self { shown: name.to_owned(), key, address: None })
    }
}

/// The source of this address, for tests.
#[cfg(test)]
pub(crate) fn of_address(text: &str) -> Source {
    text.parse::<Address>().unwrap().source()
}

#[cfg(test)]
mod tests {
    use super::of_address as source;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ipv6_host_counts_by_its_network() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("fe80::1%eth0"), source("fe80::2%eth1"), "a zone makes no difference");
        assert_eq!(source("2001:db8::1").to_string(), "2001:db8::/64");
    }

    #[test]
    fn an_ipv4_address_is_the_same_source_however_it_is_wrapped() {
        for wrapped in ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201", "64:ff9b::192.0.2.1"] {
            assert_eq!(source(wrapped).to_string(), "192.0.2.1", "{wrapped}");
        }
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_ne!(
            source("64:ff9b::192.0.2.1"),
            source("64:ff9b::192.0.2.2"),
            "a translator is not one host"
        );
    }

    #[test]
    fn a_range_takes_in_an_address_however_either_is_wrapped() {
        let check = |range: &str, address: &str, expected: bool| {
            let (range, address): (Range, Address) = (range.parse().unwrap(), address.parse().unwrap());
            assert_eq!(range.contains(address), expected, "{range} {address}");
        };
        check("10.0.0.0/8", "10.1.2.3", true);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check("::ffff:10.0.0.0/104", "10.1.2.3", true);
        check("::ffff:10.1.2.3", "::ffff:10.1.2.3", true);
        check("::ffff:10.0.0.0/104", "11.1.2.3", false);
        check("10.0.0.0/8", "64:ff9b::10.1.2.3", false);
        check("64:ff9b::/96", "64:ff9b::10.1.2.3", true);
        check("::/0", "10.1.2.3", false);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("fe80::/10", "fe80::1%eth0", true);
        check("2001:db8::7", "2001:db8::7", true);
        check("2001:db8::7", "2001:db8::8", false);
    }

    #[test]
    fn an_invalid_address_or_range_is_refused() {
        for text in ["", "%eth0", "192.0.2.1%eth0", "here", "192.0.2.1:22", "[::1]", "192.0.2.0/24"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        for text in ["", "here", "192.0.2.0/33", "fe80::%eth0/64"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_is_the_ssh_client_or_else_what_pam_says() {
        let origin =
            |client: Option<&str>, rhost| Origin::of(client.map(|text| text.parse().unwrap()), rhost);
        let told = |client, rhost| origin(client, rhost).map(|origin| (origin.shown, origin.key));
        let pair = |shown: &str, key: &str| Some((shown.to_owned(), key.to_owned()));
        assert_eq!(told(Some("2001:db8::1"), Some("elsewhere")), pair("2001:db8::1", "2001:db8::/64"));
        assert_eq!(told(None, Some("::ffff:192.0.2.1")), pair("192.0.2.1", "192.0.2.1"));
        assert_eq!(told(None, Some("fe80::1%eth0")), pair("fe80::1", "fe80::/64"));
        assert_eq!(told(None, Some("Desk.Example.")), pair("Desk.Example.", "desk.example"));
        assert_eq!(told(None, Some(".")), pair(".", "."));
        assert_eq!((told(None, None), told(None, Some(""))), (None, None));
        assert_eq!(origin(None, Some("Desk.Example")).unwrap().address, None);
    }

    fn any_v6() -> impl Strategy<Value = Ipv6Addr> {
        any::<u128>().prop_map(Ipv6Addr::from_bits)
    }

    proptest! {
        #[test]
        fn one_ipv6_network_is_one_source(network in any_v6(), one: u64, other: u64) {
            let host = |low: u64| {
                let bits = network.to_bits() & !u128::from(u64::MAX) | u128::from(low);
                IpAddr::from(Ipv6Addr::from_bits(bits))
            };
            let (one, other) = (host(one), host(other));
            // The two prefixes that contain IPv4 addresses are tested with IPv4 addresses instead.
            let is_v4 = |address: IpAddr| {
                address.to_canonical().is_ipv4() || address.to_string().starts_with("64:ff9b::")
            };
            prop_assume!(!is_v4(one) && !is_v4(other));
            prop_assert_eq!(Source::from(one), Source::from(other));
        }

        #[test]
        fn different_networks_are_different_sources(one in any_v6(), other in any_v6()) {
            prop_assume!(one.segments()[..4] != other.segments()[..4]);
            prop_assert_ne!(Source::from(IpAddr::from(one)), Source::from(IpAddr::from(other)));
        }

        #[test]
        fn wrapping_changes_nothing(bits: u32, zone in "[a-z0-9.]{1,8}", v6 in any_v6()) {
            let plain = Ipv4Addr::from_bits(bits);
            let address = Address::from(IpAddr::from(plain));
            prop_assert_eq!(address, Address::from(IpAddr::from(plain.to_ipv6_mapped())));
            prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            prop_assert_eq!(format!("{v6}%{zone}").parse::<Address>(), Ok(Address::from(IpAddr::from(v6))));
        }

        #[test]
        fn a_source_is_inside_every_range_of_its_network(v6 in any_v6(), length in 0..=64_u8) {
            let address = Address::from(IpAddr::from(v6));
            prop_assume!(address.0.is_ipv6());
            let range: Range = format!("{v6}/{length}").parse().unwrap();
            prop_assert!(range.contains(address));
        }

        #[test]
        fn any_text_has_a_key_and_equal_texts_have_equal_keys(text in "\\PC{1,40}") {
            let origin = Origin::of(None, Some(&text)).unwrap();
            prop_assert!(!origin.key.is_empty());
            prop_assert_eq!(Some(origin), Origin::of(None, Some(&text)));
        }
    }
}
