//! The core with a worker that is a thread without Perl, which gives one constant answer: what the core alone is capable of.
//!
//! core-alone PORT

use std::env;
use std::rc::Rc;
use std::thread;

use anyhow::{Context, Result, bail};
use gepok::channel::respond::Respond;
use gepok::channel::{self, worker_end::WorkerEnd};
use gepok::config::{Config, attributes};
use gepok::core;
use gepok::net::listen;
use gepok::process::control::{self, ToCore, ToMaster};
use gepok::semantics::message::{Length, Request};
use gepok::server::settings;
use gepok::worker::{self, App, Budget, Called};

const CONTENT: &[u8] = b"Hello World\n";

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let port = arguments.next().context("usage: core-alone PORT")?;
    let mut listening = listen::tcp("127.0.0.1", port.parse()?, false, 4096)?.remove(0);
    listening.deferred = true;
    // One worker: nobody asks how busy it is.
    let said = [
        ("port", port.as_str()),
        ("max_workers", "1"),
        ("keepalive_timeout", "300"),
    ];
    let config = Config::resolve(&attributes::read(said)?.options)?;
    let settings = settings::core(&config);
    let (mut master, core_end) = control::pair()?;
    let (core_side, worker_side) = channel::pair()?;
    master.tell(ToCore::Accept)?;
    let pid = i32::try_from(std::process::id())?;
    master.tell(ToCore::Worker(1, pid, core_side))?;
    let core = thread::spawn(move || {
        core::run(
            vec![(0, listening)],
            core_end,
            settings,
            None,
            core::Plans::default(),
        )
    });
    if master.hear()? != Some(ToMaster::Ready) {
        bail!("the core does not accept");
    }
    thread::spawn(move || serve(worker_side));
    match core.join() {
        Ok(left) => Ok(left?),
        Err(_) => bail!("the core has panicked"),
    }
}

fn serve(descriptors: channel::Descriptors) -> Result<()> {
    let channel = Rc::new(WorkerEnd::open(descriptors)?);
    worker::serve(
        &channel,
        &mut Constant(Rc::clone(&channel)),
        Budget::unlimited(),
        worker::Shown::default(),
    );
    Ok(())
}

struct Constant(Rc<WorkerEnd>);

impl App for Constant {
    fn call(&mut self, id: u64, _request: Request, _last: bool) -> Called {
        let fields: &[(&[u8], &[u8])] = &[(b"Content-Type", b"text/plain")];
        // A client that has left wants no answer.
        let _ = self
            .0
            .head(id, 200, fields, Length::Known(CONTENT.len() as u64))
            .and_then(|()| self.0.chunk(id, CONTENT))
            .and_then(|_| self.0.end(id));
        self.0.idle();
        Called::Done
    }
}
