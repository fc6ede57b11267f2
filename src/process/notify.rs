//! Messages to systemd about the server's state (sd_notify(3)): datagrams to the socket that NOTIFY_SOCKET names.

#![forbid(unsafe_code)]

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// How long a service manager may leave its socket full. The master does not wait for longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The socket of the service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
    watchdog: Option<Watchdog>,
}

/// When the next WATCHDOG=1 is due.
#[derive(Debug)]
struct Watchdog {
    interval: Duration,
    next: Instant,
}

impl Notifier {
    /// The service manager that has started this process, if it wants to be notified.
    pub fn from_environment() -> Option<Self> {
        let name = env::var("NOTIFY_SOCKET").ok()?;
        match Notifier::to(&name) {
            Ok(notifier) => Some(notifier),
            Err(error) => {
                ::log::warn!("NOTIFY_SOCKET: '{name}' can't be used: {error}");
                None
            }
        }
    }

    fn to(name: &str) -> io::Result<Self> {
        let to = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(name),
        }?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Notifier {
            socket,
            to,
            watchdog: watchdog(),
        })
    }

    /// The server is ready, for the first time or again.
    pub fn ready(&self) {
        self.send("READY=1\nSTATUS=serving");
    }

    /// The server reloads.
    pub fn reloading(&self) {
        // systemd compares it with its own clock (Type=notify-reload).
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        let micros = now.unwrap_or_default().as_micros();
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"
        ));
    }

    /// The server stops.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// Both master and core are alive.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1");
        }
    }

    /// When the next WATCHDOG=1 is due.
    pub fn next_sign(&self) -> Option<Instant> {
        self.watchdog.as_ref().map(|watchdog| watchdog.next)
    }

    /// Whether WATCHDOG=1 is due. If so, the next one is due an interval later.
    pub fn is_sign_due(&mut self) -> bool {
        let now = Instant::now();
        match &mut self.watchdog {
            Some(watchdog) if watchdog.next <= now => {
                watchdog.next = now + watchdog.interval;
                true
            }
            _ => false,
        }
    }

    fn send(&self, text: &str) {
        if let Err(error) = self.socket.send_to_addr(text.as_bytes(), &self.to) {
            ::log::warn!("the service manager can't be told: {error}");
        }
    }
}

/// Half of the service manager's timeout.
fn watchdog() -> Option<Watchdog> {
    let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
    let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let micros = number("WATCHDOG_USEC").filter(|&micros| meant && micros > 1)?;
    Some(Watchdog {
        interval: Duration::from_micros(micros / 2),
        next: Instant::now(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: a service manager that hangs does not stop the master.
    #[test]
    fn a_manager_that_does_not_read_is_waited_for_only_briefly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(path.to_str().unwrap()).unwrap();
        let send = || notifier.socket.send_to_addr(b"X=1", &notifier.to);
        let began = Instant::now();
        while send().is_ok() {}
        assert!(began.elapsed() < 5 * PATIENCE);
        manager.recv(&mut [0; 8]).unwrap();
        send().unwrap();
    }
}
