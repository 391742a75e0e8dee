//! Values in pam.toml that need a parser: durations and server URLs.

use rustls::pki_types::ServerName;
use std::net::IpAddr;
use std::time::Duration;

/// Default port of a server's URL.
const PORT: u16 = 443;

/// A whole number of seconds or minutes, as `75s` or `2m`.
pub fn duration(text: &str) -> Option<Duration> {
    let (digits, unit_s) = match (text.strip_suffix('s'), text.strip_suffix('m')) {
        (Some(digits), _) => (digits, 1),
        (_, Some(digits)) => (digits, 60),
        _ => return None,
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(unit_s).map(Duration::from_secs)
}

/// Host name or IP address of a URL, and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub host: String,
    pub port: u16,
}

impl Location {
    /// Reads `https://host` or `https://host:port`, and nothing more.
    pub fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("https://")?;
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        ServerName::try_from(host).ok()?;
        Some(Self { host: host.to_owned(), port: port.map_or(Some(PORT), parse_port)? })
    }

    /// The address, if the URL contains one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port| plain && port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_whole_seconds_or_minutes() {
        assert_eq!(duration("75s"), Some(Duration::from_secs(75)));
        assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
        for text in ["", "s", "75", "1.5s", "-1s", "+1s", "75 s", "1h", "99999999999999999999s", "1m30s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_server_is_a_host_and_perhaps_a_port() {
        let check = |url: &str, host: &str, port| {
            assert_eq!(Location::parse(url), Some(Location { host: host.into(), port }), "{url}");
        };
        check("https://kbmfa.example:8443", "kbmfa.example", 8443);
        check("https://kbmfa.example", "kbmfa.example", 443);
        check("https://192.0.2.7:8443", "192.0.2.7", 8443);
        check("https://[2001:db8::7]:8443", "2001:db8::7", 8443);
        check("https://[2001:db8::7]", "2001:db8::7", 443);
    }

    #[test]
    fn anything_more_or_less_than_a_host_and_a_port_is_refused() {
        for url in [
            "",
            "kbmfa.example",
            "http://kbmfa.example",
            "https://",
            "https://:8443",
            "https://a:0",
            "https://a:+1",
            "https://a:65536",
            "https://a/",
            "https://a/path",
            "https://a?x",
            "https://user@a",
            "https://a b",
            "https://2001:db8::7",
            "https://[a]:1",
            "https://[::1",
            "https://[::1]1",
            "https://a:",
            "https://a:1:2",
        ] {
            assert_eq!(Location::parse(url), None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_these_parsers_panic(text in ".{0,80}") {
            let _ = duration(&text);
            let _ = Location::parse(&text);
            let _ = Location::parse(&format!("https://{text}"));
        }
    }
}
