//! Handshakes, on separate threads: their arithmetic takes a fraction of a millisecond, or more with RSA, and must not
//! delay other connections.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::facts;
use super::rules::Rules;
use crate::net::migratable::MigratableTcp;
use crate::semantics::message::Tls;

/// More threads would take the processors from the workers.
const THREADS: usize = 4;

/// The content type of handshake records (RFC 8446 section 5.1): the first byte of a client that speaks TLS.
const HANDSHAKE: u8 = 22;

/// A client that was refused may still be sending; it must read the alert before a reset reaches it.
const LINGER: Duration = Duration::from_secs(1);

/// A connection after its handshake, registered with no runtime.
pub(super) enum Outcome {
    Secure(Box<TlsStream<MigratableTcp>>, Tls),
    /// The client does not speak TLS; nothing was read.
    Plain(std::net::TcpStream),
}

struct Job {
    stream: std::net::TcpStream,
    rules: Arc<Rules>,
    timeout: Duration,
    done: oneshot::Sender<io::Result<Outcome>>,
}

/// The threads.
#[derive(Debug)]
pub(super) struct Handshakes {
    threads: Vec<mpsc::UnboundedSender<Job>>,
    next: Cell<usize>,
    timeout: Duration,
}

impl Handshakes {
    /// Starts the threads: half as many as there are processors.
    pub(super) fn start(timeout: Duration) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = (processors / 2).clamp(1, THREADS);
        Ok(Handshakes {
            threads: (0..threads).map(|_| thread()).collect::<Result<_, _>>()?,
            next: Cell::new(0),
            timeout,
        })
    }

    /// Performs the handshake with a client.
    pub(super) async fn run(
        &self,
        stream: std::net::TcpStream,
        rules: Arc<Rules>,
    ) -> io::Result<Outcome> {
        let (done, outcome) = oneshot::channel();
        let job = Job {
            stream,
            rules,
            timeout: self.timeout,
            done,
        };
        let next = self.next.get();
        self.next.set((next + 1) % self.threads.len());
        let ended = |_| io::Error::other("the thread for handshakes has ended");
        self.threads[next]
            .send(job)
            .map_err(|_| io::Error::other("the thread for handshakes has ended"))?;
        outcome.await.map_err(ended)?
    }
}

fn thread() -> io::Result<mpsc::UnboundedSender<Job>> {
    let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("gepok-tls".to_owned())
        .spawn(move || {
            LocalSet::new().block_on(&runtime, async move {
                while let Some(job) = jobs.recv().await {
                    spawn_local(job.run());
                }
            });
        })?;
    Ok(sender)
}

impl Job {
    async fn run(self) {
        let Job {
            stream,
            rules,
            timeout,
            mut done,
        } = self;
        let outcome = async {
            if timeout.is_zero() {
                return handshake(stream, &rules).await;
            }
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it took too long");
            tokio::time::timeout(timeout, handshake(stream, &rules))
                .await
                .map_err(late)?
        };
        tokio::select! {
            outcome = outcome => {
                // Nobody may wait any more: the server drains.
                let _ = done.send(outcome);
            }
            () = done.closed() => {}
        }
    }
}

async fn handshake(stream: std::net::TcpStream, rules: &Rules) -> io::Result<Outcome> {
    let stream = TcpStream::from_std(stream)?;
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first[0] != HANDSHAKE {
        return Ok(Outcome::Plain(stream.into_std()?));
    }
    let acceptor = TlsAcceptor::from(Arc::clone(&rules.config));
    let accepted = acceptor
        .accept(MigratableTcp::Registered(stream))
        .into_fallible()
        .await;
    let mut stream = match accepted {
        Ok(stream) => Box::new(stream),
        Err((error, tcp)) => {
            linger(tcp).await;
            return Err(error);
        }
    };
    let verifier = rules.verifier.as_deref();
    let tls = facts::facts(stream.get_ref().1, verifier);
    if tls.resumed
        && let Some(verifier) = verifier
    {
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        if let Some(error) = verifier.refusal(certificates) {
            let _ = stream.shutdown().await;
            return Err(io::Error::other(error));
        }
    }
    stream.get_mut().0.deregister()?;
    Ok(Outcome::Secure(stream, tls))
}

/// Lets the client read the alert.
async fn linger(mut tcp: MigratableTcp) {
    let discard = async {
        let _ = tcp.shutdown().await;
        let mut scratch = [0; 1024];
        while matches!(tcp.read(&mut scratch).await, Ok(1..)) {}
    };
    let _ = tokio::time::timeout(LINGER, discard).await;
}
