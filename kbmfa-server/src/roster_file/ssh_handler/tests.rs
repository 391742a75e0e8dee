//! Tests of the old tool's files.

use super::*;
use proptest::prelude::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMsrimAKNOMGBqTrwdA1La4FPVP5aRhShIR9OkT3cKi2";

const POOLS: &str = r#"{
    "WebServer": {"name": "Web Server", "machines": ["192.168.163.135", "fe80::1"]},
    "ProxmoxServer": {"machines": ["192.168.163.135", "pve.example.com"]}
}"#;

#[test]
fn the_old_tools_files_become_a_roster_without_their_passwords() {
    let data = format!(
        r#"{{
        "0": {{"email": "X@x.fr", "password": "azerty", "pool": "WebServer", "public_key": "{KEY} x@x.fr\n"}},
        "1": {{"email": "test2@test.fr"}},
        "7": {{"email": "ann@x.fr", "password": 7, "pools": ["WebServer", "ProxmoxServer", "WebServer"],
            "public_key": "", "unix_name": "annx", "uid": 1007}}
    }}"#
    );
    let taken = parse(&data, POOLS).unwrap();
    let text = super::super::write::text("-", &super::super::Part::ALL, &taken.roster);
    assert!(!text.contains("azerty"));
    let entries = text.split_once("\n\n[[").unwrap().1.split("\n\n#").next().unwrap();
    insta::assert_snapshot!(entries, @r#"
    pool]]
    name = "proxmoxserver"

    [[pool]]
    name = "webserver"
    label = "Web Server"

    [[machine]]
    name = "192.168.163.135"
    address = "192.168.163.135"
    pools = ["proxmoxserver", "webserver"]

    [[machine]]
    name = "ip6-fe80--1"
    address = "fe80::1"
    pools = ["webserver"]

    [[machine]]
    name = "pve.example.com"
    address = "pve.example.com"
    pools = ["proxmoxserver"]

    [[employee]]
    email = "ann@x.fr"
    name = "annx"
    unix_name = "annx"
    uid = 1007

    [[employee]]
    email = "test2@test.fr"
    name = "test2"
    unix_name = "test2"

    [[employee]]
    email = "x@x.fr"
    name = "x"
    unix_name = "x"

    [[grant]]
    employee = "ann@x.fr"
    pool = "proxmoxserver"

    [[grant]]
    employee = "ann@x.fr"
    pool = "webserver"

    [[grant]]
    employee = "x@x.fr"
    pool = "webserver"

    [[key]]
    employee = "x@x.fr"
    device = "ssh-handler"
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMsrimAKNOMGBqTrwdA1La4FPVP5aRhShIR9OkT3cKi2"
    "#);
    assert_eq!((taken.passwords, taken.without_pool.len(), taken.without_key.len()), (2, 1, 2));
}

#[test]
fn every_wrong_record_is_named() {
    let data = format!(
        r#"{{
        "0": {{"email": "a@x", "pool": "WebSrever", "public_key": "{KEY}"}},
        "1": {{"password": "azerty"}},
        "2": {{"email": "b@x", "public_key": "$(reboot)"}},
        "3": "azerty",
        "3": {{"email": "c@x"}},
        "12": {{"email": "c@x", "pool": 7, "public_key": []}},
        "13": {{"email": "k@x", "uid": -1}},
        "14": {{"email": "l.m@x", "unix_name": ["lm"]}},
        "4": {{"email": "d@x", "public_key": "{KEY}"}},
        "5": {{"email": "e@x", "public_key": "{KEY}"}},
        "6": {{"email": "d@y"}},
        "7": {{"email": "D@x"}},
        "8": {{"email": "root@x"}},
        "9": {{"email": "f.g@x", "email": "h@x"}},
        "10": {{"email": "f.g@x"}},
        "11": {{"email": "no address"}}
    }}"#
    );
    let pools = r#"{
        "WebServer": {"name": "Web Server", "machines": ["192.168.163.13X", 7]},
        "Mail": {"name": 7, "machines": []},
        "webserver": {"name": "Web", "machines": []},
        "Db": {"name": "Db"},
        "A b": {"machines": []},
        "List": []
    }"#;
    insta::assert_snapshot!(parse(&data, pools).unwrap_err().join("\n"), @r#"
    pools.json: record "WebServer": "192.168.163.13X" is no address of a machine
    pools.json: record "WebServer": a machine is no text
    pools.json: record "Mail": its name is no text
    pools.json: record "webserver": there is a pool "WebServer" already; names of pools are in lower case here
    pools.json: record "Db": the field machines is missing
    pools.json: record "A b": pool name "a b" is not valid: use 1 to 63 of a-z, 0-9, dot, hyphen and underscore, starting with a letter or digit
    pools.json: record "List": it is no record with fields
    data.json: record "3": the id is there twice
    data.json: record "0": pools.json has no pool "WebSrever"; did you mean WebServer?
    data.json: record "1": the field email is missing
    data.json: record "2": its public_key: this is not an ssh public key; send the one line of your .pub file, such as ~/.ssh/id_ed25519.pub
    data.json: record "12": the name of a pool is no text
    data.json: record "12": its public_key is no text
    data.json: record "13": its uid is no whole number
    data.json: record "14": its unix_name is no text
    data.json: record "4": its public_key is that of data.json: record "0", too; a key is one person's
    data.json: record "5": its public_key is that of data.json: record "0", too; a key is one person's
    data.json: record "6": its account d is that of data.json: record "4", too; the old tool let both in
    data.json: record "7": d@x is in data.json: record "4", too
    data.json: record "8": root is an account of the system or of a service; give the person a name of their own: add "unix_name" to the record
    data.json: record "9": the field "email" is there twice
    data.json: record "10": Unix name "f.g" is not valid: use 1 to 32 of a-z, 0-9, hyphen and underscore, starting with a letter or underscore: add "unix_name" to the record
    data.json: record "11": not an e-mail address: write name@domain, at most 254 bytes
    "#);
    for (data, pools) in [("", "{}"), ("{}", "[]"), ("{\"0\": azerty}", "{}"), ("{\"0\": {}} azerty", "{}")] {
        let faults = parse(data, pools).unwrap_err().join("\n");
        assert!(!faults.contains("azerty") && !faults.is_empty(), "{faults}");
    }
    assert_eq!(parse("{}", "{}").unwrap().roster, Roster::default());
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "[a-z@. ]{0,8}|\\PC{0,6}|a@b|web".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let name = "email|pool|pools|public_key|name|machines|[0-9]|web";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::Array),
            prop::collection::btree_map(name, inner, 0..5).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_crashes_and_no_password_is_told(data in json(), pools in json(), text in "\\PC{0,40}") {
        for (data, pools) in [(data.to_string(), pools.to_string()), (text.clone(), text)] {
            if let Ok(taken) = parse(&data, &pools) {
                let text = super::super::write::text("-", &super::super::Part::ALL, &taken.roster);
                prop_assert_eq!(super::super::read::parse(&text).unwrap().roster, taken.roster);
            }
        }
        let secret = serde_json::json!({"0": {"email": "a@b", "password": data, "pool": "no-such-pool"}}).to_string();
        let faults = parse(&secret, "{}").unwrap_err();
        prop_assert_eq!(faults, ["data.json: record \"0\": pools.json has no pool \"no-such-pool\""]);
    }
}
