//! The families of metrics: names, kinds and meanings, as `docs/metrics.md` lists them.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::exposition::{Exposition, Format};
use super::histogram::Histogram;
use super::process::Process;
use super::{Counters, METHODS, Metrics};
use crate::scoreboard::WorkerState;
use crate::scoreboard::connections::STATES;
use crate::scoreboard::status::Status;
use crate::semantics::message::{Timestamp, Version};

/// All metrics of the server. `status` and `process` were read just now.
pub fn text(metrics: &Metrics, status: &Status, process: &Process, format: Format) -> String {
    let mut out = Exposition::new(format);
    server(&mut out, status);
    requests(&mut out, &metrics.0.borrow());
    waiting(&mut out, status);
    workers(&mut out, status);
    connections(&mut out, status);
    core(&mut out, status, process);
    out.finish()
}

fn server(out: &mut Exposition, status: &Status) {
    out.gauges(
        "gepok_build_info",
        "The server's version.",
        "version",
        [(env!("CARGO_PKG_VERSION"), 1)],
    );
    out.gauge(
        "gepok_start_time_seconds",
        "When the server was started, in seconds since 1970.",
        Some(format!("{:.0}", now() - status.up)),
    );
    let reloads = &status.reloads;
    out.gauge(
        "gepok_generation",
        "The generation of the app that serves: each reload begins another.",
        Some(reloads.generation),
    );
    out.gauge(
        "gepok_generation_start_time_seconds",
        "Since when it serves, in seconds since 1970.",
        (reloads.generation > 0).then(|| format!("{:.0}", now() - reloads.since)),
    );
    out.gauge(
        "gepok_last_reload_success",
        "Whether the last reload or restart has succeeded; 1 before there was one.",
        Some(u8::from(reloads.failure.is_none())),
    );
}

fn requests(out: &mut Exposition, hosts: &BTreeMap<Box<[u8]>, Counters>) {
    let names: Vec<_> = hosts
        .keys()
        .map(|name| String::from_utf8_lossy(name))
        .collect();
    let hosts: Vec<_> = names
        .iter()
        .map(|name| &**name)
        .zip(hosts.values())
        .collect();
    let name = "gepok_http_requests_total";
    out.counters(
        name,
        "Requests that are over, by method, status and protocol; 499 where the client left before a response.",
    );
    for (host, counters) in &hosts {
        for (labels, count) in &counters.requests {
            let method = labels.method.map_or("other", |at| METHODS[usize::from(at)]);
            let protocol = labels.version.map_or("none", Version::as_str);
            let status = labels.status.map_or("none".to_owned(), |it| it.to_string());
            let labels: [(_, &dyn Display); 4] = [
                ("vhost", host),
                ("method", &method),
                ("code", &status),
                ("protocol", &protocol),
            ];
            out.sample(name, &labels, count);
        }
    }
    for (name, help, count) in [
        (
            "gepok_http_aborted_total",
            "Requests whose connection was lost, or cut, before their response was whole.",
            (|counters| counters.aborted) as fn(&Counters) -> u64,
        ),
        (
            "gepok_http_request_bytes_total",
            "Bytes of requests, on the wire but within TLS.",
            |counters| counters.received,
        ),
        (
            "gepok_http_response_bytes_total",
            "Bytes of responses that clients have taken, on the wire but within TLS.",
            |counters| counters.sent,
        ),
    ] {
        out.counters(name, help);
        for (host, counters) in &hosts {
            out.sample(name, &[("vhost", host)], count(counters));
        }
    }
    for (name, help, times) in [
        (
            "gepok_http_request_duration_seconds",
            "From a request's first byte to its response's last.",
            (|counters| &counters.duration) as fn(&Counters) -> &Histogram,
        ),
        (
            "gepok_queue_duration_seconds",
            "How long requests waited for a worker.",
            |counters| &counters.queue,
        ),
        (
            "gepok_app_duration_seconds",
            "From the start of the app's call until its response was complete.",
            |counters| &counters.app,
        ),
    ] {
        let hosts = hosts
            .iter()
            .map(|(host, counters)| (*host, times(counters)));
        out.histograms(name, help, hosts);
    }
}

fn waiting(out: &mut Exposition, status: &Status) {
    out.counter(
        "gepok_app_requests_total",
        "Requests handed to the app.",
        Some(status.requests),
    );
    out.gauge(
        "gepok_requests_queued",
        "Requests that wait for a worker.",
        Some(status.queued),
    );
    out.gauge(
        "gepok_queue_oldest_seconds",
        "How long the first of them has waited.",
        Some(format!("{:.3}", status.oldest)),
    );
    let name = "gepok_refused_total";
    out.counters(name, "What was refused because a bound was reached.");
    let refused = &status.refusals;
    for (what, count) in [
        ("response", refused.responses),
        ("content", refused.contents),
        ("request", refused.requests),
        ("connection", refused.connections),
    ] {
        out.sample(name, &[("what", &what)], count);
    }
}

fn workers(out: &mut Exposition, status: &Status) {
    let states = [
        WorkerState::Loading,
        WorkerState::Idle,
        WorkerState::Busy,
        WorkerState::Leaving,
    ];
    out.gauges(
        "gepok_workers",
        "Worker processes.",
        "state",
        states.map(|state| (state.as_str(), status.workers_in(state))),
    );
    let resident = status.workers.iter().filter_map(|worker| worker.rss);
    out.gauge(
        "gepok_workers_resident_memory_bytes",
        "Resident memory of all workers; what they share counts for each.",
        Some(resident.sum::<u64>()),
    );
}

fn connections(out: &mut Exposition, status: &Status) {
    let states = STATES.iter().zip(status.connections);
    out.gauges(
        "gepok_connections",
        "Connections that are open.",
        "state",
        states.map(|((_, name), count)| (name, count)),
    );
    out.counter(
        "gepok_connections_accepted_total",
        "Connections accepted.",
        Some(status.accepted),
    );
}

/// The names that every client library of Prometheus has.
fn core(out: &mut Exposition, status: &Status, process: &Process) {
    out.counter(
        "process_cpu_seconds_total",
        "Processor time of the core.",
        process.cpu.map(|time| time.as_secs_f64()),
    );
    out.gauge(
        "process_resident_memory_bytes",
        "Resident memory of the core.",
        status.core_rss,
    );
    out.gauge(
        "process_open_fds",
        "Descriptors that the core has open.",
        process.descriptors,
    );
    out.gauge(
        "process_max_fds",
        "How many it may have open.",
        process.most_descriptors,
    );
}

fn now() -> f64 {
    let now = Timestamp::now();
    now.seconds as f64 + f64::from(now.micros) / 1e6
}
