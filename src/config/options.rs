//! `Options`: the options as they were said, from whatever source, in the types of their kinds.

use std::path::PathBuf;
use std::time::Duration;

use super::address::{Address, Port};
use super::vhost::Vhost;

/// One field for each option of the table, in its order. A field that is no `Option` or `Vec` holds the default
/// until the option is said.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// `http_ports`
    pub http_ports: Vec<Port>,
    /// `unix_sockets`, absolute paths
    pub unix_sockets: Vec<PathBuf>,
    /// `unix_socket_mode`, permission bits
    pub unix_socket_mode: Option<u32>,
    /// `unix_socket_owner`, a name or a number
    pub unix_socket_owner: Option<String>,
    /// `unix_socket_group`, a name or a number
    pub unix_socket_group: Option<String>,
    /// `host`; none also for a wildcard
    pub host: Option<String>,
    /// `port`
    pub port: Option<u32>,
    /// `listen`
    pub listen: Vec<Address>,
    /// `socket`
    pub socket: Option<PathBuf>,
    /// `listen_sock`: descriptors of listening sockets
    pub listen_sock: Vec<i32>,
    /// `default_port`: set by plackup's handler and by the binary
    pub default_port: Option<u32>,
    /// `backlog`, connections
    pub backlog: u32,
    /// `ipv6_only`
    pub ipv6_only: bool,
    /// `defer_accept`
    pub defer_accept: bool,
    /// `server_ready`: a code reference was given and waits on Perl's side
    pub server_ready: bool,

    /// `timeout`; zero is none
    pub timeout: Duration,
    /// `header_timeout`; zero is none
    pub header_timeout: Duration,
    /// `keepalive`
    pub keepalive: bool,
    /// `keepalive_timeout`; zero is no keep-alive
    pub keepalive_timeout: Duration,
    /// `max_keepalive_reqs`; zero is no limit
    pub max_keepalive_reqs: u32,
    /// The options about HTTP/2
    pub http2: Http2,

    /// `start_servers`; zero is one process
    pub start_servers: u32,
    /// `max_workers`; zero is one process
    pub max_workers: Option<u32>,
    /// `max_requests_per_child`; zero is no limit
    pub max_requests_per_child: u32,

    /// The category of options about proxies in front
    pub proxies: Proxies,

    /// The category of options about the background, files and privileges
    pub daemon: Daemon,

    /// `name`
    pub name: String,
    /// `product_name`; empty is no Server field
    pub product_name: String,
    /// `product_version`; empty is none
    pub product_version: String,

    /// The category of options that say what the app is told of a request
    pub environment: Environment,
    /// The category of options about TLS
    pub tls: Tls,
    /// The category of options about files
    pub files: Files,

    /// The category of options that bound what clients may ask for
    pub limits: Limits,
    /// The category of options about the life of workers
    pub life: Life,

    /// The category of options about logs
    pub logging: Logging,

    /// The category of options about stopping and reloading
    pub reload: Reload,

    /// `json`: for the command `gepok status`
    pub json: bool,
    /// `status_path`; empty is none
    pub status_path: Option<String>,
    /// `metrics_path`; empty is none
    pub metrics_path: Option<String>,
    /// `status_allow`: addresses, networks and words
    pub status_allow: Vec<String>,

    /// The category of options that say which app the binary serves
    pub app: App,

    /// Virtual hosts
    pub vhosts: Vec<Vhost>,
    /// `vhosts`: the same as a program gives them, until they are read
    pub vhosts_text: Option<String>,
}

/// Which proxies stand in front, and what they tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proxies {
    /// `trusted_proxies`: addresses, networks and words
    pub trusted: Vec<String>,
    /// `forwarded_header`
    pub header: Option<String>,
    /// `forwarded_proto`
    pub proto: bool,
    /// `forwarded_host`
    pub host: bool,
    /// `proxy_protocol`
    pub protocol: bool,
}

/// Where TLS is spoken, as whom, and which clients may connect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// `https_ports`
    pub https_ports: Vec<Port>,
    /// `ssl`: the addresses of plackup's options speak TLS
    pub ssl: bool,
    /// `ssl_cert_file`: paths, or `HOST=PATH`
    pub cert_file: Vec<String>,
    /// `ssl_key_file`: paths, or `HOST=PATH`
    pub key_file: Vec<String>,
    /// `ssl_self_signed`
    pub self_signed: bool,
    /// `ssl_handshake_timeout`; zero is none
    pub handshake_timeout: Duration,
    /// `ssl_verify_mode`, the bits of IO::Socket::SSL
    pub verify_mode: u32,
    /// `ssl_ca_file`
    pub ca_file: Vec<String>,
    /// `ssl_ca_path`
    pub ca_path: Vec<String>,
    /// `ssl_crl_file`
    pub crl_file: Vec<String>,
    /// `ssl_verify_callback`
    pub verify_callback: Option<VerifyCallback>,
}

/// The files that the server sends itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    /// `documents`
    pub documents: Option<String>,
    /// `directory`: `/PATH=DIR`
    pub directories: Vec<String>,
    /// `index_file`
    pub index: Vec<String>,
    /// `directory_list`
    pub listing: bool,
    /// `symlinks`: a word
    pub symlinks: String,
    /// `hidden`
    pub hidden: bool,
    /// `fallback`: a word or a path
    pub fallback: Option<String>,
    /// `cache_control`; empty is none
    pub cache_control: String,
    /// `mime_types`
    pub mime_types: Option<String>,
    /// `charset`; empty is none
    pub charset: String,
    /// `file_ranges`
    pub ranges: bool,
    /// `sendfile_root`
    pub sendfile_roots: Vec<String>,
    /// `internal`, each /PATH=DIR
    pub internal: Vec<String>,
    /// `compress`, names of codings
    pub compress: Vec<String>,
    /// `compress_types`; empty is those that are known to shrink
    pub compress_types: Vec<String>,
    /// `compress_min_length`, bytes
    pub compress_min_length: u64,
}

