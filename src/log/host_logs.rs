//! The access logs of a core: the server's, and those that virtual hosts have in its place.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::access::{AccessLog, Plan};
use super::destination::Destination;
use super::format::Format;
use super::time::Zone;

/// A log of virtual hosts. Those that have the same share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it goes: no command.
    pub destination: Destination,
    /// What its lines show.
    pub format: Format,
    /// What the log is known by: both as the operator said them.
    pub key: String,
}

/// The log of a virtual host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLog {
    /// The host's name.
    pub host: String,
    /// Its log; none: its requests are not logged.
    pub log: Option<Settings>,
}

/// An open file of a log, and the key of the log.
pub type Opened = (String, OwnedFd);

/// What the logs are made of, before the core's event loop runs.
#[derive(Debug, Default)]
pub struct Plans {
    /// The server's log, if there is one.
    pub own: Option<Plan>,
    /// The hosts that have a log of their own, or none.
    pub hosts: Vec<HostLog>,
    /// The files of their logs.
    pub files: Vec<Opened>,
    /// By which clocks lines are written.
    pub zone: Zone,
    /// SERVER_NAME and SERVER_PORT of each listener.
    pub names: Vec<(String, String)>,
}

/// The access logs of a core.
#[derive(Debug)]
pub struct AccessLogs {
    own: Option<Rc<AccessLog>>,
    hosts: RefCell<Hosts>,
    zone: Zone,
    names: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct Hosts {
    /// The logs by their keys.
    logs: HashMap<String, Rc<AccessLog>>,
    /// The key of each host's log; none: its requests are not logged.
    keys: HashMap<Box<[u8]>, Option<String>>,
    /// Files of logs that are to come.
    files: HashMap<String, OwnedFd>,
    /// Whether records shall hold the response's head.
    want_response: bool,
}

/// What is kept of a request for the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// What costs little.
    Facts,
    /// The response's head as well.
    Response,
}

impl AccessLogs {
    /// The logs of these plans; to be written to within the event loop.
    ///
    /// # Errors
    /// When a descriptor is of no use.
    pub fn new(plans: Plans) -> io::Result<Self> {
        let logs = AccessLogs {
            own: plans.own.map(AccessLog::new).transpose()?.map(Rc::new),
            hosts: RefCell::default(),
            zone: plans.zone,
            names: plans.names,
        };
        logs.replace(plans.hosts, plans.files);
        Ok(logs)
    }

    /// Whether some log tells what the worker did.
    pub fn want_call(&self) -> bool {
        let hosts = self.hosts.borrow();
        self.own
            .iter()
            .chain(hosts.logs.values())
            .any(|log| log.wants_call)
    }

    /// What the logs need of each request; nothing where there are none.
    pub fn keeps(&self) -> Option<Keeps> {
        let hosts = self.hosts.borrow();
        let wanted = self.own.as_ref().is_some_and(|log| log.wants_response) || hosts.want_response;
        match wanted {
            true => Some(Keeps::Response),
            false if self.own.is_some() || !hosts.logs.is_empty() => Some(Keeps::Facts),
            false => None,
        }
    }

    /// Whether some host has a log of its own, or none.
    pub fn differ(&self) -> bool {
        !self.hosts.borrow().keys.is_empty()
    }

    /// The log of this host; of none: the server's.
    pub fn of(&self, host: Option<&[u8]>) -> Option<Rc<AccessLog>> {
        let hosts = self.hosts.borrow();
        match host.and_then(|host| hosts.keys.get(host)) {
            Some(key) => hosts.logs.get(key.as_ref()?).cloned(),
            None => self.own.clone(),
        }
    }

    /// Goes on with the server's log in the same destination, opened again.
    pub fn reopen(&self, file: OwnedFd) {
        if let Some(log) = &self.own {
            log.reopen(file);
        }
    }

    /// A file of the log with this key: opened again, or to be used when the hosts are [replaced](Self::replace).
    pub fn take_file(&self, (key, file): Opened) {
        let mut hosts = self.hosts.borrow_mut();
        match hosts.logs.get(&key) {
            Some(log) => log.reopen(file),
            None => drop(hosts.files.insert(key, file)),
        }
    }

    /// Goes by the logs of these hosts. Those that they had already go on; `files` are such as the core has opened itself.
    pub fn replace(&self, hosts: Vec<HostLog>, files: Vec<Opened>) {
        files.into_iter().for_each(|file| self.take_file(file));
        let mut current = self.hosts.borrow_mut();
        let mut old = mem::take(&mut *current);
        for HostLog { host, log } in hosts {
            let key = log.as_ref().map(|log| log.key.clone());
            if let Some(settings) = log
                && !current.logs.contains_key(&settings.key)
            {
                let known = old.logs.remove(&settings.key);
                match known.map_or_else(|| self.open(&settings, &mut old), Ok) {
                    Ok(log) => drop(current.logs.insert(settings.key, log)),
                    Err(error) => ::log::error!(
                        "the access log of '{host}', {}, can't be written: {error}",
                        settings.destination
                    ),
                }
            }
            current.keys.insert(host.into_bytes().into(), key);
        }
        current.want_response = current.logs.values().any(|log| log.wants_response);
    }

    fn open(&self, settings: &Settings, old: &mut Hosts) -> io::Result<Rc<AccessLog>> {
        let missing = || io::Error::other("its file was not opened");
        let log = AccessLog::new(Plan {
            destination: settings.destination.clone(),
            descriptor: old.files.remove(&settings.key).ok_or_else(missing)?,
            format: settings.format.clone(),
            zone: self.zone.clone(),
            names: self.names.clone(),
        });
        log.map(Rc::new)
    }

    /// Waits until all lines are written, though not for ever.
    pub async fn finish(&self) {
        let hosts: Vec<_> = self.hosts.borrow().logs.values().cloned().collect();
        for log in self.own.iter().chain(&hosts) {
            log.finish().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn log(host: &str, path: Option<&str>) -> HostLog {
        let log = path.map(|path| Settings {
            destination: Destination::File(path.into()),
            format: Format::parse("%v").unwrap(),
            key: path.to_owned(),
        });
        HostLog {
            host: host.to_owned(),
            log,
        }
    }

    fn null() -> OwnedFd {
        File::options()
            .append(true)
            .open("/dev/null")
            .unwrap()
            .into()
    }

    /// Protects: a log that a host keeps over a reload is the same, hosts share one, and one without a file harms no other.
    #[test]
    fn hosts_have_their_logs() {
        let logs = AccessLogs::new(Plans {
            hosts: vec![log("a", Some("/1")), log("b", Some("/1")), log("c", None)],
            files: vec![("/1".to_owned(), null())],
            ..Plans::default()
        });
        let logs = logs.unwrap();
        let of = |host: &str| logs.of(Some(host.as_bytes()));
        let first = of("a").unwrap();
        assert!(Rc::ptr_eq(&first, &of("b").unwrap()));
        assert!(of("c").is_none() && of("d").is_none() && logs.of(None).is_none());
        assert_eq!(logs.keeps(), Some(Keeps::Facts));
        logs.take_file(("/2".to_owned(), null()));
        logs.take_file(("/1".to_owned(), null()));
        logs.replace(
            vec![
                log("b", Some("/1")),
                log("d", Some("/2")),
                log("e", Some("/3")),
            ],
            Vec::new(),
        );
        assert!(Rc::ptr_eq(&first, &of("b").unwrap()));
        assert!(of("d").is_some() && of("a").is_none() && of("e").is_none());
        logs.replace(Vec::new(), Vec::new());
        assert_eq!(logs.keeps(), None);
    }
}
