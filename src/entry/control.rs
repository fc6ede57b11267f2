//! Commands to a running server: stop, restart, reload, status.

use nix::unistd::Pid;

use super::serve::{FAILED, mistake};
use crate::config::Options;
use crate::config::command::Command;
use crate::process::handover;
use crate::scoreboard::status;
use crate::semantics::wording::plain;
use crate::server::running::{self, ControlError, Running};

/// The exit statuses of commands to a server beside [`FAILED`]: it does not run, only its own user may.
const NOT_RUNNING: i32 = 3;
const NOT_ALLOWED: i32 = 4;

/// Has a running server do something.
pub(super) fn do_with(running: &Running, command: Command) -> Result<(), ControlError> {
    match command {
        Command::Stop => running.stop(),
        Command::Restart => running.restart(),
        Command::Reload => running.reload(),
        Command::Status => Ok(()),
    }
}

/// Controls a running server, for the command. Returns the exit status.
pub(super) fn control(command: Command, options: &Options) -> i32 {
    let running = match running::find(options, &handover::origin()) {
        Ok(Ok(running)) => running,
        Ok(Err(not_running)) => {
            eprintln!("gepok: {not_running}");
            return NOT_RUNNING;
        }
        Err(error) => return mistake(&format!("{error:#}")),
    };
    let before = running.before();
    let done = do_with(&running, command).and_then(|()| match (command, before) {
        (Command::Reload | Command::Restart, Some(before)) => running.changed(&before, command),
        _ => Ok(running::Code::New),
    });
    match done {
        Ok(code) => {
            if let Some(note) = code.note() {
                eprintln!("gepok: {note}");
            }
            if command == Command::Status {
                println!("{}", describe(running.pid(), options.json));
            }
            0
        }
        Err(error) => {
            eprintln!("gepok: {}", plain(&error.to_string()));
            match error {
                ControlError::Gone => NOT_RUNNING,
                ControlError::NotAllowed(_) => NOT_ALLOWED,
                ControlError::Failed(_) | ControlError::Stays(..) => FAILED,
            }
        }
    }
}

/// How a server does: what its scoreboard tells, where there is one and it may be read.
fn describe(pid: Pid, json: bool) -> String {
    match (status::of(pid.as_raw()), json) {
        (Ok(status), true) => status.json(),
        (Ok(status), false) => format!("running, pid {pid}\n{}", status.text()),
        (Err(_), true) => format!("{{\"master\":{pid}}}"),
        (Err(error), false) => {
            format!("running, pid {pid}; its scoreboard can't be read: {error}")
        }
    }
}
