//! Tests of `team api`.

use keybase_double::Role;
use serde_json::{Value, json};

use crate::rig::Rig;

#[test]
fn memberships_are_listed_by_role() {
    let (rig, _service) = Rig::logged_in();
    rig.cloud.set_member_status("acme", "bob", Role::Writer, 0, true).unwrap();
    let list = rig.team().ok("list-team-memberships", &json!({"team": "acme"}));
    let bucket = |name: &str| list["members"][name].clone();
    assert_eq!(bucket("owners")[0]["username"], "alice");
    assert_eq!(bucket("owners")[0]["role"], 4);
    assert_eq!(bucket("writers")[0]["needsPUK"], true);
    assert_eq!(bucket("bots")[0]["uv"], json!({"uid": rig.bot.uid, "eldestSeqno": 1}));
    assert_eq!((bucket("admins"), bucket("readers")), (Value::Null, Value::Null));
    assert_eq!(list["settings"], json!({"open": false, "joinAs": 1}));
}

#[test]
fn lists_are_fresh() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.team();
    let mut of_bob = |bucket: &str| {
        api.ok("list-team-memberships", &json!({"team": "acme"}))["members"][bucket][0].clone()
    };
    assert_eq!(of_bob("readers")["status"], 0);
    rig.cloud.reset_user("bob").unwrap();
    assert_eq!(of_bob("readers")["status"], 1);
    rig.cloud.set_member("acme", "bob", Role::Admin).unwrap();
    assert_eq!(of_bob("admins")["uv"]["eldestSeqno"], 8);
    rig.cloud.delete_user("bob").unwrap();
    assert_eq!(of_bob("admins")["status"], 2);
}

#[test]
fn strangers_are_told_so() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.team();
    rig.cloud.add_team("other", "alice").unwrap();
    let refusal = api.error("list-team-memberships", &json!({"team": "other"}));
    assert_eq!(
        refusal,
        "You are not a member of team \"other\"; try `keybase team request-access other` for access (error 2623)"
    );
    assert_eq!(api.error("list-team-memberships", &json!({"team": "none"})), "Team \"none\" does not exist");
    assert_eq!(api.error("send", &json!({})), "invalid v1 method \"send\"");
}

#[test]
fn admins_change_members() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.team();
    let remove = json!({"team": "acme", "username": "bob"});
    assert!(api.error("remove-member", &remove).contains("admin"));
    rig.cloud.set_member("acme", "sudobot", Role::Admin).unwrap();
    rig.cloud.add_team("acme.ops", "alice").unwrap();
    api.ok("edit-member", &json!({"team": "acme", "username": "bob", "role": "writer"}));
    api.ok("remove-member", &remove);
    let bob = json!({"username": "bob", "role": "reader"});
    api.ok("add-members", &json!({"team": "acme.ops", "usernames": [bob]}));
    let teams = api.ok("list-user-memberships", &json!({"username": "bob"}));
    assert_eq!((&teams["teams"][0]["fq_name"], &teams["teams"][1]), (&json!("acme.ops"), &Value::Null));
    // An admin of a team above is not in the list of the subteam.
    let list = api.ok("list-team-memberships", &json!({"team": "acme.ops"}));
    assert_eq!(list["members"]["admins"], Value::Null);
    api.ok("leave-team", &json!({"team": "acme"}));
    assert_eq!(api.ok("list-self-memberships", &json!({})), json!({"teams": []}));
}
