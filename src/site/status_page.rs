//! The status as a page for people.

use std::fmt::Write;

use crate::html::{self, escape};
use crate::scoreboard::WorkerState;
use crate::scoreboard::connections::STATES;
use crate::scoreboard::status::{Status, Worker};

/// Seconds after which a browser fetches the page again.
const REFRESH: u32 = 5;

/// The style, in addition to that of all pages. `c0` to `c5` are the states of connections.
const STYLE: &str = ":root{--good:#18794e;--busy:#ad5700;--bad:#cd2b31;--c0:#8e4ec6;--c1:#8b8d98;--c2:#0588f0;--c3:#e5930b;--c4:#30a46c;--c5:#c1c8cd}\
@media(prefers-color-scheme:dark){:root{--good:#3dd68c;--busy:#ffb224;--bad:#ff6369;--c0:#bf7af0;--c1:#7a828a;--c2:#52a9ff;--c3:#f1a10d;--c4:#3cb179;--c5:#4c5155}}\
h1 small{margin-left:.5rem;color:var(--dim);font-size:.9rem;font-weight:400}\
h2{margin:2rem 0 .6rem;font-size:1rem;font-weight:600}\
.alert{margin:0 0 1.25rem;padding:.7rem 1rem;border:1px solid var(--bad);border-radius:.5rem;overflow-wrap:anywhere}\
.alert b,.bad{color:var(--bad)}\
.tiles{display:grid;grid-template-columns:repeat(3,1fr);gap:.75rem;margin:0}\
.tiles div{padding:.7rem 1rem;border:1px solid var(--line);border-radius:.6rem}\
dt,.note{color:var(--dim);font-size:.85rem}\
dd{margin:0;color:var(--dim);font-size:.85rem;font-variant-numeric:tabular-nums}\
dd b{display:block;color:var(--text);font-size:1.6rem;font-weight:600;line-height:1.3}\
.bar{display:flex;height:.7rem;overflow:hidden;border-radius:.35rem;background:var(--line)}\
.bar i{min-width:3px}\
ul{display:flex;flex-wrap:wrap;gap:.2rem 1.25rem;margin:.6rem 0 0;padding:0;list-style:none;font-size:.9rem;font-variant-numeric:tabular-nums}\
li i{display:inline-block;width:.65rem;height:.65rem;margin-right:.4rem;border-radius:50%}\
li.none{color:var(--dim)}\
td{padding-top:.4rem;padding-bottom:.4rem;font-size:.9rem;font-variant-numeric:tabular-nums}\
th{color:var(--dim)}\
.n{text-align:right;white-space:nowrap}\
.request{width:100%;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.82rem;overflow-wrap:anywhere}\
.loading{color:var(--c2)}.idle{color:var(--dim)}.busy{color:var(--busy)}.leaving{color:var(--dim)}\
.busy{font-weight:600}\
p.note{margin-top:1.5rem}\
@media(max-width:36rem){h2,.note{padding:0 .5rem}.wide{display:none}.tiles{grid-template-columns:1fr 1fr;gap:.5rem}.tiles div{padding:.5rem .75rem}ul{padding:0 .5rem}}";

/// The page.
pub(super) fn page(status: &Status) -> String {
    let head = format!("<meta http-equiv=\"refresh\" content=\"{REFRESH}\">\n");
    let mut out = html::begin("Gepok status", STYLE, &head);
    let _ = write!(
        out,
        "<main>\n<h1>Gepok <small>{}, up {}</small></h1>\n",
        generation(status),
        duration(status.up)
    );
    if let Some(failure) = &status.reloads.failure {
        let _ = write!(
            out,
            "<p class=\"alert\" role=\"alert\"><b>{} ago</b> ",
            duration(failure.ago)
        );
        escape(&mut out, &failure.why);
        out.push_str("</p>\n");
    }
    figures(&mut out, status);
    connections(&mut out, status);
    refusals(&mut out, status);
    workers(&mut out, status);
    let _ = write!(
        out,
        "<p class=\"note\">master {}, core {}. This page is fetched again every {REFRESH} seconds; \
         it is also there as <a href=\"?text\">text</a> and as <a href=\"?json\">JSON</a>.</p>\n</main>\n{}",
        status.master,
        status.core,
        html::END
    );
    out
}

/// Which generation serves.
fn generation(status: &Status) -> String {
    match status.reloads.generation {
        0 => "no generation serves yet".to_owned(),
        number => format!(
            "generation {number} for {}{}",
            duration(status.reloads.since),
            match status.reloads.keeps_code && number > 1 {
                true => ", with the code of the start",
                false => "",
            }
        ),
    }
}

