//! What the options about the life of workers mean.

use std::time::Duration;

use super::super::error::{Error, Result};

use super::super::options::Options;
use super::limit;

/// How many workers there are, what each may use, and what ends it.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// Workers at most; as many as are started where the number is fixed
    pub most: u32,
    /// With fewer idle workers more are started
    pub min_spare: u32,
    /// With more idle workers some are let go
    pub max_spare: u32,
    /// How long workers too many are kept
    pub idle_timeout: Duration,
    /// What one worker does before another takes its place
    pub budget: Budget,
    /// How long the app may be silent on a request; none: for ever
    pub request_timeout: Option<Duration>,
    /// In which event loop workers wait; none: in none
    pub event_loop: Option<EventLoop>,
}

/// The event loop of each worker.
#[derive(Clone, Debug, PartialEq)]
pub struct EventLoop {
    /// A name of Gepok's, or a class
    pub name: String,
    /// Requests that a worker serves at a time
    pub requests: u32,
}

/// What one worker does before another takes its place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    /// Requests, at least and at most; none: no limit
    pub requests: Option<(u32, u32)>,
    /// Age; none: no limit
    pub age: Option<Duration>,
    /// Bytes of resident memory; none: no limit
    pub rss: Option<u64>,
}

// Gepok's.
const MAX_CLIENTS: u32 = 150;

/// Requests of one worker at a time, with an event loop
const REQUESTS: u32 = 100;

/// Workers to start, and what becomes of them.
pub(super) fn life(options: &Options) -> Result<(super::Workers, Life)> {
    let said = &options.life;
    let start = match said.max_clients {
        Some(most) => options.start_servers.min(most),
        None => options.start_servers,
    };
    let workers = super::Workers {
        start: options.max_workers.unwrap_or(start),
        // As Gepok documents it: without a scoreboard the pool stays as it was started.
        fixed: options.max_workers.is_some() || super::daemon::is_disabled(options),
    };
    let most = match said.max_clients {
        _ if workers.fixed => workers.start,
        Some(most) => most,
        None => MAX_CLIENTS.max(workers.start),
    };
    let max_spare = match said.max_spare_servers {
        Some(most) if most < said.min_spare_servers => {
            return Err(Error::option(
                "max_spare_servers",
                format!(
                    "{most} is less than min_spare_servers, {}",
                    said.min_spare_servers
                ),
            ));
        }
        Some(most) => most,
        None => workers.start.max(said.min_spare_servers),
    };
    let life = Life {
        most,
        min_spare: said.min_spare_servers,
        max_spare,
        idle_timeout: said.idle_worker_timeout,
        budget: Budget {
            requests: requests(options)?,
            age: limit(said.max_worker_age),
            rss: (said.max_worker_rss > 0).then_some(said.max_worker_rss),
        },
        request_timeout: limit(said.request_timeout),
        event_loop: event_loop(options)?,
    };
    Ok((workers, life))
}

fn event_loop(options: &Options) -> Result<Option<EventLoop>> {
    let said = &options.life;
    let name = said.event_loop.as_deref().filter(|&name| name != "none");
    let Some(name) = name else {
        return match said.worker_requests {
            Some(2..) => Err(Error::option(
                "worker_requests",
                "it needs an event loop, see the option 'loop'",
            )),
            Some(_) | None => Ok(None),
        };
    };
    if !is_class(name) {
        let known = "none, poll, AnyEvent, EV, IO::Async, Mojo";
        return Err(Error::option(
            "loop",
            format!("'{name}' is neither {known} nor the name of a class"),
        ));
    }
    if options.logging.access_hook {
        return Err(Error::option(
            "loop",
            "a class that has an access_log of its own can't be used with an event loop",
        ));
    }
    Ok(Some(EventLoop {
        name: name.to_owned(),
        requests: said.worker_requests.unwrap_or(REQUESTS),
    }))
}

fn is_class(name: &str) -> bool {
    name.split("::").all(|part| {
        let mut bytes = part.bytes();
        bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

fn requests(options: &Options) -> Result<Option<(u32, u32)>> {
    let (least, most) = (
        options.life.min_reqs_per_child,
        options.max_requests_per_child,
    );
    if least > most {
        return Err(Error::option(
            "min_reqs_per_child",
            format!("{least} is more than max_requests_per_child, {most}"),
        ));
    }
    Ok(match (least, most) {
        (_, 0) => None,
        (0, most) => Some((most, most)),
        span => Some(span),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_named_by_words() {
        for name in ["poll", "IO::Async", "My::Loop_2", "_X"] {
            assert!(is_class(name), "{name}");
        }
        for name in ["", "::", "A::", "a b", "A:B", "2A", "A';exit'", "Ä"] {
            assert!(!is_class(name), "{name}");
        }
    }
}
