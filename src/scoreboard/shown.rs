//! The status for people, and as JSON for programs.

#![forbid(unsafe_code)]

use super::WorkerState;
use super::connections::STATES;
use super::reloads::Reloads;
use super::status::{Status, Worker};

impl WorkerState {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            WorkerState::Loading => "loading",
            WorkerState::Idle => "idle",
            WorkerState::Busy => "busy",
            WorkerState::Leaving => "leaving",
        }
    }
}

impl Status {
    /// For people: lines of a header, then a table.
    pub fn text(&self) -> String {
        let states = STATES.iter().zip(self.connections);
        let states: Vec<_> = states
            .map(|((_, name), count)| format!("{count} {name}"))
            .collect();
        let first = match self.queued {
            0 => String::new(),
            _ => format!(", the first for {:.1} s", self.oldest),
        };
        let mut text = format!(
            "master {}, core {} ({} MiB), up {:.0} s\n\
             {}\n\
             connections: {} open, {} accepted ({})\n\
             requests: {} so far, {} in flight, {} waiting for a worker{first}\n\
             waits lately: {:.1} ms by the mean, {:.1} ms at most, of {} requests\n\
             refused: {} rests of responses (read too slowly), {} contents (no room), {} requests (too many wait), {} connections (no PROXY header)\n\n",
            self.master,
            self.core,
            mib(self.core_rss),
            self.up,
            self.reloads.text(),
            self.open(),
            self.accepted,
            states.join(", "),
            self.requests,
            self.workers_in(WorkerState::Busy),
            self.queued,
            self.waits.mean * 1e3,
            self.waits.longest * 1e3,
            self.waits.requests,
            self.refusals.responses,
            self.refusals.contents,
            self.refusals.requests,
            self.refusals.connections,
        );
        text += "    PID  GEN  STATE    REQUESTS     AGE  RSS/MiB  SINCE  REQUEST\n";
        for worker in &self.workers {
            let line = format!(
                "{:>7}  {:>3}  {:<7}  {:>8}  {:>6.0}  {:>7}  {:>5.1}  {}",
                worker.pid,
                worker.generation,
                worker.state.as_str(),
                worker.requests,
                worker.age,
                mib(worker.rss),
                worker.since,
                worker.request
            );
            text += line.trim_end();
            text += "\n";
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// For programs: one JSON object. Times are seconds, memory is bytes.
    pub fn json(&self) -> String {
        let workers: Vec<_> = self.workers.iter().map(Worker::json).collect();
        let states = STATES.iter().zip(self.connections);
        let states: Vec<_> = states
            .map(|((_, name), count)| format!("\"{name}\":{count}"))
            .collect();
        format!(
            "{{\"master\":{},\"core\":{},\"core_rss\":{},\"up\":{:.3},\"reload\":{},\"connections\":{},\
             \"connection_states\":{{{}}},\"accepted\":{},\"requests\":{},\"queued\":{},\"oldest_wait\":{:.3},\
             \"total_wait\":{:.6},\"lately\":{{\"requests\":{},\"mean_wait\":{:.6},\"longest_wait\":{:.6}}},\
             \"refused\":{{\"responses\":{},\"contents\":{},\"requests\":{},\"connections\":{}}},\
             \"workers\":[{}]}}",
            self.master,
            self.core,
            number(self.core_rss),
            self.up,
            self.reloads.json(),
            self.open(),
            states.join(","),
            self.accepted,
            self.requests,
            self.queued,
            self.oldest,
            self.waits.total,
            self.waits.requests,
            self.waits.mean,
            self.waits.longest,
            self.refusals.responses,
            self.refusals.contents,
            self.refusals.requests,
            self.refusals.connections,
            workers.join(",")
        )
    }

    /// How many connections are open.
    pub fn open(&self) -> u64 {
        self.connections.iter().sum()
    }

    /// How many workers are in this state.
    pub fn workers_in(&self, state: WorkerState) -> usize {
        let those = self.workers.iter().filter(|worker| worker.state == state);
        those.count()
    }
}

impl Reloads {
    fn text(&self) -> String {
        let serves = match self.generation {
            0 => "no generation serves yet".to_owned(),
            generation => format!(
                "generation {generation} serves for {:.0} s{}",
                self.since,
                match self.keeps_code && generation > 1 {
                    true => ", with the code of the start",
                    false => "",
                }
            ),
        };
        match &self.failure {
            None => serves,
            Some(failure) => format!("{serves}; {:.0} s ago {}", failure.ago, failure.why),
        }
    }

    fn json(&self) -> String {
        let failure = match &self.failure {
            None => "null".to_owned(),
            Some(failure) => format!(
                "{{\"ago\":{:.3},\"why\":{}}}",
                failure.ago,
                string(&failure.why)
            ),
        };
        format!(
            "{{\"generation\":{},\"since\":{:.3},\"keeps_code\":{},\"failure\":{failure}}}",
            self.generation, self.since, self.keeps_code
        )
    }
}

impl Worker {
    fn json(&self) -> String {
        format!(
            "{{\"pid\":{},\"number\":{},\"generation\":{},\"state\":\"{}\",\"requests\":{},\"age\":{:.3},\
             \"rss\":{},\"since\":{:.3},\"request\":{}}}",
            self.pid,
            self.number,
            self.generation,
            self.state.as_str(),
            self.requests,
            self.age,
            number(self.rss),
            self.since,
            string(&self.request)
        )
    }
}

fn mib(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "?".to_owned(), |bytes| (bytes >> 20).to_string())
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "null".to_owned(), |number| number.to_string())
}

/// A text that was escaped, so that it has neither control characters nor such as turn the text around them, as JSON has it.
fn string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