fn figures(out: &mut String, status: &Status) {
    let busy = status.workers_in(WorkerState::Busy);
    let waiting = match status.queued {
        0 => String::new(),
        _ => format!("the first for {}", duration(status.oldest)),
    };
    let waits = &status.waits;
    let figures = [
        (
            "Busy workers",
            format!("{busy} of {}", status.workers.len()),
            String::new(),
        ),
        ("Waiting requests", count(status.queued), waiting),
        (
            "Wait for a worker",
            milliseconds(waits.mean),
            format!("at most {}, lately", milliseconds(waits.longest)),
        ),
        (
            "Requests",
            count(status.requests),
            format!("{} lately", count(waits.requests)),
        ),
        (
            "Connections",
            count(status.open()),
            format!("{} accepted", count(status.accepted)),
        ),
        (
            "Core",
            memory(status.core_rss),
            "resident memory".to_owned(),
        ),
    ];
    out.push_str("<dl class=\"tiles\">\n");
    for (name, value, note) in figures {
        let _ = writeln!(
            out,
            "<div><dt>{name}</dt><dd><b>{value}</b>{note}</dd></div>"
        );
    }
    out.push_str("</dl>\n");
}

/// A bar with the states, and what its colours mean.
fn connections(out: &mut String, status: &Status) {
    out.push_str("<h2>Connections</h2>\n<div class=\"bar\" aria-hidden=\"true\">");
    for (at, connections) in status.connections.iter().enumerate() {
        if *connections > 0 {
            let _ = write!(
                out,
                "<i style=\"flex:{connections};background:var(--c{at})\"></i>"
            );
        }
    }
    out.push_str("</div>\n<ul>");
    for (at, ((_, name), connections)) in STATES.iter().zip(status.connections).enumerate() {
        let none = if connections == 0 {
            " class=\"none\""
        } else {
            ""
        };
        let _ = write!(
            out,
            "<li{none}><i style=\"background:var(--c{at})\"></i>{} {name}</li>",
            count(connections)
        );
    }
    out.push_str("</ul>\n");
}

fn refusals(out: &mut String, status: &Status) {
    let refused = &status.refusals;
    out.push_str("<h2>Refused since the start</h2>\n<ul>");
    for (number, what) in [
        (refused.requests, "requests (too many wait)"),
        (refused.contents, "contents (no room)"),
        (refused.responses, "rests of responses (read too slowly)"),
        (refused.connections, "connections (no PROXY header)"),
    ] {
        let class = if number == 0 { "none" } else { "bad" };
        let _ = write!(out, "<li class=\"{class}\">{} {what}</li>", count(number));
    }
    out.push_str("</ul>\n");
}

fn workers(out: &mut String, status: &Status) {
    out.push_str(
        "<h2>Workers</h2>\n<table>\n<thead><tr><th scope=\"col\">State</th><th scope=\"col\" class=\"n\">Since</th>\
         <th scope=\"col\">Request</th><th scope=\"col\" class=\"n wide\">Requests</th><th scope=\"col\" class=\"n wide\">Age</th>\
         <th scope=\"col\" class=\"n\">Memory</th><th scope=\"col\" class=\"n wide\">Generation</th>\
         <th scope=\"col\" class=\"n wide\">PID</th></tr></thead>\n<tbody>\n",
    );
    status.workers.iter().for_each(|each| worker(out, each));
    out.push_str("</tbody>\n</table>\n");
}

fn worker(out: &mut String, worker: &Worker) {
    let state = worker.state.as_str();
    let _ = write!(
        out,
        "<tr><td class=\"{state}\">{state}</td><td class=\"n\">{}</td><td class=\"request\">",
        duration(worker.since)
    );
    escape(out, &worker.request);
    let _ = writeln!(
        out,
        "</td><td class=\"n wide\">{}</td><td class=\"n wide\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n wide\">{}</td><td class=\"n wide\">{}</td></tr>",
        count(worker.requests),
        duration(worker.age),
        memory(worker.rss),
        worker.generation,
        worker.pid
    );
}

/// As `12,345`.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Seconds in the two largest units that count.
fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..10 => format!("{:.1} s", seconds.max(0.0)),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min", whole / 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}

fn milliseconds(seconds: f64) -> String {
    match seconds {
        1.0.. => duration(seconds),
        _ => format!("{:.1} ms", seconds * 1e3),
    }
}

fn memory(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "?".to_owned(), |bytes| format!("{} MiB", bytes >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_people_read_them() {
        assert_eq!(
            [0, 999, 1000, 12_345, 1_234_567].map(count),
            ["0", "999", "1,000", "12,345", "1,234,567"]
        );
        assert_eq!(
            [0.04, 9.96, 59.9, 60.0, 7_299.0, 200_000.0].map(duration),
            ["0.0 s", "10.0 s", "59 s", "1 min", "2 h 1 min", "2 d 7 h"]
        );
        assert_eq!([0.0123, 1.5].map(milliseconds), ["12.3 ms", "1.5 s"]);
        assert_eq!(memory(None), "?");
    }
}
