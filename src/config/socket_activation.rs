//! Listening sockets that a supervisor has opened: Server::Starter's SERVER_STARTER_PORT, systemd's LISTEN_FDS.
//!
//! They stand for all places that options name. Of https_ports only those count which name one of them: there TLS is
//! spoken.

use super::error::{Error, Result};

use super::address::{self, Port, Tcp, WILDCARD};
use super::options::Options;
use super::resolved::{Bind, Listener, Remote};

/// The first descriptor that systemd hands in (SD_LISTEN_FDS_START of sd_listen_fds(3)).
const FIRST: i32 = 3;

/// The sockets that were handed in; none where no supervisor has started this process, whose id is `pid`.
///
/// # Errors
/// One sentence where the supervisor's variable can't be understood, or an address of https_ports was not opened.
pub fn sockets(
    options: &Options,
    pid: u32,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Vec<Listener>>> {
    if let Some(ports) = variable("SERVER_STARTER_PORT") {
        // start_server without --port and --path has opened nothing.
        let none = ports.is_empty();
        return (!none).then(|| starter(options, &ports)).transpose();
    }
    let meant = variable("LISTEN_PID").is_some_and(|meant| meant == pid.to_string());
    match variable("LISTEN_FDS") {
        Some(count) if meant => {
            let names = variable("LISTEN_FDNAMES").unwrap_or_default();
            systemd(&count, &names)
        }
        _ => Ok(None),
    }
}

/// `host:port=fd;port=fd;/path=fd`
fn starter(options: &Options, ports: &str) -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    let mut secure: Vec<&Port> = options.tls.https_ports.iter().collect();
    for part in ports.split(';').filter(|part| !part.is_empty()) {
        let parted = part.split_once('=');
        let Some((place, Ok(fd))) = parted.map(|(place, fd)| (place, fd.parse())) else {
            return Err(Error::variable(
                "SERVER_STARTER_PORT",
                format!("'{part}' is not of the form place=descriptor"),
            ));
        };
        let mut listener = activated(fd, Some("0"), Some(place));
        if let Some(tcp) = address::tcp(place) {
            let named = tcp.host != WILDCARD;
            listener.server_name = Some(match named {
                true => address::bracketed(&tcp.host),
                false => "0".to_owned(),
            });
            listener.server_port = Some(tcp.port.to_string());
            let before = secure.len();
            let same = secure.iter().find(|https| is_same(&https.tcp, &tcp));
            listener.proxy = same.is_some_and(|https| https.proxy);
            secure.retain(|https| !is_same(&https.tcp, &tcp));
            listener.tls = options.tls.ssl || secure.len() < before;
        }
        listeners.push(listener);
    }
    if listeners.is_empty() {
        return Err(Error::variable("SERVER_STARTER_PORT", "names no socket"));
    }
    if let Some(missing) = secure.first() {
        return Err(Error::option(
            "https_ports",
            format!(
                "start_server has opened no {}:{}",
                address::bracketed(&missing.tcp.host),
                missing.tcp.port
            ),
        ));
    }
    Ok(listeners)
}

/// Whether an address of https_ports is the one that a socket was opened for.
fn is_same(https: &Tcp, opened: &Tcp) -> bool {
    https.port == opened.port && (https.host == opened.host || https.host == WILDCARD)
}

/// So many descriptors from [`FIRST`] on, and their names, separated by colons: `https` is TLS.
fn systemd(count: &str, names: &str) -> Result<Option<Vec<Listener>>> {
    let Ok(count @ 0..=1024) = count.parse::<i32>() else {
        return Err(Error::variable(
            "LISTEN_FDS",
            format!("'{count}' is no number of descriptors"),
        ));
    };
    let mut names = names.split(':');
    let listeners = (FIRST..FIRST + count).map(|fd| {
        let mut listener = activated(fd, None, None);
        listener.tls = names.next() == Some("https");
        listener
    });
    let listeners: Vec<_> = listeners.collect();
    Ok((!listeners.is_empty()).then_some(listeners))
}

fn activated(fd: i32, name: Option<&str>, port: Option<&str>) -> Listener {
    Listener {
        bind: Bind::Activated(fd),
        tls: false,
        proxy: false,
        server_name: name.map(str::to_owned),
        server_port: port.map(str::to_owned),
        remote: Remote::Peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &Options, variables: &[(&str, &str)]) -> Result<Option<Vec<Listener>>> {
        sockets(options, 42, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn told(listener: &Listener) -> (i32, &str, &str, bool) {
        let Bind::Activated(fd) = listener.bind else {
            panic!("{listener:?}");
        };
        let text = |text: &'static str, value: &Option<String>| match value {
            Some(value) => value.clone().leak(),
            None => text,
        };
        let (name, port) = (&listener.server_name, &listener.server_port);
        (fd, text("-", name), text("-", port), listener.tls)
    }

    #[test]
    fn all_sockets_of_server_starter_are_used() {
        let mut options = Options::new();
        options.tls.https_ports = vec![address::port("443").expect("a port")];
        let ports = "127.0.0.1:80=3;8080=4;[::1]:443=5;/run/app.sock=6";
        let listeners = read(&options, &[("SERVER_STARTER_PORT", ports)]);
        let listeners = listeners.expect("understood").expect("some");
        let told: Vec<_> = listeners.iter().map(told).collect();
        assert_eq!(
            told,
            [
                (3, "127.0.0.1", "80", false),
                (4, "0", "8080", false),
                (5, "[::1]", "443", true),
                (6, "0", "/run/app.sock", false),
            ]
        );
    }

    #[test]
    fn what_server_starter_did_not_say_is_refused() {
        let mut options = Options::new();
        for ports in [";", "80", "80=x", "80="] {
            let read = read(&options, &[("SERVER_STARTER_PORT", ports)]);
            assert!(read.is_err(), "{ports}");
        }
        let read_empty = read(&options, &[("SERVER_STARTER_PORT", "")]);
        assert_eq!(read_empty.expect("understood"), None, "it has no sockets");
        options.tls.https_ports = vec![address::port("443").expect("a port")];
        let error = read(&options, &[("SERVER_STARTER_PORT", "80=3")]).expect_err("no TLS");
        assert!(error.to_string().contains("443"), "{error}");
    }

    #[test]
    fn systemd_hands_in_by_number_to_the_process_it_means() {
        let options = Options::new();
        let meant = [
            ("LISTEN_PID", "42"),
            ("LISTEN_FDS", "2"),
            ("LISTEN_FDNAMES", "http:https"),
        ];
        let listeners = read(&options, &meant).expect("understood").expect("some");
        let told: Vec<_> = listeners.iter().map(told).collect();
        assert_eq!(told, [(3, "-", "-", false), (4, "-", "-", true)]);
        for other in [
            [("LISTEN_PID", "43"), ("LISTEN_FDS", "2")],
            [("LISTEN_PID", "42"), ("LISTEN_FDS", "0")],
        ] {
            assert_eq!(read(&options, &other).expect("understood"), None);
        }
    }
}