/// Who decides about a client's certificate, in place of the certificate authorities alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyCallback {
    /// The app's code, in a worker
    Code,
    /// `1`: every certificate is good; `0`: none is
    Constant(bool),
}

/// How the server stands in its system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Daemon {
    /// `daemonize`
    pub daemonize: bool,
    /// `pid_path`; empty is no such file
    pub pid_path: Option<PathBuf>,
    /// `chdir`
    pub chdir: Option<PathBuf>,
    /// `umask`, permission bits
    pub umask: Option<u32>,
    /// `require_root`
    pub require_root: bool,
    /// `user`, a name or a number
    pub user: Option<String>,
    /// `group`, names or numbers, the primary one first
    pub groups: Vec<String>,
    /// `scoreboard_path`; empty or `0` is no such file, and a pool that does not move
    pub scoreboard_path: Option<PathBuf>,
    /// `proctitle`
    pub proctitle: bool,
}

/// What clients may ask for. Sizes are in bytes; where zero is allowed, it is no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// `max_content`
    pub content: u64,
    /// `max_target_size`
    pub target: u64,
    /// `max_header_size`
    pub field_section: u64,
    /// `max_headers`
    pub fields: u32,
    /// `min_content_rate`, bytes a second
    pub content_rate: u64,
    /// `min_response_rate`, bytes a second
    pub response_rate: u64,
    /// `max_connections`
    pub connections: u32,
    /// `max_connections_per_address`
    pub connections_per_address: u32,
    /// `max_queue`
    pub queue: u32,
    /// `queue_timeout`
    pub queue_time: Duration,
    /// `spool_dir`
    pub spool_dir: Option<String>,
    /// `max_spool`
    pub spool: u64,
    /// `bare_lf`
    pub bare_lf: bool,
    /// `te_cl`
    pub te_cl: bool,
    /// `underscores_in_headers`
    pub underscores: bool,
    /// `require_host`
    pub require_host: bool,
    /// `target_fragment`
    pub target_fragment: bool,
    /// `worker_no_new_privs`
    pub worker_no_new_privs: bool,
    /// `dumpable`
    pub dumpable: bool,
}

/// How the server stops, and how it takes new code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reload {
    /// `graceful_timeout`
    pub graceful_timeout: Duration,
    /// `spawn_interval`; zero is no pause
    pub spawn_interval: Duration,
    /// `err_respawn_interval`
    pub err_respawn_interval: Duration,
    /// `check_path`
    pub check_path: Option<String>,
    /// `reload_on_hup`
    pub reload_on_hup: bool,
}

/// How many workers there are, what each may use, and what ends it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Life {
    /// `max_clients`, workers
    pub max_clients: Option<u32>,
    /// `min_spare_servers`
    pub min_spare_servers: u32,
    /// `max_spare_servers`
    pub max_spare_servers: Option<u32>,
    /// `idle_worker_timeout`
    pub idle_worker_timeout: Duration,
    /// `min_reqs_per_child`; zero is none
    pub min_reqs_per_child: u32,
    /// `max_worker_age`; zero is none
    pub max_worker_age: Duration,
    /// `max_worker_rss`, bytes; zero is none
    pub max_worker_rss: u64,
    /// `request_timeout`; zero is none
    pub request_timeout: Duration,
    /// `loop`
    pub event_loop: Option<String>,
    /// `worker_requests`
    pub worker_requests: Option<u32>,
    /// `child_exit`: Perl source, or [`super::table::CODE`] where a code reference waits on Perl's side
    pub child_exit: Option<String>,
}

/// Where the logs go, and what is in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logging {
    /// `access_log_path`
    pub access_log_path: Option<String>,
    /// `access_log_format`
    pub access_log_format: String,
    /// `error_log_path`
    pub error_log_path: Option<String>,
    /// `log_level`
    pub log_level: Option<String>,
    /// `default_logs`: set by `Gepok->new`
    pub default_logs: bool,
    /// No option: a subclass has an `access_log` of its own
    pub access_hook: bool,
}

/// Which app the binary loads, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct App {
    /// `app`: a file, or a module's name as plackup takes it
    pub path: Option<String>,
    /// `eval`: Perl code that gives the app
    pub eval: Option<String>,
    /// `include`: folders for `@INC`
    pub include: Vec<String>,
    /// `module`: modules to load first, as `-M` of perl
    pub modules: Vec<String>,
    /// `env`: `PLACK_ENV`, where it was said
    pub env: Option<String>,
    /// `preload_app`
    pub preload: bool,
    /// `config`: the path of a file
    pub config: Option<String>,
    /// `print`: for the command `gepok check`
    pub print: bool,
}

/// HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// `http2`
    pub over_tls: bool,
    /// `h2c`
    pub h2c: bool,
    /// `http2_max_streams`
    pub max_streams: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Http2 {
            over_tls: true,
            h2c: false,
            max_streams: 100,
        }
    }
}

/// What the app is told of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Environment {
    /// `ssl_env`
    pub ssl_env: bool,
    /// `psgix_io`
    pub psgix_io: bool,
}

impl Default for Environment {
    fn default() -> Self {
        Environment {
            ssl_env: false,
            psgix_io: true,
        }
    }
}
