//! Many machines with one command.

use kbmfa_tests::files::put;
use kbmfa_tests::ports::Port;
use kbmfa_tests::world::World;
use serde_json::Value;

use super::{INCLUDE, bootstrap, fingerprint, fresh};

#[test]
fn many_machines_are_set_up_at_once_and_those_that_failed_are_named_with_the_reason() {
    let world = World::new();
    let machines = ["app1", "app2"].map(|name| fresh(name, INCLUDE));
    let (first, second) = (&machines[0], &machines[1]);
    // The machines of the harness have different keys; the operator has one that all accept.
    let key = std::fs::read(first.local_file("id_ed25519.pub")).unwrap();
    put(&second.path("/root/.ssh/authorized_keys"), 0o600, key);
    let dead = Port::reserve();
    let add = |name: &str, port: u16, key: &str| {
        let port = port.to_string();
        world.admin.run(&[
            "machine",
            "add",
            name,
            "--address",
            "127.0.0.1",
            "--port",
            &port,
            "--host-key",
            key,
        ]);
    };
    add("app1", first.port.number, &fingerprint(first));
    add("app2", second.port.number, &fingerprint(second));
    add("app3", dead.number, &format!("SHA256:{}", "A".repeat(43)));
    let list = world.dir().join("list");
    put(&list, 0o644, "# all\napp1\napp2\n\napp3\n");
    let identity = first.local_file("id_ed25519").display().to_string();
    let list = list.display().to_string();
    let words = |more: &[&str]| -> Vec<String> {
        let base = ["machine", "bootstrap", "--from", &list, "--identity", &identity];
        base.into_iter().chain(more.iter().copied()).map(str::to_owned).collect()
    };
    let (code, printed) = bootstrap(&world, &words(&[]), "");
    assert!(code == Some(64) && printed.contains("--yes"), "{printed}");
    let (code, printed) = bootstrap(&world, &words(&["--yes"]), "");
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("2 are set up, 1 failed\n  app3: "), "{printed}");
    assert!(printed.contains("app1: set up") && printed.contains("app2: set up"), "{printed}");
    let status = world.admin.json(&["provision", "status"]);
    assert_eq!(status["machines"].as_array().unwrap().len(), 2, "{status}");
    let words = [words(&["--yes"]), vec!["--json".to_owned()]].concat();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = world.admin.verb(&words).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["machines"][0]["changed"].as_array().map(Vec::len), Some(0), "{told}");
    assert!(told["machines"][2]["error"].as_str().unwrap().contains("127.0.0.1"), "{told}");
}
