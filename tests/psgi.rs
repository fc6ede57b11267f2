//! The boundary to Perl and PSGI on top of it, in an interpreter of the test's own and with a recording `Respond`.
//!
//! One `#[test]` for one process: an interpreter stays on the thread that made it, and there is one in a process.
#![cfg(feature = "perl")]

use std::cell::RefCell;
use std::rc::Rc;

use gepok::perl::{Exit, Hooks, Interpreter};
use gepok::psgi::{Address, Listener, PsgiApp, Remote, Server};
use gepok::semantics::field::{Fields, Span};
use gepok::semantics::message::{Content, Endpoints, Request, RequestHead, Timestamp, Version};
use gepok::worker::{App, Called, Lost, Respond};

#[derive(Default)]
struct Recorder {
    said: RefCell<Vec<String>>,
}

impl Recorder {
    fn say(&self, what: String) -> Result<(), Lost> {
        self.said.borrow_mut().push(what);
        Ok(())
    }
}

impl Respond for Recorder {
    fn informational(&self, id: u64, status: u16, fields: &[(&[u8], &[u8])]) -> Result<(), Lost> {
        self.say(format!("{id} informational {status} {}", fields.len()))
    }
    fn head(
        &self,
        id: u64,
        status: u16,
        fields: &[(&[u8], &[u8])],
        length: Option<u64>,
    ) -> Result<(), Lost> {
        self.say(format!("{id} head {status} {} {length:?}", fields.len()))
    }
    fn chunk(&self, id: u64, content: &[u8]) -> Result<(), Lost> {
        self.say(format!("{id} chunk {}", content.escape_ascii()))
    }
    fn end(&self, id: u64) -> Result<(), Lost> {
        self.say(format!("{id} end"))
    }
    fn abort(&self, id: u64) {
        let _ = self.say(format!("{id} abort"));
    }
    fn idle(&self) {
        let _ = self.say("idle".into());
    }
    fn flush(&self) -> Result<(), Lost> {
        self.say("flush".into())
    }
}

fn never(_: Vec<(Vec<u8>, Vec<u8>)>, _: Hooks) -> Result<Exit, String> {
    Err("not served here".into())
}

fn get(target: &str) -> Request {
    let bytes: bytes::Bytes = format!("GET{target}").into_bytes().into();
    let end = bytes.len() as u32;
    Request {
        head: RequestHead {
            method: Span { start: 0, end: 3 },
            target: Span { start: 3, end },
            version: Version::Http11,
            fields: Fields::new(bytes, Vec::new()).unwrap(),
        },
        content: Content::Empty,
        content_length: None,
        listener: 0,
        endpoints: Endpoints::Ip {
            peer: "192.0.2.7:4711".parse().unwrap(),
            local: "192.0.2.1:80".parse().unwrap(),
        },
        connected: Timestamp::now(),
        started: Timestamp::now(),
        finished: Timestamp::now(),
    }
}

#[test]
fn hello() {
    let interpreter = Interpreter::start(&[], never).unwrap();
    let app = interpreter
        .perl()
        .eval(
            "app",
            "sub { [200, ['Content-Type', 'text/plain'], ['hello ', $_[0]{PATH_INFO}]] }",
        )
        .unwrap()
        .unwrap();
    let recorder = Rc::new(Recorder::default());
    let server = Server {
        listeners: vec![Listener {
            server_name: b"127.0.0.1".into(),
            server_port: b"80".into(),
            remote: Remote::Peer,
            address: Address::Ip("127.0.0.1:80".parse().unwrap()),
        }],
        multiprocess: true,
    };
    let mut psgi = PsgiApp::new(app, server, recorder.clone()).unwrap();
    assert_eq!(psgi.call(1, get("/a%20b?c"), false), Called::Done);
    assert_eq!(
        recorder.said.take(),
        [
            "1 head 200 1 Some(10)",
            "1 chunk hello /a b",
            "1 end",
            "idle",
            "flush"
        ]
    );
    drop(psgi);
    assert_eq!(interpreter.finish(0), 0);
}
