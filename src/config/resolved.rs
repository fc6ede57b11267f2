//! `Config`: the options checked and brought to what they mean; the rest of Gepok reads only this.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{Error, Result};

use super::address::{self, Place, Port, Tcp, WILDCARD};
use super::options::{Http2, Options};
use super::table::PATH_LIMIT;

mod daemon;
mod files;
mod life;
mod limits;
mod logging;
mod proxies;
mod reload;
mod status;
pub mod tls;
mod vhosts;

pub use self::daemon::{Daemon, FilePath};
pub use self::files::{Directory, Fallback, Files, Precompress, Symlinks, precompress};
pub use self::life::{Budget, Life};
pub use self::limits::Limits;
pub use self::logging::{Logging, Place as LogPlace};
pub use self::proxies::Proxies;
pub use self::reload::Reload;
pub use self::status::Status;
pub use self::tls::Tls;
pub use self::vhosts::{AccessLog, UserDirs, Vhost};

/// What Gepok shall do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen, at least one: handed in, http_ports, unix_sockets, then plackup's
    pub listeners: Vec<Listener>,
    /// How TLS is spoken; none: by no listener
    pub tls: Option<Tls>,
    /// What deserves a line in the log: one sentence each
    pub warnings: Vec<&'static str>,
    /// How many connections wait to be accepted, for listen(2)
    pub backlog: u32,
    /// Whether no IPv6 socket accepts IPv4 connections
    pub ipv6_only: bool,
    /// Whether TCP connections are accepted with their first bytes
    pub defer_accept: bool,
    /// Who may connect to the Unix sockets that are made
    pub unix_access: UnixAccess,
    /// How many workers
    pub workers: Workers,
    /// How their number changes, and what ends one
    pub life: Life,
    /// How the server stops and reloads
    pub reload: Reload,
    /// How long a connection may make no progress; none: no limit
    pub timeout: Option<Duration>,
    /// How long a head may take in all; none: no limit
    pub header_timeout: Option<Duration>,
    /// Keep-alive; none: each response closes its connection
    pub keepalive: Option<Keepalive>,
    /// HTTP/2
    pub http2: Http2,
    /// The program's name
    pub name: String,
    /// The value of the field Server (RFC 9110 section 10.2.4); none: no such field
    pub server: Option<String>,
    /// Whether requests over TLS get the keys `SSL_*`
    pub ssl_env: bool,
    /// Whether apps may have the client's socket
    pub psgix_io: bool,
    /// Whether Perl waits to be told that the server listens
    pub server_ready: bool,
    /// The page at which the server tells what it does; none: the app has every path
    pub status: Status,
    /// The files that the server sends itself
    pub files: Files,
    /// Virtual hosts; none: the server is one host
    pub vhosts: Vec<Vhost>,
    /// The proxies in front
    pub proxies: Proxies,
    /// How the server stands in its system
    pub daemon: Daemon,
    /// What clients may ask for
    pub limits: Limits,
    /// The logs
    pub logging: Logging,
}

/// A place to listen, and what the app is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where
    pub bind: Bind,
    /// Whether clients speak TLS there
    pub tls: bool,
    /// Whether connections begin with a PROXY header
    pub proxy: bool,
    /// SERVER_NAME; none: the address the socket is bound to (on a Unix socket handed in: 0, as Starlet)
    pub server_name: Option<String>,
    /// SERVER_PORT; none: the port the socket is bound to (on a Unix socket handed in: its path, as Starlet)
    pub server_port: Option<String>,
    /// REMOTE_ADDR and REMOTE_PORT
    pub remote: Remote,
}

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// To be bound; the host may be a name, port 0 leaves the choice to the system
    Tcp(Tcp),
    /// To be bound at this path
    Unix(PathBuf),
    /// A descriptor of the caller's that listens already: not to be bound, and at the end neither unlinked nor shut down
    Inherited(i32),
    /// As `Inherited`, from a supervisor: nobody else in this process uses the descriptor
    Activated(i32),
}

/// What the app is told of the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// REMOTE_ADDR and REMOTE_PORT are the peer's; on a Unix socket handed in: as `Starlet`
    Peer,
    /// A Unix socket as old Gepok has it: REMOTE_ADDR=127.0.0.1 and no REMOTE_PORT
    Gepok,
    /// A Unix socket as Starlet has it: REMOTE_ADDR undefined and REMOTE_PORT=0
    Starlet,
}

/// Permissions and owners of the files of Unix sockets; none: as the system makes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixAccess {
    /// Permission bits
    pub mode: Option<u32>,
    /// A user, by name or number
    pub owner: Option<String>,
    /// A group, by name or number
    pub group: Option<String>,
}

/// How many workers to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Workers to start; 0 is one process without a fork
    pub start: u32,
    /// Exactly so many, whatever the load: said by max_workers, or no scoreboard is wanted
    pub fixed: bool,
}

