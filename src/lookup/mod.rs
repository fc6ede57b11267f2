//! The names of clients' hosts, for rules of access. A name counts if it leads back to the client's address: the owner
//! of an address can give it any name.
//!
//! The system's resolver blocks, so threads ask it, and the event loop waits for a bounded time only. Names are looked up
//! when a rule needs one, and are kept for a short time.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use crate::log::limited;
use crate::semantics::access::HostName;
use crate::semantics::source;

mod system;
#[cfg(test)]
mod tests;

pub use self::system::System;

/// What tells names and addresses. It may take its time.
pub trait Resolver: Send + Sync {
    /// The name of this address; nothing where it has none.
    ///
    /// # Errors
    /// When nobody can tell now.
    fn name(&self, address: IpAddr) -> io::Result<Option<String>>;

    /// The addresses of this name; none where there is no such name.
    ///
    /// # Errors
    /// When nobody can tell now.
    fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The bounds of lookups.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a request waits for a name.
    pub wait: Duration,
    /// How many threads ask the resolver.
    pub threads: usize,
    /// How many addresses are being looked up or wait for that.
    pub pending: usize,
    /// How many of these belong to one network of 64 bits: a network that answers slowly is not to hold up all others.
    pub of_one: usize,
    /// How many names are kept.
    pub kept: usize,
    /// How long an answer is kept.
    pub life: Duration,
    /// How long it is remembered that there was no answer.
    pub failed_life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            wait: Duration::from_secs(2),
            threads: 4,
            pending: 64,
            of_one: 8,
            kept: 4096,
            life: Duration::from_secs(60),
            failed_life: Duration::from_secs(5),
        }
    }
}

/// Looks names up.
pub struct Lookup {
    resolver: Arc<dyn Resolver>,
    limits: Limits,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// The way to the threads, once they are needed.
    questions: Option<SyncSender<Question>>,
    pending: HashMap<IpAddr, Pending>,
    /// Answers of late; when there are half as many as may be kept, they are the older ones.
    answers: HashMap<IpAddr, Answer>,
    older: HashMap<IpAddr, Answer>,
}

type Pending = watch::Receiver<Option<Answer>>;

struct Question {
    address: IpAddr,
    answer: watch::Sender<Option<Answer>>,
}

#[derive(Clone)]
struct Answer {
    name: HostName,
    until: Instant,
}

/// What is known of a name at once.
enum Begun {
    Is(HostName),
    Asked(Pending),
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Lookup {
    /// Asks this resolver.
    pub fn new(resolver: Arc<dyn Resolver>, limits: Limits) -> Self {
        Lookup {
            resolver,
            limits,
            state: RefCell::default(),
        }
    }

    /// The name of the host with this address. It is not available where it does not come in time, or too many are being looked up.
    pub async fn name(&self, address: IpAddr) -> HostName {
        let address = address.to_canonical();
        let mut pending = match self.begin(address) {
            Begun::Is(name) => return name,
            Begun::Asked(pending) => pending,
        };
        let answered = timeout(self.limits.wait, pending.wait_for(Option::is_some)).await;
        let in_time = answered.is_ok();
        let answer = answered.ok().and_then(Result::ok);
        let answer = answer.and_then(|answer| (*answer).clone());
        match answer {
            Some(answer) => {
                let name = answer.name.clone();
                self.state
                    .borrow_mut()
                    .settle(address, answer, &self.limits);
                name
            }
            None => {
                if in_time {
                    // Its thread has failed.
                    self.state.borrow_mut().pending.remove(&address);
                }
                limited!(
                    Warn,
                    "the name of a client's host was not found within {:?}: rules that need it refuse the client",
                    self.limits.wait
                );
                HostName::Unavailable
            }
        }
    }

    fn begin(&self, address: IpAddr) -> Begun {
        let mut state = self.state.borrow_mut();
        if let Some(name) = state.known(address) {
            return Begun::Is(name);
        }
        state.collect(&self.limits);
        if let Some(name) = state.known(address) {
            return Begun::Is(name);
        }
        if let Some(pending) = state.pending.get(&address) {
            return Begun::Asked(pending.clone());
        }
        let network = source::network(address);
        let others = state.pending.keys();
        let of_one = others.filter(|other| source::network(**other) == network);
        if state.pending.len() >= self.limits.pending || of_one.count() >= self.limits.of_one {
            limited!(
                Warn,
                "too many names of clients' hosts are being looked up: rules that need another one refuse the client"
            );
            return Begun::Is(HostName::Unavailable);
        }
        let (answer, pending) = watch::channel(None);
        match self.ask(&mut state, Question { address, answer }) {
            true => {
                state.pending.insert(address, pending.clone());
                Begun::Asked(pending)
            }
            false => Begun::Is(HostName::Unavailable),
        }
    }

    /// Gives a question to the threads, which are started with the first one. False where that fails.
    fn ask(&self, state: &mut State, question: Question) -> bool {
        let questions = match &state.questions {
            Some(questions) => questions,
            None => match self.start() {
                Ok(questions) => state.questions.insert(questions),
                Err(error) => {
                    limited!(Error, "no thread for names of clients' hosts: {error}");
                    return false;
                }
            },
        };
        match questions.try_send(question) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Disconnected(_)) => {
                state.questions = None;
                false
            }
        }
    }

    fn start(&self) -> io::Result<SyncSender<Question>> {
        let (questions, queue) = sync_channel(self.limits.pending);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..self.limits.threads {
            let (resolver, queue) = (Arc::clone(&self.resolver), Arc::clone(&queue));
            let limits = self.limits;
            thread::Builder::new()
                .name("resolver".to_owned())
                .spawn(move || answer_all(&*resolver, &queue, &limits))?;
        }
        Ok(questions)
    }
}

