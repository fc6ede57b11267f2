//! Requests and responses on their way through the core.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use gepok::channel::respond::{Lost, Respond};
use gepok::semantics::message::Length;

use crate::support::{Server, echo, end, pattern};

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let mut server = Server::start(|_| {});
    server.worker(echo);
    server.worker(echo);
    let mut client = server.client();
    client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: x\r\n\r\n");
    for end in ["GET /1\n", "POST /2\nabc", "GET /3\n"] {
        let response = client.until(end);
        assert!(
            response.starts_with("HTTP/1.1 200 OK\r\nX-Echo: 1\r\n"),
            "{response}"
        );
        assert!(
            response.contains(&format!("\r\nContent-Length: {}\r\n", end.len())),
            "{response}"
        );
    }
}

#[test]
fn content_of_every_size_arrives_whole() {
    let mut server = Server::start(|_| {});
    server.worker(echo);
    for size in [1, 16 * 1024, 16 * 1024 + 1, 300_000, 3_000_000] {
        let sent: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let mut client = server.client();
        let mut reader = client.0.try_clone().unwrap();
        let reading = thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all
        });
        client.send(format!(
            "PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
        ));
        client.send(&sent);
        let got = reading.join().unwrap();
        assert!(got.ends_with(&sent), "{size} bytes with a length");

        let mut client = server.client();
        client.send(
            "PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        for piece in sent.chunks(50_000) {
            client.send(format!("{:x}\r\n", piece.len()));
            client.send(piece);
            client.send("\r\n");
        }
        client.send("0\r\nTrailer: x\r\n\r\n");
        assert!(client.rest().ends_with(&sent), "{size} bytes in chunks");
    }
}

#[test]
fn an_abort_is_502_before_the_head_and_a_cut_behind_it() {
    let mut server = Server::start(|_| {});
    server.worker(|out, id, request| {
        if request.head.target() == b"/late" {
            out.head(id, 200, &[], Length::Unknown).unwrap();
            out.chunk(id, b"begun").unwrap();
        }
        out.abort(id);
    });
    let mut client = server.client();
    client.send("GET /early HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 502 "));
    client.until("Bad Gateway");
    client.send("GET /late HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        client.until("begun").contains("Transfer-Encoding: chunked"),
        "the connection lives on"
    );
    let mut rest = Vec::new();
    let ended = client.0.read_to_end(&mut rest);
    assert!(
        ended.is_err() || !rest.ends_with(b"0\r\n\r\n"),
        "never ended cleanly"
    );
}

/// Protects: a response no frame can hold costs its own request only, not the worker.
#[test]
fn a_head_beyond_a_frame_is_502_and_the_worker_lives_on() {
    let mut server = Server::start(|_| {});
    server.worker(|out, id, request| {
        if request.head.target() != b"/long" {
            return echo(out, id, request);
        }
        let value = vec![b'x'; 1024 * 1024];
        assert_eq!(
            out.head(id, 200, &[(b"X-Long", &value)], Length::Unknown),
            Err(Lost::TooLarge)
        );
        out.abort(id);
    });
    let mut client = server.client();
    client.send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 502 "));
    client.until("Bad Gateway");
    client.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    client.until("GET /next\n");
}

#[test]
fn a_response_that_was_whole_before_it_failed_costs_nothing() {
    let mut server = Server::start(|_| {});
    server.worker(|out, id, _| {
        out.head(id, 200, &[], Length::Known(5)).unwrap();
        out.chunk(id, b"whole").unwrap();
        out.flush().unwrap();
        out.abort(id);
    });
    let mut client = server.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        client.until("whole");
    }
}

#[test]
fn a_head_that_takes_too_long_is_408_and_an_idle_connection_just_closes() {
    // Not so short that a busy machine takes as long for the bytes that are sent.
    let server = Server::start(|settings| settings.header_timeout = Duration::from_secs(2));
    let mut slow = server.client();
    slow.send("GET / HT");
    assert!(slow.rest().starts_with(b"HTTP/1.1 408 "));
    let mut server = Server::start(|settings| {
        settings.keepalive_timeout = Duration::from_millis(100);
    });
    server.worker(echo);
    let mut idle = server.client();
    idle.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    idle.until("GET /a\n");
    assert_eq!(idle.rest(), b"");
}

