//! What systemd is told of the server's life (sd_notify(3)): datagrams to the socket that NOTIFY_SOCKET names.

#![forbid(unsafe_code)]

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// The way to the service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
    watchdog: Option<Watchdog>,
}

/// A sign of life is due at times.
#[derive(Debug)]
struct Watchdog {
    interval: Duration,
    next: Instant,
}

impl Notifier {
    /// To whoever has started this process, if they want to know.
    pub fn from_environment() -> Option<Self> {
        let name = env::var("NOTIFY_SOCKET").ok()?;
        let to = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&name),
        };
        let opened = to.and_then(|to| Ok((UnixDatagram::unbound()?, to)));
        match opened {
            Ok((socket, to)) => Some(Notifier {
                socket,
                to,
                watchdog: watchdog(),
            }),
            Err(error) => {
                ::log::warn!("NOTIFY_SOCKET: '{name}' can't be used: {error}");
                None
            }
        }
    }

    /// It serves, for the first time or again.
    pub fn ready(&self) {
        self.send("READY=1\nSTATUS=serving");
    }

    /// It takes new code, certificates and log files.
    pub fn reloading(&self) {
        // systemd compares it with its own clock (Type=notify-reload).
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        let micros = now.unwrap_or_default().as_micros();
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"
        ));
    }

    /// It stops.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// Both master and core are alive.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1");
        }
    }

    /// When the next sign of life is to be asked for.
    pub fn next_sign(&self) -> Option<Instant> {
        self.watchdog.as_ref().map(|watchdog| watchdog.next)
    }

    /// Whether a sign of life is due; then the next one is due an interval later.
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

/// Half the time that the service manager grants.
fn watchdog() -> Option<Watchdog> {
    let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
    let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let micros = number("WATCHDOG_USEC").filter(|&micros| meant && micros > 1)?;
    Some(Watchdog {
        interval: Duration::from_micros(micros / 2),
        next: Instant::now(),
    })
}
