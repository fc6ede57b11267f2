//! Options about TLS.

use super::{Category, Entry, Kind, Opt, Preset};
use crate::config::options::VerifyCallback;

pub(super) static CATEGORY: Category = Category {
    title: "TLS",
    options: &[
        Opt {
            name: "https_ports",
            letter: None,
            aliases: &[],
            kind: Kind::Ports(|options, address| options.tls.https_ports.push(address)),
            value: "LIST",
            preset: Preset::None,
            short: "TCP addresses that speak TLS, as http-ports",
            long: "TCP addresses to listen on for HTTPS, in the forms of C<http_ports>. They need a certificate: \
                   C<ssl_cert_file>, or C<ssl_self_signed> for development.",
            entry: Entry::All,
        },
        Opt {
            name: "ssl",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, on| options.tls.ssl = on),
            value: "",
            preset: Preset::Value("0"),
            short: "-p, -o and -l speak TLS",
            long: "Whether the TCP addresses of C<host>, C<port>, C<listen> and C<listen_sock> speak TLS, as with \
                   HTTP::Server::PSGI and Starman (C<--enable-ssl>). One address alone does with \
                   C<--listen host:port:ssl>.",
            entry: Entry::All,
        },
        Opt {
            name: "ssl_cert_file",
            letter: None,
            aliases: &["ssl_cert"],
            kind: Kind::Texts(|options, path| options.tls.cert_file.push(path)),
            value: "FILE",
            preset: Preset::None,
            short: "certificate and chain, PEM, repeatable; HOST=FILE",
            long: "A file with the server's certificate and, behind it, those of the authorities between it and the \
                   root, in PEM. Several certificates are given as an array, or as a hash by host name; on a command \
                   line the option is repeated, and C<HOST=FILE> stands for an entry of the hash. The name that the \
                   client asks for (SNI) chooses: by the hash's keys, else by the names in the certificates; \
                   C<*.example.org> matches one label. Whoever asks for another name, or none, gets that of the \
                   empty key, else the first. Read again at HUP.",
            entry: Entry::All,
        },
        Opt {
            name: "ssl_key_file",
            letter: None,
            aliases: &["ssl_key"],
            kind: Kind::Texts(|options, path| options.tls.key_file.push(path)),
            value: "FILE",
            preset: Preset::None,
            short: "its private key, PEM, repeatable; HOST=FILE",
            long: "The private key of C<ssl_cert_file> without a passphrase (PKCS#8, PKCS#1 or SEC1, in PEM): RSA, \
                   ECDSA on P-256, P-384 or P-521, or Ed25519. With several certificates: as many keys in the same \
                   order, or a hash with the same keys; one key alone is for them all. Without the option the key \
                   is looked for in the certificate's file. Only the process that owns the connections reads it. \
                   Read again at HUP.",
            entry: Entry::All,
        },
        Opt {
            name: "ssl_self_signed",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, on| options.tls.self_signed = on),
            value: "",
            preset: Preset::Value("0"),
            short: "makes a certificate for development, in memory",
            long: "Makes a certificate for C<localhost>, 127.0.0.1, ::1 and this machine's name, if C<ssl_cert_file> \
                   names none. It lives in memory and dies with the server; browsers warn of it. For development \
                   only.",
            entry: Entry::All,
        },
        Opt {
            name: "ssl_handshake_timeout",
            letter: None,
            aliases: &[],
            kind: Kind::Seconds(|options, time| options.tls.handshake_timeout = time),
            value: "SECONDS",
            preset: Preset::Value("10"),
            short: "longest TLS handshake; 0: no limit",
            long: "How long a client may take for the TLS handshake in all, the verdict of C<ssl_verify_callback> \
                   included. 0 is no limit. A worker that takes longer for a verdict, or longer than \
                   C<request_timeout>, is killed and replaced.",
            entry: Entry::All,
        },
        Opt {
            name: "ssl_verify_mode",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(0, 7, |options, mode| options.tls.verify_mode = mode),
            value: "BITS",
            preset: Preset::Value("0"),
            short: "client certificates; 0: none, 1: asked for, 3: needed",
            long: "What is asked of clients, in the bits of IO::Socket::SSL: 1 asks for a certificate and refuses a \
                   bad one, 2 in addition refuses clients without one, 4 changes nothing (it is about \
                   renegotiation, which is never done).",
            entry: Entry::All,
        },
        Opt {
            name: "ssl_ca_file",
            letter: None,
            aliases: &[],
            kind: Kind::Texts(|options, path| options.tls.ca_file.push(path)),
            value: "FILE",
            preset: Preset::None,
            short: "authorities of client certificates, PEM",
            long: "A file with the certificates of the authorities whose clients are trusted, in PEM. A client's \
                   own self-signed certificate may stand there too. Read again at HUP.",
            entry: Entry::All,
        },
        Opt {
            name: "ssl_ca_path",
            letter: None,
            aliases: &[],
            kind: Kind::Texts(|options, path| options.tls.ca_path.push(path)),
            value: "DIR",
            preset: Preset::None,
            short: "folder of such files",
            long: "A folder of such files, whatever their names: those of C<openssl rehash> do as well as others. \
                   Files without a certificate are passed over. Read again at HUP.",
            entry: Entry::All,
        },
        Opt {
            name: "ssl_crl_file",
            letter: None,
            aliases: &[],
            kind: Kind::Texts(|options, path| options.tls.crl_file.push(path)),
            value: "FILE",
            preset: Preset::None,
            short: "revoked client certificates, PEM or DER",
            long: "A file with certificate revocation lists, in PEM or DER. With it, a client's certificate is \
                   refused when its authority has revoked it, and also when there is no list of that authority, \
                   or only one whose time is over. Read again at HUP.",
            entry: Entry::All,
        },
        Opt {
            name: "ssl_verify_callback",
            letter: None,
            aliases: &[],
            kind: Kind::CodeOrConstant(|options, constant| {
                options.tls.verify_callback = Some(match constant {
                    Some(good) => VerifyCallback::Constant(good),
                    None => VerifyCallback::Code,
                });
            }),
            value: "CODE",
            preset: Preset::None,
            short: "code that judges client certificates; or 0 or 1",
            long: "Code that has the last word on a client's certificate, as IO::Socket::SSL's SSL_verify_callback: \
                   also on one that the authorities and revocation lists refuse. The strings 0 and 1 stand for code \
                   that refuses, or takes, every certificate.",
            entry: Entry::Perl,
        },
    ],
};