#[test]
fn a_file_is_sent_from_its_offset_and_one_that_shrinks_cuts_the_connection() {
    let mut server = Server::start(|_| {});
    let all = pattern(3_000_000);
    let content = all.clone();
    server.worker(move |out, id, request| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let length = match request.head.target() {
            b"/whole" => 2_999_000,
            _ => 5_000_000,
        };
        out.head(id, 200, &[], Length::Known(length)).unwrap();
        out.file(id, file.as_fd(), 1000, length).unwrap();
        end(out, id);
    });
    let mut client = server.client();
    client.send("GET /whole HTTP/1.1\r\nHost: x\r\n\r\nGET /short HTTP/1.1\r\nHost: x\r\n\r\n");
    client.until("\r\n\r\n");
    let mut got = vec![0; 2_999_000];
    client.0.read_exact(&mut got).unwrap();
    assert!(got == all[1000..]);
    client.until("Content-Length: 5000000\r\n\r\n");
    let mut rest = Vec::new();
    let ended = client.0.read_to_end(&mut rest);
    assert!(
        ended.is_err() || rest.len() < 5_000_000,
        "the response is cut"
    );
}

#[test]
fn an_empty_line_behind_a_request_does_not_begin_another() {
    let mut server = Server::start(|settings| {
        settings.keepalive_timeout = Duration::from_millis(100);
    });
    server.worker(echo);
    let mut client = server.client();
    client.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx\r\n");
    client.until("POST /a\nx");
    assert_eq!(client.rest(), b"", "closed as an idle connection is");
}

/// Protects: small parts go by the ring, large ones and files by the socket, and yet they arrive in order.
#[test]
fn parts_of_every_size_arrive_in_the_order_in_which_they_were_said() {
    fn piece(number: usize, length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 + number) as u8).collect()
    }
    const LENGTHS: [usize; 12] = [
        1, 40_000, 3, 500, 16_000, 9, 8_192, 8_193, 100_000, 1, 12_000, 7,
    ];
    let mut server = Server::start(|_| {});
    server.worker(|out, id, _| {
        out.head(id, 200, &[], Length::Unknown).unwrap();
        for (number, &length) in LENGTHS.iter().enumerate() {
            let content = piece(number, length);
            if number % 5 == 4 {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(&content).unwrap();
                out.file(id, file.as_fd(), 0, length as u64).unwrap();
            } else {
                let mut rest = &content[..];
                while !rest.is_empty() {
                    let taken = out.chunk(id, rest).unwrap();
                    rest = &rest[taken..];
                }
            }
            if number % 3 != 0 {
                out.flush().unwrap();
            }
        }
        end(out, id);
    });
    let expected: Vec<u8> = LENGTHS
        .iter()
        .enumerate()
        .flat_map(|(number, &length)| piece(number, length))
        .collect();
    for _ in 0..20 {
        let mut client = server.client();
        client.send("GET / HTTP/1.0\r\n\r\n");
        let response = client.rest();
        let head = response.windows(4).position(|end| end == b"\r\n\r\n");
        assert!(response[head.unwrap() + 4..] == expected);
    }
}

/// Protects the connection: the rest is dropped, also where it comes as a part by itself and nothing else is to be written.
#[test]
fn much_beyond_the_announced_length_is_not_sent() {
    // Two times what is written together.
    const LENGTH: usize = 512 * 1024;
    let mut server = Server::start(|_| {});
    server.worker(|out, id, _| {
        out.head(id, 200, &[], Length::Known(LENGTH as u64))
            .unwrap();
        for piece in [&[b'a'; LENGTH][..], &[b'b'; 20_000]] {
            let mut rest = piece;
            // The client may have all of it by then.
            while let Ok(taken @ 1..) = out.chunk(id, rest) {
                rest = &rest[taken..];
            }
        }
        end(out, id);
    });
    let mut client = server.client();
    for _ in 0..20 {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let head = client.until("\r\n\r\n");
        assert!(head.contains("\r\nContent-Length: 524288\r\n"), "{head}");
        client.until(&"a".repeat(LENGTH));
    }
}
