//! Clients that leave or read slowly.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use gepok::channel::respond::{Lost, Respond};
use gepok::channel::worker_end::{Incoming, WorkerEnd};
use gepok::semantics::message::Length;

use crate::support::{Server, echo, end, pattern, serve};

#[test]
fn a_writer_learns_that_its_client_has_gone() {
    let mut server = Server::start(|_| {});
    let worker = server.worker(|out, id, request| {
        if request.head.target() != b"/endless" {
            return echo(out, id, request);
        }
        out.head(id, 200, &[], Length::Unknown).unwrap();
        let piece = vec![b'x'; 50_000];
        let lost = loop {
            if let Err(lost) = out.chunk(id, &piece).and_then(|_| out.flush()) {
                break lost;
            }
        };
        assert_eq!(lost, Lost::Client);
        assert_eq!(out.end(id), Err(Lost::Client));
        assert_eq!(out.chunk(id, b"more"), Err(Lost::Finished));
    });
    let mut client = server.client();
    client.send("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n");
    client.until("xxx");
    drop(client);
    // The one worker is free again.
    let mut client = server.client();
    client.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    client.until("GET /next\n");
    drop(server);
    worker.join().unwrap();
}

/// Protects: a worker whose request is revoked before it was claimed stays in dispatch. It never says that it is idle again.
#[test]
fn a_client_that_leaves_before_the_claim_does_not_cost_the_worker() {
    let mut server = Server::start(|_| {});
    let (_, descriptors) = server.channel();
    let (received, first) = std::sync::mpsc::channel();
    let worker = thread::spawn(move || {
        let out = WorkerEnd::open(descriptors).unwrap();
        out.idle();
        out.flush().unwrap();
        let Ok(Incoming::Request(left, _)) = out.next() else {
            panic!("no first request");
        };
        received.send(()).unwrap();
        let Ok(Incoming::Request(id, request)) = out.next() else {
            panic!("no second request");
        };
        assert!(!out.claim(left).unwrap(), "its client has gone");
        assert!(out.claim(id).unwrap());
        echo(&out, id, request);
        out.flush().unwrap();
    });
    let mut client = server.client();
    client.send("GET /left HTTP/1.1\r\nHost: x\r\n\r\n");
    first.recv().unwrap();
    // With a reset the core knows at once that nobody reads.
    socket2::SockRef::from(&client.0)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    // Large content is not sent to a busy worker: the second request comes when the first was taken back.
    let content = "x".repeat(20_000);
    let mut client = server.client();
    client.send("PUT /served HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n");
    client.send(&content);
    client.until(&content);
    worker.join().unwrap();
}

/// Protects: credit that arrives while its worker waits for the next request reaches the writer that an app has kept.
#[test]
fn a_writer_kept_beyond_its_call_is_credited_while_the_worker_is_idle() {
    let mut server = Server::start(|_| {});
    let piece = pattern(64 * 1024);
    let content = piece.repeat(12);
    let mut kept = None;
    server.worker(move |out, id, request| {
        if request.head.target() == b"/kept" {
            out.head(id, 200, &[], Length::Known(content.len() as u64))
                .unwrap();
            kept = Some((id, 0));
            return;
        }
        let (writer, sent) = kept.as_mut().unwrap();
        let until = *sent + piece.len();
        while *sent < until {
            *sent += out.chunk(*writer, &content[*sent..until]).unwrap();
        }
        if *sent == content.len() {
            end(out, *writer);
        }
        echo(out, id, request);
    });
    let mut reader = server.client();
    reader.send("GET /kept HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut writer = server.client();
    reader.until("\r\n\r\n");
    let reading = thread::spawn(move || reader.rest());
    for _ in 0..12 {
        writer.send("GET /write HTTP/1.1\r\nHost: x\r\n\r\n");
        writer.until("GET /write\n");
    }
    assert_eq!(reading.join().unwrap(), pattern(64 * 1024).repeat(12));
}

#[test]
fn a_slow_reader_of_a_large_response_does_not_hold_its_worker() {
    let mut server = Server::start(|_| {});
    let size = 20_000_000;
    server.worker(move |out, id, request| {
        if request.head.target() != b"/large" {
            return echo(out, id, request);
        }
        out.head(id, 200, &[], Length::Known(size as u64)).unwrap();
        for piece in pattern(size).chunks(30_000) {
            out.chunk(id, piece).unwrap();
        }
        end(out, id);
    });
    let mut slow = server.client();
    slow.send("GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let head = slow.until("\r\n\r\n");
    assert!(head.contains("Content-Length: 20000000"), "{head}");
    // The one worker serves another client while the first has read next to nothing.
    let mut other = server.client();
    other.send("GET /other HTTP/1.1\r\nHost: x\r\n\r\n");
    other.until("GET /other\n");
    assert!(
        slow.rest() == pattern(size),
        "the large response is whole and in order"
    );
}

/// Protects: content that waits for its client leaves the memory that the worker shares, so that others still find room there.
#[test]
fn a_slow_reader_does_not_hold_the_shared_memory() {
    const SLOW: usize = 12 * 1024 * 1024;
    fn first(memory: &OwnedFd, byte: u8) -> Option<usize> {
        let file = File::from(memory.try_clone().unwrap());
        let mut all = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut all, 0).unwrap();
        memchr::memmem::find(&all, &[byte; 16 * 1024])
    }
    // By one large piece, and by many that are copied one after the other.
    for length in [SLOW, 10_000] {
        let mut server = Server::start(|_| {});
        let (_, descriptors) = server.channel();
        let memory = descriptors.memory.try_clone().unwrap();
        serve(descriptors, move |out, id, request| {
            let content = match request.head.target() {
                b"/slow" => vec![b'A'; SLOW],
                _ => vec![b'B'; 64 * 1024],
            };
            let head = out.head(id, 200, &[], Length::Known(content.len() as u64));
            head.unwrap();
            for piece in content.chunks(length) {
                let mut rest = piece;
                while !rest.is_empty() {
                    let taken = out.chunk(id, rest).unwrap();
                    rest = &rest[taken..];
                }
            }
            end(out, id);
        });
        let mut slow = server.client();
        slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        slow.until("\r\n\r\n");
        let place = first(&memory, b'A').unwrap();
        // Served when the core has taken all of the slow response: large content is not sent to a busy worker.
        let mut quick = server.client();
        quick.send("PUT /quick HTTP/1.0\r\nContent-Length: 20000\r\n\r\n");
        quick.send(vec![b'x'; 20_000]);
        assert!(quick.rest().ends_with(&[b'B'; 64 * 1024]));
        assert!(first(&memory, b'B').unwrap() <= place);
        let mut content = vec![0; SLOW];
        slow.0.read_exact(&mut content).unwrap();
        assert!(content.iter().all(|&byte| byte == b'A'));
    }
}
