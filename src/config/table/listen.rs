//! Options that say where to listen.

use super::{Category, Entry, Kind, Opt, Preset};
use crate::config::address::WILDCARD;

pub(super) static CATEGORY: Category = Category {
    title: "Listening",
    options: &[
        Opt {
            name: "http_ports",
            letter: None,
            aliases: &[],
            kind: Kind::Ports(|options, address| options.http_ports.push(address)),
            value: "LIST",
            preset: Preset::None,
            short: "TCP addresses: N, :N, *:N, host:N or [v6]:N, by commas",
            long: "TCP addresses to listen on: C<N>, C<:N>, C<*:N>, C<0.0.0.0:N>, C<host:N> or C<[v6]:N>, as an array \
                   or separated by commas; a comma may end the list. Without a host it is every IPv4 address, C<[::]:N> is \
                   every address of both families, and a name is every address that it has. C<:proxy> after an address is \
                   explained at C<proxy_protocol>. C<SERVER_NAME> is the bound address.",
            entry: Entry::All,
        },
        Opt {
            name: "unix_sockets",
            letter: None,
            aliases: &[],
            kind: Kind::Paths(|options, path| options.unix_sockets.push(path)),
            value: "LIST",
            preset: Preset::None,
            short: "absolute paths of Unix sockets, by commas",
            long: "Absolute paths of Unix sockets to listen on, as an array or separated by commas. The app sees the \
                   path, without C<:proxy>, as C<SERVER_NAME>, 0 as C<SERVER_PORT> and 127.0.0.1 as C<REMOTE_ADDR>.",
            entry: Entry::All,
        },
        Opt {
            name: "unix_socket_mode",
            letter: None,
            aliases: &[],
            kind: Kind::Mode(|options, mode| options.unix_socket_mode = Some(mode)),
            value: "MODE",
            preset: Preset::Described("777 without the umask's bits"),
            short: "permissions of Unix sockets, as 660",
            long: "The permissions of the Unix sockets that are made, in octal; whoever shall connect needs the right \
                   to write. Nobody can connect before they are set. From Perl it is a string: C<'0660'> or C<'660'>.",
            entry: Entry::All,
        },
        Opt {
            name: "unix_socket_owner",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, user| options.unix_socket_owner = Some(user)),
            value: "USER",
            preset: Preset::Described("the user that starts the server"),
            short: "owner of Unix sockets",
            long: "The owner of the Unix sockets that are made, by name or number. Only root can give files away.",
            entry: Entry::All,
        },
        Opt {
            name: "unix_socket_group",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, group| options.unix_socket_group = Some(group)),
            value: "GROUP",
            preset: Preset::Described("that of the user that starts the server"),
            short: "group of Unix sockets",
            long: "The group of the Unix sockets that are made, by name or number, as that of the web server in front: \
                   C<< unix_socket_group => 'www-data', unix_socket_mode => '660' >>.",
            entry: Entry::All,
        },
        Opt {
            name: "host",
            letter: Some('o'),
            aliases: &[],
            kind: Kind::Host(|options, host| options.host = (host != WILDCARD).then_some(host)),
            value: "HOST",
            preset: Preset::Described("every IPv4 address"),
            short: "the host of -p",
            long: "Host name or address for C<port>, and then C<SERVER_NAME>. The server listens on every address of a name.",
            entry: Entry::All,
        },
        Opt {
            name: "port",
            letter: Some('p'),
            aliases: &[],
            kind: Kind::Integer(0, 65535, |options, port| options.port = Some(port)),
            value: "PORT",
            preset: Preset::Described("5000 if no address is given"),
            short: "one TCP port",
            long: "A TCP port to listen on. plackup and the command C<gepok> take 5000 where no option names an \
                   address; C<< Gepok->new >> takes none.",
            entry: Entry::All,
        },
        Opt {
            name: "listen",
            letter: Some('l'),
            aliases: &[],
            kind: Kind::Addresses(|options, address| options.listen.push(address)),
            value: "ADDRESS",
            preset: Preset::None,
            short: "host:port, :port or a path, repeatable",
            long: "An address to listen on: C<host:port>, C<:port>, C<host:port:ssl> for HTTPS, or the path of a Unix \
                   socket; C<:proxy> may follow (see C<proxy_protocol>). Can be repeated. \
                   A host given here is C<SERVER_NAME>; on a Unix socket the app sees what C<socket> tells.",
            entry: Entry::All,
        },
        Opt {
            name: "socket",
            letter: Some('S'),
            aliases: &[],
            kind: Kind::Text(|options, path| {
                options.socket = (!path.is_empty()).then(|| path.into());
            }),
            value: "PATH",
            preset: Preset::None,
            short: "path of a Unix socket, with Starlet's values in the env",
            long: "The path of a Unix socket to listen on. As in Starlet the app sees 0 as C<SERVER_NAME>, the path as \
                   C<SERVER_PORT>, C<undef> as C<REMOTE_ADDR> and 0 as C<REMOTE_PORT>.",
            entry: Entry::All,
        },
        Opt {
            name: "backlog",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(1, 65535, |options, backlog| options.backlog = backlog),
            value: "N",
            preset: Preset::Value("4096"),
            short: "connections that may wait to be accepted",
            long: "How many connections the system keeps waiting until they are accepted. The system may cut it \
                   (C<net.core.somaxconn>).",
            entry: Entry::All,
        },
        Opt {
            name: "ipv6_only",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, on| options.ipv6_only = on),
            value: "",
            preset: Preset::Value("0"),
            short: "[::]:N does not accept IPv4 connections",
            long: "Whether C<[::]:N> accepts IPv6 connections only. By default it accepts IPv4 connections too, whatever \
                   C<net.ipv6.bindv6only> says, unless an IPv4 address with the same port is given as well.",
            entry: Entry::All,
        },
        Opt {
            name: "defer_accept",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, on| options.defer_accept = on),
            value: "",
            preset: Preset::Value("1"),
            short: "accept a connection when its first bytes have come",
            long: "Whether a TCP connection is accepted when its first bytes have come (C<TCP_DEFER_ACCEPT> of L<tcp(7)>, as \
                   Starlet, Gazelle and Apache do), which saves a third of the work where each request has a connection of its \
                   own. A client that connects and sends nothing is accepted a second later, and meanwhile it counts in none \
                   of the limits.",
            entry: Entry::All,
        },
        Opt {
            name: "listen_sock",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(0, i32::MAX as u32, |options, fd| {
                options.listen_sock.push(fd.cast_signed());
            }),
            value: "SOCKET",
            preset: Preset::None,
            short: "a socket that listens already",
            long: "A socket (an L<IO::Socket>, or the number of its descriptor) that listens already. C<host>, C<port>, \
                   C<listen> and C<socket> are not used then.",
            entry: Entry::Perl,
        },
        Opt {
            name: "default_port",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(0, 65535, |options, port| options.default_port = Some(port)),
            value: "PORT",
            preset: Preset::None,
            short: "the port where no option names an address",
            long: "The port to listen on where no option names an address. L<Plack::Handler::Gepok> sets it to 5000.",
            entry: Entry::Perl,
        },
        Opt {
            name: "server_ready",
            letter: None,
            aliases: &[],
            kind: Kind::Code(|options| options.server_ready = true),
            value: "CODE",
            preset: Preset::None,
            short: "code called once when the server listens",
            long: "Code called once in the master when the server listens, with a hash reference of C<host>, C<port>, \
                   C<proto> and C<server_software>. plackup prints its line about accepting connections by it.",
            entry: Entry::Perl,
        },
    ],
};
