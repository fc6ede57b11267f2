//! Apps that take the client's socket (psgix.io).

use std::fs::File;
use std::io::{Read, Write};

use gepok::channel::respond::Respond;
use gepok::channel::worker_end::WorkerEnd;
use gepok::semantics::message::{Length, Request};

use crate::support::{Server, echo, end};

/// Speaks to the client itself, then answers in the usual way where the target says so.
fn taker(out: &WorkerEnd, id: u64, request: Request) {
    let mut socket = File::from(out.take(id).unwrap());
    let mut word = [0; 5];
    if request.head.target() == b"/look" {
        return echo(out, id, request);
    }
    socket.write_all(b"HTTP/1.1 101 Mine\r\n\r\n").unwrap();
    socket.read_exact(&mut word).unwrap();
    socket.write_all(&[&b"got "[..], &word].concat()).unwrap();
    drop(socket);
    end(out, id);
}

#[test]
fn an_app_can_take_the_socket_or_one_end_of_a_relay() {
    let mut server = Server::start(|_| {});
    server.worker(taker);
    for early in [false, true] {
        let mut client = server.client();
        if early {
            // These bytes are read with the head, so that the app gets a relay.
            client.send("GET /speak HTTP/1.1\r\nHost: x\r\n\r\nhello");
            client.until("Mine\r\n\r\n");
        } else {
            client.send("GET /speak HTTP/1.1\r\nHost: x\r\n\r\n");
            client.until("Mine\r\n\r\n");
            client.send("hello");
        }
        client.until("got hello");
        assert_eq!(client.rest(), b"", "the connection ends with the app");
    }
}

#[test]
fn an_app_that_only_looks_at_the_socket_responds_as_any_other() {
    let mut server = Server::start(|_| {});
    server.worker(taker);
    for request in [
        "GET /look HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /look HTTP/1.1\r\nHost: x\r\n\r\nmore",
    ] {
        let mut client = server.client();
        client.send(request);
        let head = client.until("\r\n\r\n");
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        client.until("GET /look\n");
    }
}

/// Protects the end of a stream whose app looks at the socket after its last write.
#[test]
fn a_response_is_whole_whose_app_takes_the_socket_after_its_content() {
    let mut server = Server::start(|_| {});
    server.worker(|out, id, _| {
        out.head(id, 200, &[], Length::Unknown).unwrap();
        out.chunk(id, b"content").unwrap();
        drop(out.take(id).unwrap());
        end(out, id);
    });
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    client.until("\r\n7\r\ncontent\r\n0\r\n\r\n");
    assert_eq!(client.rest(), b"", "the connection ends with the response");
}

/// Protects: psgix_io 0 holds for a worker that asks for the socket all the same.
#[test]
fn without_psgix_io_the_core_gives_no_socket() {
    let mut server = Server::start(|settings| settings.psgix_io = false);
    server.worker(|out, id, request| {
        assert!(out.take(id).is_err(), "a descriptor");
        echo(out, id, request);
    });
    let mut client = server.client();
    for _ in 0..2 {
        client.send("GET /kept HTTP/1.1\r\nHost: x\r\n\r\n");
        client.until("GET /kept\n");
    }
}
