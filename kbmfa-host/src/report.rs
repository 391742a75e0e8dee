//! The output of a verb: for people, lines while it runs; for programs, one JSON object at the end.

use serde_json::{Map, Value};
use std::fmt::Display;
use std::io::{self, Write};

/// The output, and what is to be printed at the end.
pub(super) struct Report<'a> {
    out: &'a mut dyn Write,
    json: Option<Map<String, Value>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(out: &'a mut dyn Write, as_json: bool) -> Self {
        Self { out, json: as_json.then(Map::new) }
    }

    /// One item of a list. As text, a line with `label`; in JSON, an element of the array `label`.
    pub(super) fn item(&mut self, label: &str, text: impl Display) -> io::Result<()> {
        match &mut self.json {
            None => writeln!(self.out, "{label:10} {text}"),
            Some(json) => {
                let list = json.entry(label.replace(' ', "_")).or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut().into_iter().for_each(|list| list.push(text.to_string().into()));
                Ok(())
            }
        }
    }

    /// One fact. As text, a line with `label`; in JSON, the field `key`.
    pub(super) fn fact(
        &mut self,
        label: &str,
        text: impl Display,
        (key, value): (&str, Value),
    ) -> io::Result<()> {
        match &mut self.json {
            None => writeln!(self.out, "{label:10} {text}"),
            Some(json) => {
                json.insert(key.to_owned(), value);
                Ok(())
            }
        }
    }

    /// A warning: a problem that does not stop the verb.
    pub(super) fn warning(&mut self, text: impl Display) -> io::Result<()> {
        if self.json.is_some() { self.item("warnings", text) } else { writeln!(self.out, "warning: {text}") }
    }

    /// Steps in the order in which to follow them. As text, a line each; in JSON, the array `next`.
    pub(super) fn advice(&mut self, text: impl Display) -> io::Result<()> {
        if self.json.is_some() { self.item("next", text) } else { writeln!(self.out, "{text}") }
    }

    /// Prints the JSON object, if JSON was asked for.
    pub(super) fn finish(self) -> io::Result<()> {
        self.json.map_or(Ok(()), |json| writeln!(self.out, "{}", Value::Object(json)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(as_json: bool) -> String {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, as_json);
        report.item("would remove", "/a").unwrap();
        report.item("would remove", "/b").unwrap();
        report.fact("window", "60s", ("window_s", 60.into())).unwrap();
        report.warning("look").unwrap();
        report.advice("next: go").unwrap();
        report.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn people_read_lines_and_programs_one_object() {
        assert_eq!(
            said(false),
            "would remove /a\nwould remove /b\nwindow     60s\nwarning: look\nnext: go\n"
        );
        let object = r#"{"next":["next: go"],"warnings":["look"],"window_s":60,"would_remove":["/a","/b"]}"#;
        assert_eq!(said(true), format!("{object}\n"));
    }
}
