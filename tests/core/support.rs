//! The harness: a core on a thread, workers on others, and clients.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gepok::channel::respond::{Lost, Respond};
use gepok::channel::{self, worker_end::WorkerEnd};
use gepok::config::{Config, attributes};
use gepok::core;
use gepok::http::context::Settings;
use gepok::net::listen;
use gepok::process::control::{self, MasterEnd, ToCore, ToMaster};
use gepok::semantics::message::{Content, Length, Request};
use gepok::server::settings;
use gepok::worker::{self, App, Budget, Called};

/// A core that serves one listener.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) control: MasterEnd,
    core: Option<JoinHandle<()>>,
    workers: u32,
}

impl Server {
    pub(crate) fn start(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_after(change, |_| {})
    }

    /// Calls `before` before the core looks at its sockets for the first time.
    pub(crate) fn start_after(
        change: impl FnOnce(&mut Settings),
        before: impl FnOnce(&mut Self),
    ) -> Self {
        // Each server has its own address, so that no other test gets its port when it has closed it.
        static SERVERS: AtomicU8 = AtomicU8::new(1);
        let host = format!("127.0.1.{}", SERVERS.fetch_add(1, Ordering::Relaxed));
        let listening = listen::tcp(&host, 0, false, 16).unwrap().remove(0);
        let address = listening.address.unwrap();
        // One worker: nobody asks how busy it is.
        let said = [("port", "80"), ("max_workers", "1")];
        let config = Config::resolve(&attributes::read(said).unwrap().options).unwrap();
        let mut settings = settings::core(&config);
        // Chosen when a server starts.
        settings.spool.folder = Some(std::env::temp_dir());
        let patience = Duration::from_secs(20);
        settings.http.timeout = patience;
        settings.http.header_timeout = patience;
        settings.http.keepalive_timeout = patience;
        change(&mut settings.http);
        let (control, core_end) = control::pair().unwrap();
        let mut server = Server {
            address,
            control,
            core: None,
            workers: 0,
        };
        server.tell(ToCore::Accept);
        before(&mut server);
        server.core = Some(thread::spawn(move || {
            core::run(
                vec![(0, listening)],
                core_end,
                settings,
                None,
                core::Plans::default(),
            )
            .unwrap();
        }));
        assert_eq!(server.control.hear().unwrap(), Some(ToMaster::Ready));
        server
    }

    /// Waits until one more worker has said that it is ready.
    pub(crate) fn until_serving(&mut self) {
        while !matches!(self.control.hear().unwrap(), Some(ToMaster::Serving(_))) {}
    }

    /// Registers a worker with the core. Returns its number and its end of the channel.
    pub(crate) fn channel(&mut self) -> (u32, channel::Descriptors) {
        let (core_side, worker_side) = channel::pair().unwrap();
        self.workers += 1;
        self.tell(ToCore::Worker(self.workers, 1, core_side));
        (self.workers, worker_side)
    }

    pub(crate) fn worker(
        &mut self,
        app: impl FnMut(&WorkerEnd, u64, Request) + Send + 'static,
    ) -> JoinHandle<()> {
        let (_, descriptors) = self.channel();
        serve(descriptors, app)
    }

    pub(crate) fn tell(&self, word: ToCore) {
        self.control.tell(word).unwrap();
    }

    /// Waits for Drained, past words about workers.
    pub(crate) fn hear_drained(&mut self) {
        loop {
            match self.control.hear().unwrap() {
                Some(ToMaster::Serving(_) | ToMaster::Leaving(_)) => {}
                word => return assert_eq!(word, Some(ToMaster::Drained)),
            }
        }
    }

    pub(crate) fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Client(stream)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.control.tell(ToCore::Quit);
        let ended = self.core.take().unwrap().join();
        if !thread::panicking() {
            ended.unwrap();
        }
    }
}

pub(crate) fn serve(
    descriptors: channel::Descriptors,
    app: impl FnMut(&WorkerEnd, u64, Request) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let channel = Rc::new(WorkerEnd::open(descriptors).unwrap());
        worker::serve(
            &channel,
            &mut Closure(Rc::clone(&channel), app),
            Budget::unlimited(),
            worker::Shown::default(),
        );
    })
}

struct Closure<F>(Rc<WorkerEnd>, F);

impl<F: FnMut(&WorkerEnd, u64, Request)> App for Closure<F> {
    fn call(&mut self, id: u64, request: Request, _last: bool) -> Called {
        (self.1)(&self.0, id, request);
        self.0.idle();
        Called::Done
    }
}

/// A client's connection.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads up to and including `end`.
    pub(crate) fn until(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        let mut byte = [0];
        while !all.ends_with(end.as_bytes()) {
            let count = self.0.read(&mut byte).unwrap();
            assert_eq!(count, 1, "closed after {:?}", String::from_utf8_lossy(&all));
            all.push(byte[0]);
        }
        String::from_utf8(all).unwrap()
    }

    /// Fails if anything comes within a moment.
    pub(crate) fn silent(&mut self) {
        let limit = |limit| self.0.set_read_timeout(Some(limit)).unwrap();
        limit(Duration::from_millis(100));
        assert!(self.0.peek(&mut [0]).is_err());
        limit(Duration::from_secs(20));
    }

    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.0.read_to_end(&mut all).unwrap();
        all
    }
}

pub(crate) fn content(request: Request) -> Vec<u8> {
    match request.content {
        Content::Empty => Vec::new(),
        Content::Inline(bytes) => bytes.to_vec(),
        Content::File { file, length } => {
            let mut all = Vec::new();
            File::from(file).read_to_end(&mut all).unwrap();
            assert_eq!(all.len() as u64, length);
            all
        }
    }
}

/// Ends a response. A client that has all of its content may have left already.
pub(crate) fn end(out: &WorkerEnd, id: u64) {
    let ended = out.end(id);
    let is_there = matches!(ended, Ok(()) | Err(Lost::Client | Lost::Complete));
    assert!(is_there, "{ended:?}");
}

/// Answers with the request's method, target and content.
pub(crate) fn echo(out: &WorkerEnd, id: u64, request: Request) {
    let mut text = [request.head.method(), b" ", request.head.target(), b"\n"].concat();
    text.extend(content(request));
    out.head(
        id,
        200,
        &[(b"X-Echo", b"1")],
        Length::Known(text.len() as u64),
    )
    .unwrap();
    out.chunk(id, &text).unwrap();
    end(out, id);
}

/// Bytes in which a missing or displaced piece shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 256 + at) as u8).collect()
}

/// One worker's app that answers with the number in its path as the status.
pub(crate) fn status(out: &WorkerEnd, id: u64, request: Request) {
    let number = String::from_utf8_lossy(&request.head.target()[1..]).parse();
    out.head(id, number.unwrap_or(200), &[], Length::Known(0))
        .unwrap();
    end(out, id);
}
