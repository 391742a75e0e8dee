//! Valid and invalid contents of pam.toml.

use super::*;
use proptest::prelude::*;

const WHOLE: &str = r#"
servers = ["https://kbmfa.example:8443", "https://192.0.2.9"]
ca = "system"
credential = "/x/credential"
deadline = "2m"
on_unreachable = "allow"
spool = "/x/spool"
[addresses]
"kbmfa.example" = ["192.0.2.7", "2001:db8::7"]
"#;

fn parse(text: &str) -> Result<Config, Vec<String>> {
    Config::parse(Path::new("pam.toml"), text)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// The only fault of a short file with one server, given by its address, and this line.
fn fault(line: &str) -> String {
    let faults = parse(&format!("servers = [\"https://192.0.2.7\"]\n{line}")).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults[0].clone()
}

#[test]
fn a_whole_file_is_understood() {
    let config = parse(WHOLE).unwrap();
    let targets: Vec<String> = config.targets.iter().map(|t| format!("{} {}", t.host, t.address)).collect();
    let expected =
        ["kbmfa.example 192.0.2.7:8443", "kbmfa.example [2001:db8::7]:8443", "192.0.2.9 192.0.2.9:443"];
    assert_eq!(targets, expected);
    assert_eq!((config.ca, config.deadline.as_secs()), (Ca::System, 120));
    assert_eq!((config.on_unreachable, config.spool.to_str()), (OnUnreachable::Allow, Some("/x/spool")));
}

#[test]
fn the_packaged_example_names_every_key_and_its_default() {
    let example = include_str!("../../../packaging/etc/pam.toml");
    let shortest = "servers = [\"https://kbmfa.example:8443\"]\n[addresses]\n\
                    \"kbmfa.example\" = [\"192.0.2.7\", \"2001:db8::7\"]";
    assert_eq!(format!("{:?}", parse(example)), format!("{:?}", parse(shortest)));
    let unknown = parse("colour = 1").unwrap_err().join("\n");
    let keys = unknown.split("expected one of ").nth(1).unwrap().lines().next().unwrap();
    for key in keys.split('`').filter(|word| !word.contains([',', ' ']) && !word.is_empty()) {
        assert!(example.contains(&format!("{key} = ")) || example.contains(&format!("[{key}]")), "{key}");
    }
}

#[test]
fn only_the_servers_must_be_named() {
    let config = parse(r#"servers = ["https://192.0.2.7"]"#).unwrap();
    assert_eq!(config.ca, Ca::File("/etc/kbmfa/ca.pem".into()));
    assert_eq!(config.credential, Path::new("/etc/kbmfa/credential"));
    assert_eq!((config.deadline.as_secs(), config.on_unreachable), (75, OnUnreachable::Deny));
    assert!(parse("").unwrap_err()[0].contains("servers"));
}

#[test]
fn a_fault_names_its_file_and_key() {
    assert!(fault("timeout = 3").starts_with("pam.toml: line 2: unknown field `timeout`"));
    assert!(fault("deadline = 75").starts_with("pam.toml: line 2: invalid type"));
    assert!(fault("deadline = ").starts_with("pam.toml: line 2: "));
    assert!(fault(r#"deadline = "0s""#).starts_with("pam.toml: deadline: \"0s\" is not a time"));
    assert!(fault(r#"deadline = "601s""#).contains("is not a time"));
    assert!(fault(r#"deadline = "5s""#).contains("must be longer than 5s"));
    assert!(fault(r#"on_unreachable = "maybe""#).starts_with("pam.toml: on_unreachable: "));
    assert!(fault(r#"ca = "ca.pem""#).starts_with("pam.toml: ca: "));
    assert!(fault(r#"credential = "credential""#).starts_with("pam.toml: credential: "));
    assert!(fault(r#"claims = "web 1""#).starts_with("pam.toml: claims: machine name"));
    assert!(fault(r#"claims = "claimed:web1""#).starts_with("pam.toml: claims: leave out"));
    assert!(fault(r#"spool = "spool""#).starts_with("pam.toml: spool: "));
    assert!(fault("[addresses]\n\"192.0.2.7\" = [\"192.0.2.7\"]").contains("is an address already"));
    assert!(fault("[addresses]\n\"other\" = [\"192.0.2.7\"]").contains("not the host of any"));
}

#[test]
fn all_faults_are_reported_together() {
    let text = r#"
servers = ["http://plain.example", "https://kbmfa.example", "https://bad.example"]
deadline = "soon"
on_unreachable = "sometimes"
[addresses]
"bad.example" = ["bad"]
"#;
    let keys: Vec<String> =
        parse(text).unwrap_err().iter().map(|fault| fault.split(": ").nth(1).unwrap().to_owned()).collect();
    assert_eq!(keys, ["servers", "addresses", "addresses", "deadline", "on_unreachable"]);
}

#[test]
fn a_name_without_an_address_is_a_fault_because_names_are_never_looked_up() {
    let faults = parse(r#"servers = ["https://kbmfa.example"]"#).unwrap_err();
    assert!(faults[0].contains("a login never looks names up"), "{faults:?}");
}

proptest! {
    #[test]
    fn no_file_makes_the_parser_panic(text in "(\\PC|\n|[\\[\\]=\"]){0,200}") {
        let _ = parse(&text);
    }
}
