//! The real master with a scripted core, which is lost after each message in turn, and so is a worker.
//!
//! The core's script takes the server through its life: two workers serve, a reload replaces them, the server stops. Wherever the loss
//! comes, the master must start what is missing, end a reload that can't go on, answer the next one, and stop with no child
//! left. Each life runs in a process of its own, because the master takes signals and forks: the test starts itself again.
//!
//! `GEPOK_MASTER_LOSS=core:17` with `--ignored --exact process::master::simulation::one_life --test-threads=1` replays one.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getppid};

use super::{Ended, NewWorker, Roles, Settings, run};
use crate::channel::Descriptors;
use crate::channel::worker_end::{Incoming, WorkerEnd};
use crate::process::control::{self, MasterEnd, ToCore, ToMaster};
use crate::process::error::Error;
use crate::process::fork::{self, Forked};
use crate::process::handover::Handover;
use crate::scoreboard::Board;

/// Messages of a whole life, and some more.
const MESSAGES: usize = 60;

const WORKERS: usize = 2;

/// How many lives go on at a time. They sleep most of it.
const LIVES: usize = 6;

/// How long a life may take.
const LIFE: Duration = Duration::from_secs(60);

/// After such a silence the script asks for the next reload: a loss may have ended the one before.
const SILENCE: u16 = 500;

const LOSS: &str = "GEPOK_MASTER_LOSS";

/// What is lost, after this many messages.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Core(usize),
    Worker(usize),
}

impl Loss {
    fn parse(text: &str) -> Option<Loss> {
        let (what, after) = text.split_once(':')?;
        let after = after.parse().ok()?;
        match what {
            "core" => Some(Loss::Core(after)),
            "worker" => Some(Loss::Worker(after)),
            _ => None,
        }
    }
}

/// Where the life of the server has come to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Starting,
    Reloading,
    Stopping,
}

/// A core that keeps no connections: it answers as the real one does.
struct ScriptedCore {
    control: OwnedFd,
    loss: Option<Loss>,
    messages: usize,
    act: Act,
    /// The workers, with their processes.
    channels: BTreeMap<u32, (Pid, Descriptors)>,
    serving: usize,
    admitted: usize,
    retired: usize,
}