impl State {
    /// The name that an earlier answer tells.
    fn known(&self, address: IpAddr) -> Option<HostName> {
        let known = self.answers.get(&address);
        let answer = known.or_else(|| self.older.get(&address))?;
        (Instant::now() < answer.until).then(|| answer.name.clone())
    }

    /// Takes the answers for which nobody waits any more.
    fn collect(&mut self, limits: &Limits) {
        let answered = self.pending.iter().filter_map(|(address, pending)| {
            let answer = pending.borrow().clone()?;
            Some((*address, answer))
        });
        for (address, answer) in answered.collect::<Vec<_>>() {
            self.settle(address, answer, limits);
        }
        // A thread that has failed gives no answer.
        self.pending
            .retain(|_, pending| pending.has_changed().is_ok());
    }

    fn settle(&mut self, address: IpAddr, answer: Answer, limits: &Limits) {
        self.pending.remove(&address);
        if self.answers.len() >= limits.kept / 2 {
            self.older = std::mem::take(&mut self.answers);
        }
        self.answers.insert(address, answer);
    }
}

/// Answers questions until nobody asks any more.
fn answer_all(resolver: &dyn Resolver, queue: &Mutex<Receiver<Question>>, limits: &Limits) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Question { address, answer }) = next else {
            return;
        };
        let (name, life) = match confirmed(resolver, address) {
            Ok(name) => (HostName::Known(name.map(Arc::from)), limits.life),
            Err(error) => {
                limited!(
                    Warn,
                    "the name of a client's host can't be looked up: {error}"
                );
                (HostName::Unavailable, limits.failed_life)
            }
        };
        let until = Instant::now() + life;
        answer.send_replace(Some(Answer { name, until }));
    }
}

/// The name of an address, if it is a host's and the addresses of that host include this one.
fn confirmed(resolver: &dyn Resolver, address: IpAddr) -> io::Result<Option<String>> {
    let Some(mut name) = resolver.name(address)? else {
        return Ok(None);
    };
    name.make_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    if !is_host_name(name) {
        return Ok(None);
    }
    let mut addresses = resolver.addresses(name)?.into_iter();
    let leads_back = addresses.any(|other| other.to_canonical() == address);
    Ok(leads_back.then(|| name.to_owned()))
}

/// Whether it is a name and no address, which would lead to itself: `192.0.2.1`, `3221225985`, `0xc0000201`.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !label.is_empty() && label.bytes().all(plain)
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    name.len() <= 253 && name.split('.').all(is_label) && !is_number
}
