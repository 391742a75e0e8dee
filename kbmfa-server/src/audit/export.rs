//! The formats of exports: JSON lines, from which anybody can verify the chain, and CSV for spreadsheets.
//! Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chain::{Link, Seal};
use crate::clock::Time;
use crate::random::to_hex;

/// Longest line that is read back, in bytes: far longer than the longest event.
pub const LINE_MAX: u64 = 1 << 20;

/// The first line of a CSV export.
pub const CSV_HEADER: &str = "seq,time,kind,actor,claim,login,machine,user,detail,seal\r\n";

/// One event as a line. The body is a string, not an object, because a tool that reads and writes an object
/// may change its bytes, and these were sealed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: i64,
    prev: String,
    seal: String,
    body: String,
}

/// An event as a line of JSON.
pub fn to_line(link: &Link) -> Result<String, serde_json::Error> {
    let (prev, seal) = (to_hex(&link.prev), to_hex(&link.seal));
    let line = Line { seq: link.seq, prev, seal, body: link.body.clone() };
    serde_json::to_string(&line).map(|line| line + "\n")
}

/// Parses a line of JSON; `None` if it is not a line of an export.
pub fn from_line(line: &str) -> Option<Link> {
    let line: Line = serde_json::from_str(line).ok()?;
    let bytes = |hex: &str| Seal::from_hex(hex).map(|seal| seal.as_bytes().to_vec());
    let body: Value = serde_json::from_str(&line.body).ok()?;
    Some(Link {
        columns_match: body.get("seq").and_then(Value::as_i64) == Some(line.seq),
        seq: line.seq,
        prev: bytes(&line.prev)?,
        seal: bytes(&line.seal)?,
        body: line.body,
    })
}

/// An event as a row of CSV (RFC 4180).
pub fn to_row(link: &Link) -> String {
    let event: Value = serde_json::from_str(&link.body).unwrap_or_default();
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let at = event.get("at").and_then(Value::as_i64).map(|at| Time::from_micros(at).to_string());
    let fields = [
        link.seq.to_string(),
        at.unwrap_or_default(),
        text("/kind"),
        text("/actor/who"),
        text("/actor/claim"),
        text("/login"),
        text("/machine"),
        text("/user"),
        event.get("detail").map(Value::to_string).unwrap_or_default(),
        to_hex(&link.seal),
    ];
    fields.map(|field| cell(&field)).join(",") + "\r\n"
}

/// Puts an apostrophe before a field that a spreadsheet would treat as a formula (OWASP, "CSV injection").
pub fn defused(field: &str) -> String {
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    format!("{}{field}", if formula { "'" } else { "" })
}

fn cell(field: &str) -> String {
    let field = defused(field);
    if field.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::{Head, Walk};
    use proptest::prelude::*;

    fn link_of(body: &str) -> Link {
        let seal = Seal::GENESIS.next(body.as_bytes()).as_bytes().to_vec();
        let prev = Seal::GENESIS.as_bytes().to_vec();
        Link { seq: 1, body: body.to_owned(), columns_match: true, prev, seal }
    }

    proptest! {
        #[test]
        fn a_line_reads_back_to_the_very_bytes_that_were_sealed(note in "\\PC{0,40}") {
            let link = link_of(&serde_json::json!({ "seq": 1, "note": note }).to_string());
            let line = to_line(&link).unwrap();
            let read = from_line(&line).unwrap();
            prop_assert_eq!(&read, &link);
            prop_assert!(Walk::from(Head::EMPTY, None).follow(&read).is_ok());
            prop_assert_eq!(line.matches('\n').count(), 1);
        }

        #[test]
        fn no_field_becomes_a_formula_or_a_second_row(field in "[=+@\\-\t\r\n\",a]{0,12}") {
            let cell = cell(&field);
            let inside = cell.strip_prefix('"').unwrap_or(&cell);
            prop_assert!(!inside.starts_with(['=', '+', '-', '@', '\t', '\r']));
            prop_assert!(cell.starts_with('"') || !cell.contains([',', '\r', '\n', '"']));
        }
    }

    #[test]
    fn a_line_that_is_not_of_an_export_is_refused() {
        let seal = "0".repeat(64);
        let good = format!(r#"{{"seq":1,"prev":"{seal}","seal":"{seal}","body":"{{\"seq\":1}}"}}"#);
        assert!(from_line(&good).is_some_and(|link| link.columns_match));
        assert!(from_line(&good.replacen(":1", ":2", 1)).is_some_and(|link| !link.columns_match));
        for bad in ["", "{}", &good[1..], &good.replace("prev", "before"), &good.replacen('0', "x", 1)] {
            assert!(from_line(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_row_has_a_field_for_each_heading() {
        let body = r#"{"seq":1,"at":1795294800000000,"kind":"login.opened","actor":{"who":"machine:web1"},
            "user":"=cmd","detail":{"note":"a, \"b\""}}"#;
        let row = to_row(&link_of(body));
        let seal = Seal::GENESIS.next(body.as_bytes());
        assert_eq!(
            row,
            format!(
                "1,2026-11-21T21:00:00Z,login.opened,machine:web1,,,,'=cmd,\
                 \"{{\"\"note\"\":\"\"a, \\\"\"b\\\"\"\"\"}}\",{seal}\r\n"
            )
        );
        assert_eq!(CSV_HEADER.split(',').count(), 10);
    }
}