/// The limits of keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How long an idle connection is kept
    pub timeout: Duration,
    /// Requests one connection may bring; none: no limit
    pub max_requests: Option<NonZeroU32>,
}

impl Config {
    /// Checks the options against each other. An error is one sentence for the user.
    pub fn resolve(options: &Options) -> Result<Config> {
        Config::resolve_with(options, None)
    }

    /// As [`Config::resolve`]; sockets that a supervisor has handed in stand for the places that options name.
    pub fn resolve_with(options: &Options, activated: Option<Vec<Listener>>) -> Result<Config> {
        let keepalive = options.keepalive
            && options.max_keepalive_reqs != 1
            && !options.keepalive_timeout.is_zero();
        let (workers, life) = life::life(options)?;
        let mut listeners = match activated {
            Some(listeners) => listeners,
            None => listeners(options)?,
        };
        if options.proxies.protocol {
            listeners
                .iter_mut()
                .for_each(|listener| listener.proxy = true);
        }
        let secure = listeners.iter().any(|listener| listener.tls);
        let vhosts = vhosts::vhosts(options)?;
        let of_hosts = vhosts::certificates(&vhosts);
        let idle_tls = tls::idle(&options.tls, &of_hosts).filter(|_| !secure);
        Ok(Config {
            listeners,
            tls: secure
                .then(|| tls::tls(&options.tls, of_hosts))
                .transpose()?,
            warnings: [idle_tls, proxies::idle(&options.proxies)]
                .into_iter()
                .flatten()
                .collect(),
            backlog: options.backlog,
            ipv6_only: options.ipv6_only,
            defer_accept: options.defer_accept,
            unix_access: UnixAccess {
                mode: options.unix_socket_mode,
                owner: options.unix_socket_owner.clone(),
                group: options.unix_socket_group.clone(),
            },
            workers,
            life,
            reload: reload::reload(options)?,
            timeout: limit(options.timeout),
            header_timeout: limit(options.header_timeout),
            keepalive: keepalive.then_some(Keepalive {
                timeout: options.keepalive_timeout,
                max_requests: NonZeroU32::new(options.max_keepalive_reqs),
            }),
            http2: options.http2.clone(),
            name: name(options),
            server: server(options)?,
            ssl_env: options.environment.ssl_env,
            psgix_io: options.environment.psgix_io,
            server_ready: options.server_ready,
            status: status::status(options)?,
            files: files::files(options)?,
            vhosts,
            proxies: proxies::proxies(&options.proxies)?,
            daemon: Daemon::resolve(options)?,
            limits: limits::limits(&options.limits)?,
            logging: logging::logging(options, &name(options))?,
        })
    }
}

impl Config {
    /// Whether the socket of this address takes IPv6 alone: where that is said, or an IPv4 socket has the port.
    pub fn v6_only(&self, tcp: &Tcp) -> bool {
        let v4 = |listener: &Listener| match &listener.bind {
            Bind::Tcp(other) => {
                other.port == tcp.port && other.port != 0 && other.host.parse::<Ipv4Addr>().is_ok()
            }
            _ => false,
        };
        self.ipv6_only || self.listeners.iter().any(v4)
    }
}

fn name(options: &Options) -> String {
    match options.name.as_str() {
        "" => "gepok".to_owned(),
        name => name.to_owned(),
    }
}

