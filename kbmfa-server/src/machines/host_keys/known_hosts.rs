//! Files in the format of ssh's `known_hosts`: reads the keys of one machine, and writes those of many. Pure.

use kbmfa_proto::names::MachineName;

use super::{Endpoint, HostKey, Reach, distinct};

/// The keys that the text has for this endpoint.
///
/// A line with a marker (`@revoked`, `@cert-authority`), a hashed name or a pattern is not for the endpoint: it would
/// pin what the operator did not see.
///
/// # Errors
/// What is wrong with the text; the text has no key for the endpoint, or calls one revoked.
pub fn keys_of(text: &str, endpoint: &Endpoint) -> Result<Vec<HostKey>, String> {
    let wanted = endpoint.to_string();
    let (mut keys, mut revoked) = (Vec::new(), Vec::new());
    for (at, line) in (1..).zip(text.lines().map(str::trim)) {
        let (marker, rest) = match line.split_once(char::is_whitespace) {
            Some((marker, rest)) if marker.starts_with('@') => (marker, rest.trim_start()),
            _ => ("", line),
        };
        let Some((hosts, key)) = rest.split_once(char::is_whitespace) else { continue };
        if line.starts_with('#') || !hosts.split(',').any(|host| host.eq_ignore_ascii_case(&wanted)) {
            continue;
        }
        let key = HostKey::read(key);
        let key = key.ok_or_else(|| format!("line {at}: it is no host key of a usual algorithm"))?;
        match marker {
            "" => keys.push(key),
            "@revoked" => revoked.push(key.fingerprint),
            _ => {}
        }
    }
    if let Some(key) = keys.iter().find(|key| revoked.contains(&key.fingerprint)) {
        return Err(format!("the file calls {} revoked", key.fingerprint));
    }
    if keys.is_empty() {
        return Err(format!("the file has no key for {wanted}; hashed names and patterns are not read"));
    }
    Ok(distinct(keys))
}

/// A `known_hosts` file with the pinned keys of these machines. A machine without an address has no line; a comment
/// names the keys of which only the fingerprint is known.
pub fn render(machines: &[(MachineName, Reach)]) -> String {
    let mut text = String::new();
    for (name, reach) in machines {
        let Some(endpoint) = &reach.endpoint else { continue };
        for key in &reach.host_keys {
            let line = match &key.line {
                Some(line) => format!("{endpoint} {line}\n"),
                None => format!("# {name} ({endpoint}): only the fingerprint {} is known\n", key.fingerprint),
            };
            text.push_str(&line);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7AyLu6ZzqWyNQyAEMqjtgkMzPpc8Jhoyz4eZ7CS3qi";

    fn at(address: &str, port: u16) -> Endpoint {
        Endpoint { address: address.parse().unwrap(), port }
    }

    fn fingerprints(text: &str, port: u16) -> Result<usize, String> {
        keys_of(text, &at("web1.example.com", port)).map(|keys| {
            assert!(keys.iter().all(|key| key.line.as_deref() == Some(KEY)));
            keys.len()
        })
    }

    #[test]
    fn a_known_hosts_file_gives_only_the_keys_of_the_address_and_port() {
        let text = format!(
            "# web1\nweb1.example.com,192.0.2.7 {KEY} comment\nweb1.example.com {KEY}\nother {KEY}\n"
        );
        assert_eq!(fingerprints(&text, 22), Ok(1));
        assert!(fingerprints(&text, 2222).unwrap_err().contains("no key for [web1.example.com]:2222"));
        assert_eq!(fingerprints(&format!("[web1.example.com]:2222 {KEY}"), 2222), Ok(1));
    }

    #[test]
    fn what_ssh_would_not_trust_for_this_address_is_not_pinned() {
        for line in
            ["*", "*.example.com", "!web1.example.com", "|1|AAAA|BBBB", "@cert-authority web1.example.com"]
        {
            assert!(fingerprints(&format!("{line} {KEY}"), 22).is_err(), "{line}");
        }
        let revoked = format!("web1.example.com {KEY}\n@revoked web1.example.com {KEY}\n");
        assert!(fingerprints(&revoked, 22).unwrap_err().contains("revoked"));
        for key in ["", "ssh-dss AAAA", "ssh-ed25519 AAAA", "ssh-rsa AAAAC3NzaC1lZDI1NTE5"] {
            let bad = fingerprints(&format!("x y\nweb1.example.com {key} z"), 22);
            assert!(bad.unwrap_err().starts_with("line 2"), "{key}");
        }
    }

    #[test]
    fn machines_are_written_as_ssh_reads_them() {
        let key = HostKey::read(KEY).unwrap();
        let bare = HostKey::from(key.fingerprint.clone());
        let machine = |name: &str, endpoint, key: &HostKey| {
            (name.parse().unwrap(), Reach { endpoint, host_keys: vec![key.clone()] })
        };
        let machines = [
            machine("a", Some(at("192.0.2.7", 22)), &key),
            machine("b", Some(at("2001:db8::7", 2222)), &key),
            machine("c", Some(at("c.example.com", 22)), &bare),
            machine("d", None, &key),
        ];
        let expected = format!(
            "192.0.2.7 {KEY}\n[2001:db8::7]:2222 {KEY}\n# c (c.example.com): only the fingerprint {} is known\n",
            key.fingerprint
        );
        assert_eq!(render(&machines), expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(blob in prop::collection::vec(any::<u8>(), 0..60), port in 1_u16..) {
            use base64::Engine as _;
            let whole = [&[0, 0, 0, 11], &b"ssh-ed25519"[..], &[0, 0, 0, u8::try_from(blob.len()).unwrap()], &blob].concat();
            let line = format!("ssh-ed25519 {}", base64::engine::general_purpose::STANDARD.encode(whole));
            let endpoint = at("web1.example.com", port);
            let host_keys = vec![HostKey::read(&line).unwrap()];
            let reach = Reach { endpoint: Some(endpoint.clone()), host_keys: host_keys.clone() };
            let text = render(&[("web1".parse().unwrap(), reach)]);
            prop_assert_eq!(text.lines().count(), 1);
            prop_assert_eq!(keys_of(&text, &endpoint), Ok(host_keys));
        }

        #[test]
        fn no_text_upsets_the_reader(text in "(web1.example.com |@revoked |ssh-ed25519 |AAAA|\\PC|\n){0,40}") {
            let _ = keys_of(&text, &at("web1.example.com", 22));
        }
    }
}
