//! The controlling terminal of a server in the foreground.

use std::fs::File;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The kernel sends SIGHUP a moment before the terminal is gone.
const MOMENT: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(10);

/// The terminal that this process was started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// A service, or in the background.
    None,
    /// It controls the session.
    Controlling,
}

impl Terminal {
    /// That of this process now.
    pub fn find() -> Terminal {
        // It has no terminal or can't be opened when that has hung up: ENXIO or EIO.
        match File::open("/dev/tty") {
            Ok(_) => Terminal::Controlling,
            Err(_) => Terminal::None,
        }
    }

    /// Whether it was there and has hung up, or does so in this moment.
    pub fn has_hung_up(self) -> bool {
        let limit = Instant::now() + MOMENT;
        match self {
            Terminal::None => false,
            Terminal::Controlling => loop {
                if Terminal::find() == Terminal::None {
                    return true;
                }
                if Instant::now() >= limit {
                    return false;
                }
                sleep(PAUSE);
            },
        }
    }
}

/// The columns of the terminal that standard output is, else what COLUMNS of the environment says, else 80.
pub fn columns() -> usize {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize to its argument, which is one, or fails.
    let told = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    match size.ws_col {
        columns @ 1.. if told == 0 => columns.into(),
        _ => std::env::var("COLUMNS")
            .ok()
            .and_then(|columns| columns.parse().ok())
            .unwrap_or(80),
    }
}