fn limit(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

// Only bytes a field value may have; what follows the name is a product as RFC 9110 section 10.2.4 writes it.
fn server(options: &Options) -> Result<Option<String>> {
    let (name, version) = (&options.product_name, &options.product_version);
    for (option, text) in [("product_name", name), ("product_version", version)] {
        let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if !text.bytes().all(plain) || text.trim() != text {
            return Err(Error::option(
                option,
                format!("'{}' can't stand in a header field", text.escape_debug()),
            ));
        }
    }
    Ok(match (name.as_str(), version.as_str()) {
        ("", _) => None,
        (name, "") => Some(name.to_owned()),
        (name, version) => Some(format!("{name}/{version}")),
    })
}

fn listeners(options: &Options) -> Result<Vec<Listener>> {
    let ssl = options.tls.ssl;
    let mut all: Vec<Listener> = Vec::new();
    // The same address twice (plackup gives -l also as host and port) is one listener; port 0 is never the same.
    let mut add = |listener: Listener| {
        let chosen = matches!(&listener.bind, Bind::Tcp(tcp) if tcp.port == 0);
        if chosen || !all.iter().any(|other| other.bind == listener.bind) {
            all.push(listener);
        }
    };
    let port = |port: &Port, tls| Listener {
        proxy: port.proxy,
        ..bound(&port.tcp, tls)
    };
    let plain = |plain: &Port| port(plain, false);
    let secure = |secure: &Port| port(secure, true);

    options
        .listen_sock
        .iter()
        .copied()
        .map(|fd| inherited(fd, ssl))
        .for_each(&mut add);
    options.http_ports.iter().map(plain).for_each(&mut add);
    if let Some(both) = both(options) {
        return Err(Error::option(
            "https_ports",
            format!(
                "{}:{} is also among 'http_ports'",
                address::bracketed(&both.host),
                both.port
            ),
        ));
    }
    let https_ports = options.tls.https_ports.iter();
    https_ports.map(secure).for_each(&mut add);
    for path in &options.unix_sockets {
        let (path, proxy) = unix_path(path);
        add(Listener {
            bind: Bind::Unix(checked(&path, "unix_sockets")?),
            tls: false,
            proxy,
            server_name: Some(path.display().to_string()),
            server_port: Some("0".to_owned()),
            remote: Remote::Gepok,
        });
    }
    // A socket handed in stands for the one plackup's options name (HTTP::Server::PSGI).
    if options.listen_sock.is_empty() {
        if let Some(tcp) = single(options)? {
            add(named(&tcp, ssl));
        }
        for address in &options.listen {
            let listener = match &address.place {
                Place::Tcp(tcp) => named(tcp, ssl || address.tls),
                Place::Unix(path) => starlet(checked(path, "listen")?),
            };
            add(Listener {
                proxy: address.proxy,
                ..listener
            });
        }
        if let Some(path) = &options.socket {
            add(starlet(checked(path, "socket")?));
        }
    }

    match options.default_port {
        Some(port) if all.is_empty() => {
            let host = WILDCARD.to_owned();
            let port = narrow(port)?;
            all.push(bound(&Tcp { host, port }, ssl));
        }
        // The words are those of Gepok 0.292.
        None if all.is_empty() => {
            return Err(Error::Missing(
                "Please specify at least one HTTP/HTTPS/Unix socket port",
            ));
        }
        _ => {}
    }
    Ok(all)
}

// host and port, as Plack::Runner joins them: the port may be left out, unless -l or -S says where to listen.
fn single(options: &Options) -> Result<Option<Tcp>> {
    let elsewhere = !options.listen.is_empty() || options.socket.is_some();
    let port = match (options.port, &options.host, options.default_port) {
        (Some(port), _, _) => port,
        (None, Some(_), Some(port)) if !elsewhere => port,
        (None, Some(host), None) if !elsewhere => {
            return Err(Error::option("host", format!("'{host}' needs a 'port'")));
        }
        _ => return Ok(None),
    };
    Ok(Some(Tcp {
        host: options.host.clone().unwrap_or_else(|| WILDCARD.to_owned()),
        port: narrow(port)?,
    }))
}

fn narrow(port: u32) -> Result<u16> {
    match u16::try_from(port) {
        Ok(port) => Ok(port),
        Err(_) => Err(Error::option("port", format!("'{port}' is no TCP port"))),
    }
}

// An address cannot speak both.
fn both(options: &Options) -> Option<&Tcp> {
    let mut https_ports = options.tls.https_ports.iter();
    let plain = |tcp: &Tcp| options.http_ports.iter().any(|port| port.tcp == *tcp);
    let both = https_ports.find(|port| port.tcp.port != 0 && plain(&port.tcp));
    both.map(|port| &port.tcp)
}

// http_ports, https_ports: the app sees the bound address.
fn bound(tcp: &Tcp, tls: bool) -> Listener {
    Listener {
        bind: Bind::Tcp(tcp.clone()),
        tls,
        proxy: false,
        server_name: None,
        server_port: None,
        remote: Remote::Peer,
    }
}

// plackup's host: the app sees the host as it was said.
fn named(tcp: &Tcp, tls: bool) -> Listener {
    Listener {
        server_name: (tcp.host != WILDCARD).then(|| address::bracketed(&tcp.host)),
        ..bound(tcp, tls)
    }
}

fn inherited(fd: i32, tls: bool) -> Listener {
    Listener {
        bind: Bind::Inherited(fd),
        tls,
        proxy: false,
        server_name: None,
        server_port: None,
        remote: Remote::Peer,
    }
}

fn starlet(path: PathBuf) -> Listener {
    Listener {
        server_name: Some("0".to_owned()),
        server_port: Some(path.display().to_string()),
        bind: Bind::Unix(path),
        tls: false,
        proxy: false,
        remote: Remote::Starlet,
    }
}

/// The path of a Unix socket without `:proxy`, and whether it had that.
fn unix_path(path: &Path) -> (PathBuf, bool) {
    match path.to_str().map(address::without_proxy) {
        Some((path, proxy)) => (PathBuf::from(path), proxy),
        None => (path.to_owned(), false),
    }
}

fn checked(path: &Path, option: &str) -> Result<PathBuf> {
    let shown = path.display().to_string();
    if path.as_os_str().len() > PATH_LIMIT {
        return Err(Error::option(
            option,
            format!("'{shown}' is longer than the {PATH_LIMIT} bytes a socket's path may have"),
        ));
    }
    if shown.contains('\0') {
        return Err(Error::option(
            option,
            format!("'{}' has a zero byte", shown.escape_debug()),
        ));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests;
