//! JSON in which every kind of value can be anywhere, and keys can be there twice.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A JSON value, of which everything that we do not need is dropped. An object keeps keys that are there twice.
pub(super) enum Json {
    Text(String),
    Number(u64),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
    Other,
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(key) = items.next_key::<String>()? {
            if key == PASSWORD {
                items.next_value::<IgnoredAny>()?;
                object.push((key, Json::Other));
            } else {
                object.push((key, items.next_value()?));
            }
        }
        Ok(Json::Object(object))
    }
}

/// The field whose value is dropped while it is read.
pub(super) const PASSWORD: &str = "password";

/// The records of a file, by their ids.
pub(super) fn records(text: &str) -> Result<Vec<(String, Json)>, String> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    match serde_json::from_str(text) {
        Ok(Json::Object(records)) => Ok(records),
        Ok(_) => Err("it is no object of records, such as {\"0\": {..}}".to_owned()),
        Err(error) => Err(format!("it is no JSON at line {}, column {}", error.line(), error.column())),
    }
}

/// The value of a field, the first one if there are several.
pub(super) fn field<'j>(fields: &'j [(String, Json)], name: &str) -> Option<&'j Json> {
    fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
}
