//! Cores that stop or give way to a successor.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use gepok::channel::respond::Respond;
use gepok::channel::worker_end::{Incoming, WorkerEnd};
use gepok::process::control::{ToCore, ToMaster};

use crate::support::{Server, echo};

#[test]
fn a_drain_finishes_what_is_in_work_and_closes_what_is_idle() {
    let mut server = Server::start(|_| {});
    let (_, descriptors) = server.channel();
    let worker = WorkerEnd::open(descriptors).unwrap();
    worker.idle();
    worker.flush().unwrap();
    let mut idle = server.client();
    let mut busy = server.client();
    busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let Ok(Incoming::Request(id, request)) = worker.next() else {
        panic!()
    };
    assert!(worker.claim(id).unwrap());
    server.tell(ToCore::Drain);
    assert_eq!(idle.rest(), b"", "an idle connection closes");
    echo(&worker, id, request);
    worker.flush().unwrap();
    let response = String::from_utf8(busy.rest()).unwrap();
    assert!(
        response.contains("\r\nConnection: close\r\n") && response.ends_with("GET /\n"),
        "{response}"
    );
    server.hear_drained();
    assert!(matches!(worker.next(), Ok(Incoming::Stop)));
    assert!(
        TcpStream::connect(server.address).is_err(),
        "nothing listens any more"
    );
}

#[test]
fn a_request_in_the_backlog_is_answered_by_a_core_that_drains() {
    let mut client = None;
    let mut server = Server::start_after(
        |_| {},
        |server| {
            server.worker(echo);
            client = Some(server.client());
            client
                .as_mut()
                .unwrap()
                .send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            server.tell(ToCore::Drain);
        },
    );
    let response = String::from_utf8(client.unwrap().rest()).unwrap();
    assert!(
        response.contains("\r\nConnection: close\r\n") && response.ends_with("GET /\n"),
        "{response}"
    );
    server.hear_drained();
}

#[test]
fn a_core_that_gives_way_answers_one_more_request_on_each_connection() {
    let mut server = Server::start(|_| {});
    server.worker(echo);
    let (mut busy, mut idle) = (server.client(), server.client());
    for client in [&mut busy, &mut idle] {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(!client.until("GET /\n").contains("Connection: close"));
    }
    let start = Instant::now();
    server.tell(ToCore::GiveWay);
    // Words come in their order: the core gives way when it answers this one.
    server.tell(ToCore::Ping);
    while server.control.hear().unwrap() != Some(ToMaster::Alive) {}
    busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let response = busy.until("GET /\n");
    assert!(response.contains("\r\nConnection: close\r\n"), "{response}");
    assert_eq!(idle.rest(), b"", "an idle connection ends");
    assert!(start.elapsed() > Duration::from_millis(500), "not at once");
    server.hear_drained();
}
