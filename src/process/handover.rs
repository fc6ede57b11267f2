//! What a master hands to the program that it becomes (USR2): listening sockets, open files, cores and workers, told by a
//! variable of the environment. The process, its children and its descriptors stay the same; only the program is new.
//!
//! Before that, a child tries the new program: it does all but take clients' requests.

use std::env;
use std::ffi::{CString, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::unistd::{Pid, execve, getpid};

use super::origin::{self, Origin};

/// The variable that tells it.
pub const VARIABLE: &str = "GEPOK_HANDOVER";

/// Changes when cores and workers of one version can't be led by a master of the other.
const VERSION: u32 = 6;

/// How this process was started, so that it can be started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    file: PathBuf,
    arguments: Vec<Vec<u8>>,
    folder: PathBuf,
    environment: Vec<(OsString, OsString)>,
    process: Pid,
}

static PROGRAM: OnceLock<Option<Program>> = OnceLock::new();
static ORIGIN: OnceLock<Origin> = OnceLock::new();
static RECEIVED: Mutex<Option<(Pid, Handover)>> = Mutex::new(None);

/// Remembers how this process was started, and receives what was handed over to it: to be called before an app can change
/// the one or start programs that would get the other.
pub fn begin() {
    remember(None, |origin| Program::new(getpid(), own_words()?, origin));
}

/// As [`begin`], for a program that knows that of itself: its pid, its folder and its words. Nothing: it does not.
pub fn begin_with(told: impl Iterator<Item = Vec<u8>>) {
    let mut told = told;
    let process = told
        .next()
        .and_then(|pid| String::from_utf8(pid).ok()?.parse().ok());
    let folder = told
        .next()
        .map(|folder| PathBuf::from(OsString::from_vec(folder)));
    remember(folder, |origin| {
        let process = process.ok_or(io::ErrorKind::NotFound)?;
        Program::new(Pid::from_raw(process), told.collect(), origin)
    });
}

/// Where and by whom the server was started; for a process that begins no server, what it is now.
pub fn origin() -> Origin {
    let known = ORIGIN.get().cloned();
    known.unwrap_or_else(|| Origin::now(None))
}

fn own_words() -> io::Result<Vec<Vec<u8>>> {
    let line = fs::read("/proc/self/cmdline")?;
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    Ok(line.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect())
}

fn remember(folder: Option<PathBuf>, program: impl FnOnce(&Origin) -> io::Result<Program>) {
    PROGRAM.get_or_init(|| {
        let handover = env::var(VARIABLE).ok().and_then(|text| parse(&text));
        let before = handover.as_ref().and_then(|known| known.origin.clone());
        let origin = ORIGIN.get_or_init(|| before.unwrap_or_else(|| Origin::now(folder)));
        if let Some(handover) = handover {
            handover.keep_open(false);
            *RECEIVED.lock().unwrap_or_else(PoisonError::into_inner) = Some((getpid(), handover));
        }
        program(origin).ok()
    });
}

/// Whether something was handed over to this process that it has not taken yet.
pub fn is_expected() -> bool {
    let received = RECEIVED.lock().unwrap_or_else(PoisonError::into_inner);
    received
        .as_ref()
        .is_some_and(|(process, _)| *process == getpid())
}

/// What was handed over to this process, once.
pub fn received() -> Option<Handover> {
    let mut received = RECEIVED.lock().unwrap_or_else(PoisonError::into_inner);
    let (process, handover) = received.take()?;
    (process == getpid()).then_some(handover)
}

impl Program {
    fn new(process: Pid, arguments: Vec<Vec<u8>>, origin: &Origin) -> io::Result<Program> {
        Ok(Program {
            file: fs::read_link("/proc/self/exe")?,
            arguments,
            folder: origin.folder.clone(),
            environment: env::vars_os()
                .filter(|(name, _)| name != VARIABLE)
                .collect(),
            process,
        })
    }

    /// The program of this process. Nothing where that can't be told, or where this process was forked by a program that may
    /// be doing other things than to serve.
    pub fn of_server() -> Option<Program> {
        let program = PROGRAM.get()?.clone()?;
        (program.process == getpid()).then_some(program)
    }

