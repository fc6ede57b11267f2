//! Words for the master: sent in their order, and none is lost while the master is busy.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::log::limited;
use crate::process::control::{self, ToMaster};

/// Words that wait at most. The master is gone for good, or a worker floods the core, where there are more.
const MOST: usize = 10_000;

/// The way to the master.
#[derive(Debug)]
pub(super) struct Master {
    control: Rc<AsyncFd<OwnedFd>>,
    /// Words that the socket has not taken yet.
    waiting: RefCell<VecDeque<ToMaster>>,
    /// A task sends them.
    sending: Cell<bool>,
    sent: Notify,
}

impl Master {
    pub(super) fn new(control: Rc<AsyncFd<OwnedFd>>) -> Rc<Self> {
        Rc::new(Master {
            control,
            waiting: RefCell::default(),
            sending: Cell::new(false),
            sent: Notify::new(),
        })
    }

    /// Tells a word: at once, or as soon as the socket has room. A master that has gone needs none; that it has gone shows
    /// when the core reads from it.
    pub(super) fn tell(self: &Rc<Self>, word: ToMaster) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            match control::tell_master(self.control.get_ref().as_fd(), &word) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
        // How busy the workers were is of no use later.
        if matches!(word, ToMaster::Load(_)) {
            return;
        }
        if waiting.len() >= MOST {
            limited!(
                Error,
                "{MOST} words wait for the master: a further one is lost"
            );
            return;
        }
        waiting.push_back(word);
        drop(waiting);
        if !self.sending.replace(true) {
            spawn_local(Rc::clone(self).send_waiting());
        }
    }

    /// Waits until the master has been sent all words.
    pub(super) async fn all_sent(&self) {
        while self.sending.get() {
            self.sent.notified().await;
        }
    }

    async fn send_waiting(self: Rc<Self>) {
        loop {
            let Some(word) = self.waiting.borrow().front().cloned() else {
                break;
            };
            let sent = self.control.async_io(Interest::WRITABLE, |socket| {
                control::tell_master(socket.as_fd(), &word)
            });
            let gone = sent.await.is_err();
            let mut waiting = self.waiting.borrow_mut();
            match gone {
                true => waiting.clear(),
                false => drop(waiting.pop_front()),
            }
        }
        self.sending.set(false);
        self.sent.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use tokio::task::LocalSet;

    use super::*;
    use crate::process::pool::Load;

    /// Protects: a master that is busy for a while hears all that the core has said meanwhile, but for old loads.
    #[tokio::test]
    async fn a_busy_master_hears_every_word() {
        const WORDS: u32 = 2000;
        let (mut master_end, core) = control::pair().unwrap();
        fcntl(&core, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let tasks = LocalSet::new();
        let heard = std::thread::spawn(move || {
            // The socket is full before the first word is read.
            std::thread::sleep(std::time::Duration::from_millis(100));
            let mut heard = Vec::new();
            loop {
                match master_end.hear().unwrap() {
                    Some(ToMaster::Serving(number)) => heard.push(number),
                    Some(ToMaster::Load(_)) => {}
                    Some(ToMaster::Drained) => return heard,
                    word => panic!("{word:?}"),
                }
            }
        });
        tasks
            .run_until(async {
                // SAFETY: the socket is owned by the AsyncFd alone and closed with it.
                let control = unsafe { AsyncFd::register(core) }.unwrap();
                let master = Master::new(Rc::new(control));
                for number in 0..WORDS {
                    master.tell(ToMaster::Serving(number));
                    master.tell(ToMaster::Load(Load::default()));
                }
                master.tell(ToMaster::Drained);
                assert!(master.sending.get(), "the socket was never full");
                master.all_sent().await;
            })
            .await;
        assert_eq!(heard.join().unwrap(), (0..WORDS).collect::<Vec<_>>());
    }
}
