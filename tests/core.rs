//! The core, the channel and the worker's loop together, without Perl: threads stand for the processes.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use gepok::channel::respond::{Lost, Respond};
use gepok::channel::{self, worker_end::Incoming, worker_end::WorkerEnd};
use gepok::process::control::{ToCore, ToMaster};
use gepok::semantics::message::{Length, Request};

use support::{Server, echo, end, serve};

mod support;

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
fn a_dead_worker_costs_only_what_it_had_claimed() {
    let mut server = Server::start(|_| {});
    // Two workers of which one claims and one does not, before both die.
    let (claims, descriptors) = server.channel();
    let claiming = WorkerEnd::open(descriptors).unwrap();
    let (leaves, descriptors) = server.channel();
    let leaving = WorkerEnd::open(descriptors).unwrap();

    let mut unlucky = server.client();
    unlucky.send("POST /claimed HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    claiming.idle();
    claiming.flush().unwrap();
    let Ok(Incoming::Request(id, _)) = claiming.next() else {
        panic!()
    };
    assert!(claiming.claim(id).unwrap());

    let mut lucky = server.client();
    lucky.send("POST /unclaimed HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\ny");
    leaving.idle();
    leaving.flush().unwrap();
    let Ok(Incoming::Request(..)) = leaving.next() else {
        panic!()
    };

    drop((claiming, leaving));
    server.tell(ToCore::Died(claims));
    server.tell(ToCore::Died(leaves));
    assert!(unlucky.until("\r\n\r\n").starts_with("HTTP/1.1 502 "));
    server.worker(echo);
    lucky.until("POST /unclaimed\ny");
    unlucky.until("Bad Gateway");
    unlucky.send("GET /again HTTP/1.1\r\nHost: x\r\n\r\n");
    unlucky.until("GET /again\n");
}

#[test]
fn what_a_leaving_worker_has_not_claimed_goes_to_another() {
    let mut server = Server::start(|_| {});
    let (_, descriptors) = server.channel();
    let leaving = WorkerEnd::open(descriptors).unwrap();
    leaving.idle();
    leaving.flush().unwrap();
    let mut client = server.client();
    client.send("GET /sent HTTP/1.1\r\nHost: x\r\n\r\n");
    let Ok(Incoming::Request(id, _)) = leaving.next() else {
        panic!()
    };
    leaving.leaving();
    leaving.flush().unwrap();
    server.worker(echo);
    // The one that leaves takes its time: it is not dead yet.
    client.until("GET /sent\n");
    assert!(!leaving.claim(id).unwrap(), "it is another worker's by now");
}

#[test]
fn what_a_worker_had_sent_before_its_death_is_not_lost() {
    let mut server = Server::start(|_| {});
    let (number, descriptors) = server.channel();
    let worker = WorkerEnd::open(descriptors).unwrap();
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    worker.idle();
    worker.flush().unwrap();
    let Ok(Incoming::Request(id, request)) = worker.next() else {
        panic!()
    };
    assert!(worker.claim(id).unwrap());
    echo(&worker, id, request);
    worker.flush().unwrap();
    drop(worker);
    server.tell(ToCore::Died(number));
    client.until("GET /\n");
}

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

/// Protects: a worker that does not begin with its call (it is stopped, or destroys the last env) delays the call by
/// milliseconds while another worker is idle.
#[test]
fn a_call_that_a_worker_does_not_begin_goes_to_an_idle_one() {
    let mut server = Server::start(|_| {});
    // The worker that became idle last is asked first.
    server.worker(echo);
    server.until_serving();
    let (number, descriptors) = server.channel();
    let stopped = WorkerEnd::open(descriptors).unwrap();
    stopped.idle();
    stopped.flush().unwrap();
    server.until_serving();
    for _ in 0..20 {
        let mut client = server.client();
        client.send("GET /served HTTP/1.1\r\nHost: x\r\n\r\n");
        client.until("GET /served\n");
    }
    // It was asked first at least once: the other one was not the only worker.
    let asked = stopped.next().unwrap();
    assert!(
        matches!(asked, Incoming::Request(id, _) if !stopped.claim(id).unwrap()),
        "worker {number} was asked"
    );
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

/// Bytes in which a missing or displaced piece shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 256 + at) as u8).collect()
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
    // By one large piece, and by many that are copied behind each other.
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
fn a_request_that_no_worker_will_take_fails_and_the_core_drains() {
    let mut server = Server::start(|_| {});
    let (number, descriptors) = server.channel();
    let worker = WorkerEnd::open(descriptors).unwrap();
    worker.idle();
    worker.flush().unwrap();
    let mut first = server.client();
    first.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\n");
    let Ok(Incoming::Request(id, _)) = worker.next() else {
        panic!()
    };
    assert!(worker.claim(id).unwrap());
    let mut queued = server.client();
    queued.send("GET /queued HTTP/1.1\r\nHost: x\r\n\r\n");
    drop(worker);
    server.tell(ToCore::Died(number));
    server.tell(ToCore::NoWorkers);
    for mut client in [first, queued] {
        assert!(client.rest().starts_with(b"HTTP/1.1 502 "));
    }
    server.hear_drained();
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

#[test]
fn nobody_waits_behind_a_long_call_though_quick_ones_are_sent_ahead() {
    let mut server = Server::start(|_| {});
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Arc::new(std::sync::Mutex::new(gate));
    for _ in 0..2 {
        let gate = std::sync::Arc::clone(&gate);
        server.worker(move |out, id, request| {
            if request.head.target() == b"/long" {
                gate.lock().unwrap().recv().unwrap();
            }
            echo(out, id, request);
        });
    }
    let mut clients: Vec<_> = (0..12).map(|_| server.client()).collect();
    for round in 0..20 {
        // Quick calls in numbers, so that the workers get some ahead.
        for _ in 0..20 {
            for client in &mut clients {
                client.send("GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
            }
            for client in &mut clients {
                client.until("GET /quick\n");
            }
        }
        let (long, others) = clients.split_first_mut().unwrap();
        long.send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n");
        for client in others.iter_mut() {
            client.send("GET /other HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        for client in others {
            client.until("GET /other\n");
        }
        release.send(()).unwrap();
        let response = long.until("GET /long\n");
        assert!(
            response.starts_with("HTTP/1.1 200 "),
            "round {round}: {response}"
        );
    }
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

/// One worker's app that answers with the number in its path as the status.
fn status(out: &WorkerEnd, id: u64, request: Request) {
    let number = String::from_utf8_lossy(&request.head.target()[1..]).parse();
    out.head(id, number.unwrap_or(200), &[], Length::Known(0))
        .unwrap();
    end(out, id);
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

#[test]
fn a_candidate_gets_no_request_before_it_is_admitted() {
    let mut server = Server::start(|_| {});
    let (core_side, worker_side) = channel::pair().unwrap();
    server.tell(ToCore::Candidate(9, 1, core_side));
    serve(worker_side, status);
    let mut client = server.client();
    client.send("GET /201 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(server.control.hear().unwrap(), Some(ToMaster::Serving(9)));
    for (path, answer) in [
        ("/404", Ok(())),
        (
            "/503",
            Err("check_path /503 was answered with 503".to_owned()),
        ),
    ] {
        server.tell(ToCore::Check(9, path.to_owned()));
        let word = server.control.hear().unwrap();
        assert_eq!(word, Some(ToMaster::Checked(9, answer)));
    }
    client.silent();
    server.tell(ToCore::Admit(9));
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 201"));
}

#[test]
fn a_candidate_that_dies_on_its_check_hands_it_to_nobody() {
    let mut server = Server::start(|_| {});
    server.worker(status);
    let (core_side, worker_side) = channel::pair().unwrap();
    server.tell(ToCore::Candidate(9, 1, core_side));
    let channel = WorkerEnd::open(worker_side).unwrap();
    server.tell(ToCore::Check(9, "/200".to_owned()));
    drop(channel);
    server.tell(ToCore::Died(9));
    loop {
        match server.control.hear().unwrap() {
            Some(ToMaster::Serving(_)) => {}
            word => {
                let why = Err("check_path /200 was not answered".to_owned());
                return assert_eq!(word, Some(ToMaster::Checked(9, why)));
            }
        }
    }
}

#[test]
fn a_worker_that_retires_finishes_what_it_has_begun_and_gets_nothing_more() {
    let mut server = Server::start(|_| {});
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = std::sync::mpsc::channel::<()>();
    let retired = server.worker(move |channel, id, request| {
        if request.head.target() == b"/slow" {
            begin.send(()).unwrap();
            wait.recv().unwrap();
        }
        echo(channel, id, request);
    });
    let (mut first, mut second) = (server.client(), server.client());
    first.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    begun.recv().unwrap();
    server.tell(ToCore::Retire(1));
    second.send("GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
    second.silent();
    go.send(()).unwrap();
    first.until("GET /slow\n");
    retired.join().unwrap();
    second.silent();
    server.worker(echo);
    second.until("GET /quick\n");
}
