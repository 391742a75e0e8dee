//! Programs that run during a test: a service, an API stream, a listener. Each ends when its value is
//! dropped.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use crate::rig::{PATIENCE, channel};

#[derive(Debug)]
pub(crate) struct Service(pub(crate) Child);

impl Service {
    pub(crate) fn wait(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// An API stream.
#[derive(Debug)]
pub(crate) struct Api {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    id: i64,
}

impl Api {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = in_background(child.stdout.take().unwrap());
        Self { stdin: child.stdin.take(), child, lines, id: 0 }
    }

    /// Writes this text, without adding a newline.
    pub(crate) fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// The next line of the replies; `None` at the end.
    pub(crate) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(error) => panic!("no reply: {error}"),
        }
    }

    /// Whether a line has arrived.
    pub(crate) fn has_line(&self) -> bool {
        self.lines.try_recv().is_ok()
    }

    pub(crate) fn begin(&mut self, method: &str, options: &Value) {
        self.id += 1;
        let params = json!({"version": 1, "options": options});
        let request = json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params});
        self.write(&request.to_string());
    }

    /// Sends a request with a complete envelope, and returns the whole reply.
    pub(crate) fn request(&mut self, method: &str, options: &Value) -> Value {
        self.begin(method, options);
        let reply: Value = serde_json::from_str(&self.line().expect("a reply")).unwrap();
        assert_eq!(reply["id"], self.id);
        reply
    }

    pub(crate) fn ok(&mut self, method: &str, options: &Value) -> Value {
        let reply = self.request(method, options);
        assert!(reply["error"].is_null(), "{method}: {reply}");
        reply["result"].clone()
    }

    pub(crate) fn error(&mut self, method: &str, options: &Value) -> String {
        let reply = self.request(method, options);
        assert_eq!(reply["error"]["code"], 0, "{method}: {reply}");
        reply["error"]["message"].as_str().unwrap().to_owned()
    }

    /// Posts to `acme#sudo`, and returns the message's id.
    pub(crate) fn send(&mut self, body: &str) -> u64 {
        let sent = self.ok("send", &json!({"channel": channel(), "message": {"body": body}}));
        assert_eq!(sent["message"], "message sent");
        sent["id"].as_u64().unwrap()
    }

    /// One message of `acme#sudo`.
    pub(crate) fn get(&mut self, id: u64) -> Value {
        let options = json!({"channel": channel(), "message_ids": [id], "peek": true, "fail_offline": true});
        self.ok("get", &options)["messages"][0]["msg"].clone()
    }

    /// Closes the input and returns the exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) child: Child,
    /// The text on stderr up to the ready line.
    pub(crate) head: String,
    stderr: BufReader<ChildStderr>,
    lines: Receiver<String>,
}

impl Listener {
    /// Waits for the ready line.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut head = String::new();
        while !head.contains("Listening for chat notifications") {
            assert!(stderr.read_line(&mut head).unwrap() > 0, "api-listen ended: {head}");
        }
        let lines = in_background(child.stdout.take().unwrap());
        Self { child, head, stderr, lines }
    }

    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("an event")
    }

    /// The message in the next event.
    pub(crate) fn event(&self) -> Value {
        let line: Value = serde_json::from_str(&self.line()).unwrap();
        assert_eq!(line["type"], "chat");
        line["msg"].clone()
    }

    /// The exit code, and the text on stderr after the ready line.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn in_background(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            sender.send(line).ok();
        }
    });
    lines
}
