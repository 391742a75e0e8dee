//! The envelope of API requests. As in the real client, one is kept for the whole stream: **a request
//! inherits omitted fields from the previous request.**

use serde_json::{Map, Value};

/// The fields of the envelope. A careful client omits none.
const FIELDS: [&str; 4] = ["jsonrpc", "id", "method", "params"];

#[derive(Debug, Default)]
pub(crate) struct Envelope {
    pub(crate) jsonrpc: String,
    pub(crate) id: i64,
    pub(crate) method: String,
    pub(crate) version: i64,
    pub(crate) options: Option<Value>,
    /// The greatest id so far.
    greatest_id: i64,
}

impl Envelope {
    /// Takes over the fields of a request, and returns what a careful client would not do. A wrong type is an
    /// error in Go's words, but the fields before it are taken over.
    pub(crate) fn take(&mut self, request: Value) -> Result<Vec<String>, String> {
        let Value::Object(fields) = request else {
            return Err(format!(
                "json: cannot unmarshal {} into Go value of type client.Call",
                go_type(&request)
            ));
        };
        let mut missing: Vec<String> = absent(&fields, &FIELDS).map(str::to_owned).collect();
        let mut fault = None;
        for (name, value) in fields {
            let taken = match name.to_lowercase().as_str() {
                "jsonrpc" => text(&mut self.jsonrpc, value, "Call.Jsonrpc"),
                "id" => number(&mut self.id, &value, "Call.ID"),
                "method" => text(&mut self.method, value, "Call.Method"),
                "params" => self.take_params(value, &mut missing),
                _ => Ok(()),
            };
            fault = fault.or(taken.err());
        }
        fault.map_or_else(|| Ok(self.objections(&missing)), Err)
    }

    fn take_params(&mut self, params: Value, missing: &mut Vec<String>) -> Result<(), String> {
        let fields = match params {
            Value::Object(fields) => fields,
            Value::Null => return Ok(()),
            other => return Err(wrong_type(&other, "Call.Params", "client.Params")),
        };
        missing.extend(absent(&fields, &["version", "options"]).map(|name| format!("params.{name}")));
        for (name, value) in fields {
            match name.to_lowercase().as_str() {
                "version" => number(&mut self.version, &value, "Call.Params.Version")?,
                "options" => self.options = Some(value),
                _ => {}
            }
        }
        Ok(())
    }

    fn objections(&mut self, missing: &[String]) -> Vec<String> {
        let mut objections = Vec::new();
        if !missing.is_empty() {
            objections.push(format!("a request for {:?} came without {}", self.method, missing.join(", ")));
        }
        if self.id <= self.greatest_id {
            objections.push(format!(
                "a request for {:?} has the id {} after {}",
                self.method, self.id, self.greatest_id
            ));
        }
        self.greatest_id = self.greatest_id.max(self.id);
        objections
    }
}

fn absent<'a>(fields: &Map<String, Value>, wanted: &[&'a str]) -> impl Iterator<Item = &'a str> {
    wanted.iter().copied().filter(|name| !fields.keys().any(|field| field.eq_ignore_ascii_case(name)))
}

fn text(field: &mut String, value: Value, name: &str) -> Result<(), String> {
    match value {
        Value::String(text) => *field = text,
        Value::Null => {}
        other => return Err(wrong_type(&other, name, "string")),
    }
    Ok(())
}

fn number(field: &mut i64, value: &Value, name: &str) -> Result<(), String> {
    if !value.is_null() {
        *field = value.as_i64().ok_or_else(|| wrong_type(value, name, "int"))?;
    }
    Ok(())
}

fn wrong_type(value: &Value, field: &str, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go struct field {field} of type {wanted}", go_type(value))
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn full(id: i64) -> Value {
        json!({"jsonrpc": "2.0", "id": id, "method": "list", "params": {"version": 1, "options": {"a": 1}}})
    }

    #[test]
    fn an_omitted_field_is_inherited() {
        let mut envelope = Envelope::default();
        assert!(envelope.take(full(1)).unwrap().is_empty());
        assert_eq!(envelope.take(json!({"Method": "read"})).unwrap().len(), 2);
        assert_eq!(
            (envelope.id, envelope.method.as_str(), envelope.options),
            (1, "read", Some(json!({"a": 1})))
        );
    }

    #[test]
    fn ids_have_to_grow() {
        let mut envelope = Envelope::default();
        envelope.take(full(5)).unwrap();
        assert_eq!(envelope.take(full(5)).unwrap(), ["a request for \"list\" has the id 5 after 5"]);
        assert!(envelope.take(full(6)).unwrap().is_empty());
    }

    #[test]
    fn a_wrong_type_is_an_error_but_the_rest_is_taken() {
        let mut envelope = Envelope::default();
        let error = envelope.take(json!({"id": "7", "method": "list"})).unwrap_err();
        assert_eq!(error, "json: cannot unmarshal string into Go struct field Call.ID of type int");
        assert_eq!(envelope.method, "list");
        assert!(envelope.take(json!(7)).unwrap_err().ends_with("Go value of type client.Call"));
    }
}