    /// Becomes the program. Returns only if that fails.
    pub fn run(&self, handover: &Handover) -> io::Error {
        match self.try_run(handover) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_run(&self, handover: &Handover) -> io::Result<std::convert::Infallible> {
        let file = CString::new(self.file.clone().into_os_string().into_vec())?;
        let arguments: Result<Vec<_>, _> =
            self.arguments.iter().cloned().map(CString::new).collect();
        let mut environment = vec![CString::new(format!("{VARIABLE}={}", handover.text()))?];
        for (name, value) in &self.environment {
            let mut line = name.clone();
            line.push("=");
            // systemd's sockets are for the process that it names, and a trial is to stand for it.
            if name == "LISTEN_PID" && value.to_str() == Some(&self.process.to_string()) {
                line.push(getpid().to_string());
            } else {
                line.push(value);
            }
            environment.push(CString::new(line.into_vec())?);
        }
        env::set_current_dir(&self.folder)?;
        Ok(execve(&file, &arguments?, &environment)?)
    }
}

/// What is handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handover {
    /// The program is only tried: it says a word to this descriptor when all is well, and ends.
    pub trial: Option<RawFd>,
    /// The generation that serves.
    pub generation: u32,
    /// The next worker's number.
    pub next_number: u32,
    /// How the server was started first.
    pub origin: Option<Origin>,
    /// Listening sockets, each with the place that it stands for.
    pub sockets: Vec<(RawFd, String)>,
    /// Files that the new program may not be allowed to open.
    pub files: Vec<KeptFile>,
    /// Cores that still serve.
    pub cores: Vec<OldCore>,
    /// Their workers.
    pub workers: Vec<OldWorker>,
    /// Other children, which nobody else buries.
    pub children: Vec<Pid>,
}

/// What an open file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The pid file.
    Pid,
    /// The scoreboard.
    Scoreboard,
    /// A log.
    Log,
    /// Certificates or keys.
    Tls,
}

impl Purpose {
    const ALL: [(Purpose, &str); 4] = [
        (Purpose::Pid, "pid"),
        (Purpose::Scoreboard, "scoreboard"),
        (Purpose::Log, "log"),
        (Purpose::Tls, "tls"),
    ];

    fn word(self) -> &'static str {
        let known = Self::ALL.iter().find(|(purpose, _)| *purpose == self);
        known.map_or("", |(_, word)| word)
    }

    fn parse(word: &str) -> Option<Purpose> {
        let known = Self::ALL.iter().find(|(_, known)| *known == word);
        known.map(|(purpose, _)| *purpose)
    }
}

/// An open file that is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFile {
    /// The descriptor.
    pub descriptor: RawFd,
    /// What it is for.
    pub purpose: Purpose,
    /// The path that it was opened by.
    pub path: PathBuf,
}

/// A core that the program before has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldCore {
    /// Its process.
    pub pid: Pid,
    /// The master's end of the socket between them.
    pub control: RawFd,
    /// It was told to give way.
    pub gives_way: bool,
}

/// A worker that the program before has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldWorker {
    /// Its process.
    pub pid: Pid,
    /// Its number.
    pub number: u32,
    /// Its core's process.
    pub core: Pid,
    /// It takes no requests any more.
    pub leaves: bool,
}

impl Handover {
    /// Whether the program that this process is about to become, or that it starts, finds the descriptors open.
    pub fn keep_open(&self, open: bool) {
        let flag = if open { 0 } else { libc::FD_CLOEXEC };
        let sockets = self.sockets.iter().map(|(fd, _)| *fd);
        let files = self.files.iter().map(|file| file.descriptor);
        let controls = self.cores.iter().map(|core| core.control);
        for fd in sockets.chain(files).chain(controls).chain(self.trial) {
            // SAFETY: a number that is not open is an error of fcntl's, nothing else; the program that misses it says so.
            unsafe { libc::fcntl(fd, libc::F_SETFD, flag) };
        }
    }

    /// Where the verdict on this program is awaited, if it is only tried.
    pub fn take_trial(&mut self) -> Option<OwnedFd> {
        self.trial.take().map(own)
    }

    /// The cores that still serve, each with the master's end of its socket.
    pub fn take_cores(&mut self) -> Vec<(OldCore, OwnedFd)> {
        let cores = self.cores.drain(..);
        cores.map(|core| (core, own(core.control))).collect()
    }

    /// The socket that stands for this place, which is the caller's from now on.
    pub fn take_socket(&mut self, place: &str) -> Option<OwnedFd> {
        let at = self.sockets.iter().position(|(_, known)| known == place)?;
        let (fd, _) = self.sockets.remove(at);
        Some(own(fd))
    }

    /// The file that was open for this purpose under this path, which is the caller's from now on.
    pub fn take_file(&mut self, purpose: Purpose, path: &Path) -> Option<File> {
        let is_it = |file: &KeptFile| file.purpose == purpose && file.path == path;
        let at = self.files.iter().position(is_it)?;
        Some(File::from(own(self.files.remove(at).descriptor)))
    }

    /// All files that were open for this purpose, with their paths.
    pub fn take_files(&mut self, purpose: Purpose) -> Vec<(PathBuf, File)> {
        let taken = self.files.extract_if(.., |file| file.purpose == purpose);
        taken
            .map(|file| (file.path, File::from(own(file.descriptor))))
            .collect()
    }