impl ScriptedCore {
    /// One more message has come or gone.
    fn count(&mut self) {
        self.messages += 1;
        match self.loss {
            Some(Loss::Core(after)) if after == self.messages => fork::leave(1),
            Some(Loss::Worker(after)) if after == self.messages => {
                if let Some((pid, _)) = self.channels.values().next_back() {
                    kill(*pid, Signal::SIGKILL).unwrap();
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, word: ToMaster) {
        // A master that stops does not read any more.
        let _ = control::tell_master(self.control.as_fd(), &word);
        self.count();
    }

    fn signal(&self, signal: Signal) {
        kill(getppid(), signal).unwrap();
    }

    fn live(mut self) -> i32 {
        self.say(ToMaster::Ready);
        loop {
            let mut polled = [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
            let polled = poll(&mut polled, PollTimeout::from(SILENCE)).unwrap();
            match (polled, self.act) {
                (0, Act::Reloading) => self.signal(Signal::SIGHUP),
                (0, _) => {}
                _ => match control::hear_master(self.control.as_fd()).unwrap() {
                    None | Some(Ok(ToCore::Quit)) => return 0,
                    Some(word) => {
                        self.count();
                        self.obey(word.unwrap());
                        self.go_on();
                    }
                },
            }
        }
    }

    fn obey(&mut self, word: ToCore) {
        match word {
            ToCore::Worker(number, pid, channel) => {
                self.channels.insert(number, (Pid::from_raw(pid), channel));
                self.say(ToMaster::Serving(number));
                self.serving += 1;
            }
            ToCore::Candidate(number, pid, channel) => {
                self.channels.insert(number, (Pid::from_raw(pid), channel));
                self.say(ToMaster::Serving(number));
            }
            ToCore::Check(number, _) => self.say(ToMaster::Checked(number, Ok(()))),
            ToCore::Admit(_) => self.admitted += 1,
            ToCore::Retire(number) => {
                self.say(ToMaster::Leaving(number));
                self.channels.remove(&number);
                self.retired += 1;
            }
            ToCore::Died(number) => _ = self.channels.remove(&number),
            ToCore::Ping => self.say(ToMaster::Alive),
            ToCore::ReadTls => self.say(ToMaster::Answer(Ok(()))),
            ToCore::Drain => {
                self.say(ToMaster::Drained);
                self.channels.clear();
            }
            _ => {}
        }
    }

    fn go_on(&mut self) {
        match self.act {
            Act::Starting if self.serving >= WORKERS => {
                self.act = Act::Reloading;
                self.signal(Signal::SIGHUP);
            }
            Act::Reloading if self.admitted >= WORKERS && self.retired >= WORKERS => {
                self.act = Act::Stopping;
                self.signal(Signal::SIGTERM);
            }
            _ => {}
        }
    }
}

struct Script {
    loss: Loss,
    /// Has a byte for each core.
    cores: PathBuf,
    forks: usize,
    serves: bool,
}

impl Roles for Script {
    fn fork(&mut self) -> io::Result<Forked> {
        self.forks += 1;
        // SAFETY: beside this thread there is only the one that has started the test, as `one_life` has asserted: it waits and holds no
        // lock.
        unsafe { fork::fork() }
    }

    fn core(&mut self, control: OwnedFd) -> i32 {
        let mut cores = OpenOptions::new().append(true).open(&self.cores).unwrap();
        cores.write_all(b"c").unwrap();
        let core = ScriptedCore {
            control,
            loss: (cores.metadata().unwrap().len() == 1).then_some(self.loss),
            messages: 0,
            act: Act::Starting,
            channels: BTreeMap::new(),
            serving: 0,
            admitted: 0,
            retired: 0,
        };
        core.live()
    }

    fn read_options(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn try_options(&mut self) {}

    fn use_options(&mut self, core: Option<&mut MasterEnd>) -> Result<(), Error> {
        core.map_or(Ok(()), |core| core.ask(ToCore::ReadTls))
    }

    fn has_new_certificates(&self) -> bool {
        false
    }

    fn read_certificates(&mut self, core: &mut MasterEnd) -> Result<(), Error> {
        core.ask(ToCore::ReadTls)
    }

    fn reopen_logs(&mut self, _: &mut MasterEnd) -> Result<(), Error> {
        Ok(())
    }

    fn look_after_children(&mut self, _: &mut MasterEnd) {}

    fn listening(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn serving(&mut self, _: &mut MasterEnd) -> Result<(), Error> {
        self.serves = true;
        Ok(())
    }

    fn stop_listening(&mut self) {}

    fn handed_over(&self) -> Handover {
        Handover::default()
    }

    fn worker(&mut self, worker: NewWorker) -> i32 {
        let end = WorkerEnd::open(worker.channel).unwrap();
        loop {
            match end.next() {
                Ok(Incoming::Stop | Incoming::Closed) | Err(_) => return 0,
                Ok(_) => {}
            }
        }
    }
}

fn settings() -> Settings {
    let (board, _) = Board::create(16).unwrap();
    Settings {
        workers: WORKERS,
        pool: None,
        graceful_timeout: Duration::from_secs(10),
        spawn_interval: Duration::ZERO,
        err_respawn_interval: Duration::from_millis(10),
        check_path: Some("/".to_owned()),
        has_successor: false,
        program: None,
        reload_on_hup: false,
        handover: Handover::default(),
        verdict: None,
        notifier: None,
        board: Arc::new(board),
    }
}

/// Runs in a process of its own, which the test below starts.
#[test]
#[ignore = "each_loss_is_made_good runs it in processes"]
fn one_life() {
    let loss = env::var(LOSS).expect(LOSS);
    let loss = Loss::parse(&loss).expect(LOSS);
    let threads = fs::read_dir("/proc/self/task").unwrap().count();
    assert!(threads <= 2, "it is to be run with --test-threads=1");
    let cores = env::temp_dir().join(format!("gepok-cores-{}", std::process::id()));
    File::create(&cores).unwrap();
    let mut script = Script {
        loss,
        cores,
        forks: 0,
        serves: false,
    };
    let ended = run(settings(), &mut script);
    if let Ok(Ended::Worker(status)) = ended {
        fork::leave(status);
    }
    let born = fs::read(&script.cores).unwrap().len();
    fs::remove_file(&script.cores).unwrap();
    // Before a worker has served, a loss ends the start.
    assert!(ended.is_ok() || !script.serves, "{ended:?}");
    assert!(born <= 2, "{born} cores");
    assert!(script.forks <= 8 * WORKERS, "{} workers", script.forks);
    let children = waitpid(None, Some(WaitPidFlag::WNOHANG));
    assert_eq!(children, Err(nix::Error::ECHILD), "a child is left");
}

/// Lives that go on, each with its loss and its beginning. A test that fails leaves none.
struct Lives(Vec<(String, Child, Instant)>);

impl Drop for Lives {
    fn drop(&mut self) {
        for (_, life, _) in &mut self.0 {
            // Its children die with it.
            let _ = life.kill();
            let _ = life.wait();
        }
    }
}

/// Protects: whichever message is the last before the core or a worker is lost, the master goes on, and ends when it is to.
#[test]
fn each_loss_is_made_good() {
    let mut losses = (1..=MESSAGES).flat_map(|after| ["core", "worker"].map(|what| (what, after)));
    let mut lives = Lives(Vec::new());
    loop {
        while lives.0.len() < LIVES
            && let Some((what, after)) = losses.next()
        {
            let loss = format!("{what}:{after}");
            let life = Command::new(env::current_exe().unwrap())
                .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
                .arg("process::master::simulation::one_life")
                .env(LOSS, &loss)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            lives.0.push((loss, life.unwrap(), Instant::now()));
        }
        if lives.0.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
        for at in (0..lives.0.len()).rev() {
            let (_, life, begun) = &mut lives.0[at];
            let late = begun.elapsed() > LIFE;
            if late {
                life.kill().unwrap();
            }
            if late || life.try_wait().unwrap().is_some() {
                let (loss, life, _) = lives.0.swap_remove(at);
                let output = life.wait_with_output().unwrap();
                let told = String::from_utf8_lossy(&output.stderr);
                let ran = String::from_utf8_lossy(&output.stdout).contains("1 passed");
                assert!(ran && !late, "replay: {LOSS}={loss} (late: {late})\n{told}");
            }
        }
    }
}
