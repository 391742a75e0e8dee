//! `chat api` and `team api`: requests from a stream, one at a time, one line for each.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{self, Read, Write};

use super::client::Client;
use super::failure::{Failure, Result};
use super::flags::{Flag, Flags};
use super::invocation::Invocation;
use super::json::{escape, indent};
use super::stream::Envelope;
use crate::wire::{Act, Answer, ApiError, Call, Family, Request};

const FLAGS: &[Flag] =
    &[(&["p", "pretty"], false), (&["m"], true), (&["i", "infile"], true), (&["o", "outfile"], true)];

/// The difference between a wrong id and the right one.
const WRONG_BY: i64 = 1000;

#[derive(Serialize)]
struct Reply<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    jsonrpc: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ApiError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(id: &i64) -> bool {
    *id == 0
}

struct Stream<'a> {
    family: Family,
    client: Client<'a>,
    envelope: Envelope,
    out: Box<dyn Write>,
    is_pretty: bool,
}

/// Serves requests until the input ends or cannot be parsed.
pub(crate) fn run(invocation: &Invocation, family: Family, words: &[&str]) -> Result<()> {
    let (flags, rest) = Flags::read(FLAGS, words)?;
    let message = flags.value("m").filter(|message| !message.is_empty());
    let kind = if family == Family::Chat { "chat api" } else { "team api" };
    let objection =
        message.map(|_| format!("{kind} was given its request with -m, which everybody sees in ps"));
    invocation.note(kind, true, objection.into_iter().collect())?;
    if !rest.is_empty() {
        return Err(Failure::new("api takes no arguments"));
    }
    let input: Box<dyn Read> = match (message, flags.value("i")) {
        (Some(_), Some(_)) => return Err(Failure::new("specify -m or -i, but not both")),
        (Some(message), None) => Box::new(io::Cursor::new(message.to_owned())),
        (None, Some(path)) => Box::new(File::open(path)?),
        (None, None) => Box::new(io::stdin().lock()),
    };
    let client = Client::dial(invocation)?;
    let out: Box<dyn Write> = match flags.value("o") {
        Some(path) => Box::new(File::create(path)?),
        None => Box::new(io::stdout().lock()),
    };
    Stream { family, client, envelope: Envelope::default(), out, is_pretty: flags.is_on("p") }.serve(input)
}

impl Stream<'_> {
    fn serve(&mut self, input: impl Read) -> Result<()> {
        for request in serde_json::Deserializer::from_reader(io::BufReader::new(input)).into_iter::<Value>() {
            let request = match request {
                Ok(request) => request,
                Err(error) if error.is_eof() => {
                    return self.fail("invalid JSON: expected more JSON in input");
                }
                Err(error) => return self.fail(&format!("invalid character in input: {error}")),
            };
            match self.envelope.take(request) {
                Ok(objections) => self.request(objections)?,
                Err(error) => return self.fail(&error),
            }
        }
        Ok(())
    }

    /// Executes one request. Its errors become replies.
    fn request(&mut self, objections: Vec<String>) -> Result<()> {
        if !(0..=1).contains(&self.envelope.version) {
            return self.fail(&format!("invalid version {}", self.envelope.version));
        }
        let (method, options) = (self.envelope.method.clone(), self.envelope.options.clone());
        let call = Call::Api(Request { family: self.family, method, options, objections });
        let answer = self.client.call(&call).unwrap_or_else(|text| Answer {
            outcome: Err(ApiError { code: 0, message: text, data: None }),
            act: Act::Reply,
        });
        self.obey(answer)
    }

    fn obey(&mut self, answer: Answer) -> Result<()> {
        match answer.act {
            Act::Hang => {
                self.client.hang();
                Err(Failure::silent())
            }
            Act::Die => Err(Failure::silent()),
            Act::Garbage => self.print("{\"jsonrpc\":\"2.0\",\"resu"),
            Act::WrongId => self.reply(self.envelope.id + WRONG_BY, answer.outcome),
            Act::Reply => self.reply(self.envelope.id, answer.outcome),
        }
    }

    /// Replies that the request itself is faulty.
    fn fail(&mut self, text: &str) -> Result<()> {
        let error = Some(ApiError { code: 0, message: text.to_owned(), data: None });
        let line =
            to_json(&Reply { jsonrpc: &self.envelope.jsonrpc, id: self.envelope.id, error, result: None });
        self.print(&line)
    }

    fn reply(&mut self, id: i64, outcome: std::result::Result<Box<RawValue>, ApiError>) -> Result<()> {
        let (result, error) = outcome.map_or_else(|error| (None, Some(error)), |result| (Some(result), None));
        let line = to_json(&Reply { jsonrpc: &self.envelope.jsonrpc, id, error, result });
        let line = if self.is_pretty { indent(&line) } else { line };
        self.print(&line)
    }

    fn print(&mut self, line: &str) -> Result<()> {
        writeln!(self.out, "{}", escape(line))?;
        Ok(self.out.flush()?)
    }
}

fn to_json(reply: &Reply<'_>) -> String {
    serde_json::to_string(reply).unwrap_or_default()
}