    /// Closes the sockets and files that nobody wants any more.
    pub fn close_unwanted(&mut self) {
        let sockets = self.sockets.drain(..).map(|(fd, _)| fd);
        let files = self.files.drain(..).map(|file| file.descriptor);
        sockets.chain(files).for_each(|fd| drop(own(fd)));
    }

    /// One fact a line.
    fn text(&self) -> String {
        let mut text = format!("gepok {VERSION}\n");
        // Children of this process inherit the variable; it is not meant for them.
        let _ = writeln!(text, "process {}", getpid());
        let _ = writeln!(text, "next {} {}", self.generation, self.next_number);
        if let Some(fd) = self.trial {
            let _ = writeln!(text, "trial {fd}");
        }
        if let Some(origin) = &self.origin {
            let _ = writeln!(text, "origin {}", origin.text());
        }
        for (fd, place) in &self.sockets {
            let _ = writeln!(text, "socket {fd} {place}");
        }
        for file in &self.files {
            let (purpose, path) = (file.purpose.word(), origin::encoded(&file.path));
            let _ = writeln!(text, "file {} {purpose} {path}", file.descriptor);
        }
        for core in &self.cores {
            let gives_way = u8::from(core.gives_way);
            let _ = writeln!(text, "core {} {} {gives_way}", core.pid, core.control);
        }
        for worker in &self.workers {
            let (pid, number, core) = (worker.pid, worker.number, worker.core);
            let _ = writeln!(
                text,
                "worker {pid} {number} {core} {}",
                u8::from(worker.leaves)
            );
        }
        for pid in &self.children {
            let _ = writeln!(text, "child {pid}");
        }
        text
    }
}

/// A descriptor that the program before has left to this one.
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: it was handed over by its number, and each number is taken once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Nothing where it is meant for another process or comes from another version.
fn parse(text: &str) -> Option<Handover> {
    let mut lines = text.lines();
    if lines.next()? != format!("gepok {VERSION}") {
        return None;
    }
    let mut handover = Handover::default();
    let mut meant = false;
    for line in lines {
        let (word, rest) = line.split_once(' ')?;
        let mut words = rest.split(' ');
        let mut number = || words.next()?.parse::<i32>().ok();
        match word {
            "process" => meant = number()? == getpid().as_raw(),
            "trial" => handover.trial = Some(number()?),
            "next" => {
                handover.generation = number()?.try_into().ok()?;
                handover.next_number = number()?.try_into().ok()?;
            }
            "socket" => {
                let (fd, place) = rest.split_once(' ')?;
                handover.sockets.push((fd.parse().ok()?, place.to_owned()));
            }
            "origin" => handover.origin = Some(Origin::parse(rest)?),
            "file" => {
                let descriptor = number()?;
                handover.files.push(KeptFile {
                    descriptor,
                    purpose: Purpose::parse(words.next()?)?,
                    path: origin::decoded(words.next()?)?,
                });
            }
            "core" => handover.cores.push(OldCore {
                pid: Pid::from_raw(number()?),
                control: number()?,
                gives_way: number()? != 0,
            }),
            "worker" => handover.workers.push(OldWorker {
                pid: Pid::from_raw(number()?),
                number: number()?.try_into().ok()?,
                core: Pid::from_raw(number()?),
                leaves: number()? != 0,
            }),
            "child" => handover.children.push(Pid::from_raw(number()?)),
            _ => return None,
        }
    }
    meant.then_some(handover)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_arrives() {
        let handover = Handover {
            trial: Some(9),
            generation: 3,
            next_number: 70_000,
            origin: Some(Origin::now(None)),
            sockets: vec![
                (3, "tcp 127.0.0.1 80".to_owned()),
                (4, "unix \"/a b\"".to_owned()),
            ],
            files: vec![KeptFile {
                descriptor: 5,
                purpose: Purpose::Scoreboard,
                path: "/var/run/a b.scoreboard".into(),
            }],
            cores: vec![OldCore {
                pid: Pid::from_raw(10),
                control: 7,
                gives_way: true,
            }],
            workers: vec![OldWorker {
                pid: Pid::from_raw(11),
                number: 9,
                core: Pid::from_raw(10),
                leaves: false,
            }],
            children: vec![Pid::from_raw(12)],
        };
        assert_eq!(parse(&handover.text()).as_ref(), Some(&handover));
        let own = format!("process {}\n", getpid());
        let foreign = handover.text().replace(&own, "process 1\n");
        assert_eq!(parse(&foreign), None, "meant for another process");
        for text in ["", "gepok 0\n", "gepok 1\ncore 1 2\n", "gepok 1\nwhat 1\n"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_program_is_the_one_that_runs() {
        let origin = Origin::now(None);
        let program = Program::new(getpid(), own_words().unwrap(), &origin).unwrap();
        assert_eq!(program.file, env::current_exe().unwrap());
        assert_eq!(program.arguments.len(), env::args_os().count());
    }
}
