//! What becomes of requests when workers die, leave, are slow or are checked.

use gepok::channel;
use gepok::channel::respond::Respond;
use gepok::channel::worker_end::{Incoming, WorkerEnd};
use gepok::process::control::{ToCore, ToMaster};

use crate::support::{Server, echo, serve, status};

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
