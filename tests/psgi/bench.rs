//! How long the boundary takes, request to response: cargo test --release --test psgi bench -- --ignored --nocapture

use std::hint::black_box;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use gepok::channel::respond::{Lost, Respond};
use gepok::perl::Interpreter;
use gepok::psgi::PsgiApp;
use gepok::semantics::message::{Content, Length, Request};
use gepok::worker::App;
use gepok::worker::{HostApps, ServerFacts};
use gepok::xs::trampoline;

use crate::world::{NO_SERVER, listeners, one_interpreter, request};

/// Takes everything and does nothing.
struct Nowhere;

impl Respond for Nowhere {
    fn informational(&self, _: u64, _: u16, _: &[(&[u8], &[u8])]) -> Result<(), Lost> {
        Ok(())
    }
    fn trailers(&self, _: u64, _: &[(&[u8], &[u8])]) -> Result<(), Lost> {
        Ok(())
    }
    fn head(&self, _: u64, _: u16, fields: &[(&[u8], &[u8])], _: Length) -> Result<(), Lost> {
        black_box(fields);
        Ok(())
    }
    fn chunk(&self, _: u64, content: &[u8]) -> Result<usize, Lost> {
        black_box(content);
        Ok(content.len())
    }
    fn file(&self, _: u64, _: BorrowedFd<'_>, _: u64, _: u64) -> Result<(), Lost> {
        Ok(())
    }
    fn take(&self, _: u64) -> Result<OwnedFd, Lost> {
        Err(Lost::Finished)
    }
    fn look(&self, _: u64) -> Result<(), Lost> {
        Ok(())
    }
    fn end(&self, _: u64) -> Result<(), Lost> {
        Ok(())
    }
    fn abort(&self, _: u64) {}
    fn idle(&self) {}
    fn flush(&self) -> Result<(), Lost> {
        Ok(())
    }
}

const ROUNDS: u64 = 300_000;

fn nanoseconds(mut work: impl FnMut(u64)) -> f64 {
    (0..3)
        .map(|_| {
            let start = Instant::now();
            (0..ROUNDS).for_each(&mut work);
            start.elapsed().as_nanos() as f64 / ROUNDS as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn browser() -> Request {
    request(
        "GET",
        "/some/path?query=string",
        &[
            ("Host", "www.example.com"),
            (
                "User-Agent",
                "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            ),
            (
                "Accept",
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            ),
            ("Accept-Language", "en-US,en;q=0.5"),
            ("Accept-Encoding", "gzip, deflate, br"),
            ("Connection", "keep-alive"),
            ("Cookie", "session=0123456789abcdef; theme=dark"),
            ("Cache-Control", "max-age=0"),
        ],
    )
}

fn copy(of: &Request) -> Request {
    Request {
        head: of.head.clone(),
        content: match &of.content {
            Content::Inline(bytes) => Content::Inline(bytes.clone()),
            _ => Content::Empty,
        },
        source: of.source.clone(),
        vhost: of.vhost.clone(),
        tls: of.tls.clone(),
        http2: of.http2.clone(),
        ..*of
    }
}

#[test]
#[ignore = "a measurement"]
fn bench() {
    let _one = one_interpreter();
    let interpreter = Interpreter::start(&[], trampoline(NO_SERVER)).unwrap();
    let hello = "['Content-Type', 'text/plain'], ['Hello, World!']";
    for (name, source, content) in [
        ("array of one", format!("sub {{ [200, {hello}] }}"), None),
        (
            "same, content of 1 KiB",
            format!("sub {{ [200, {hello}] }}"),
            Some(vec![b'x'; 1024]),
        ),
        (
            "delayed",
            format!("sub {{ sub {{ $_[0]->([200, {hello}]) }} }}"),
            None,
        ),
        (
            "empty env",
            format!("sub {{ %{{$_[0]}} = (); [200, {hello}] }}"),
            None,
        ),
    ] {
        let app = interpreter.perl().eval("app", &source).unwrap().unwrap();
        let server = ServerFacts {
            listeners: listeners(),
            multiprocess: true,
            ssl_env: false,
            psgix_io: true,
            event_loop: None,
            xsendfile: false,
            hosts: HostApps::of_one_host(),
            compress: None,
        };
        let mut psgi = PsgiApp::new(
            interpreter.perl(),
            app.into(),
            server,
            Rc::new(Nowhere),
            None,
        )
        .unwrap();
        let mut request = browser();
        if let Some(content) = content {
            request.content_length = Some(content.len() as u64);
            request.content = Content::Inline(content.into());
        }
        let copying = nanoseconds(|_| drop(black_box(copy(&request))));
        let all = nanoseconds(|id| {
            black_box(psgi.call(id, copy(&request), false));
        });
        println!(
            "{name}: {:.0} ns (and {copying:.0} for the request's copy)",
            all - copying
        );
    }
    interpreter.finish(0);
}
