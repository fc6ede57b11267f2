//! Options about what the app is told of a request.

use super::{Category, Entry, Kind, Opt, Preset};

pub(super) static CATEGORY: Category = Category {
    title: "Environment of a request",
    options: &[
        Opt {
            name: "psgix_io",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.environment.psgix_io = yes),
            value: "",
            preset: Preset::Value("1"),
            short: "let apps have the client's socket: psgix.io",
            long: "Whether apps may use the client's socket, by C<< $env->{'psgix.io'} >>. An app that has it reads whatever comes on \
               the connection: behind a proxy that keeps its connections, that can be requests of other users. With \
               C<0> the environment has no such key, and C<< $env->{'gepok.socket'} >> tells addresses and \
               certificates, but can't be read, written or given to a function that needs a descriptor. After a \
               response to a request whose socket the app has used, the connection is closed in any case.",
            entry: Entry::All,
        },
        Opt {
            name: "ssl_env",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.environment.ssl_env = yes),
            value: "",
            preset: Preset::Value("0"),
            short: "tell apps about TLS in keys as Apache's SSL_CLIENT_S_DN",
            long: "Whether the environment of a request over TLS has the keys that Apache's mod_ssl gives with \
               C<SSLOptions +StdEnvVars +ExportCertData>: C<SSL_PROTOCOL>, C<SSL_CIPHER>, C<SSL_TLS_SNI> and \
               C<SSL_CLIENT_VERIFY> (C<NONE>, C<SUCCESS> or C<FAILED:> and the reason), and where the client has sent \
               a certificate C<SSL_CLIENT_S_DN>, C<SSL_CLIENT_I_DN>, C<SSL_CLIENT_M_SERIAL>, C<SSL_CLIENT_V_START>, \
               C<SSL_CLIENT_V_END> and C<SSL_CLIENT_CERT> (PEM). Without it C<< $env->{'gepok.socket'} >> tells the \
               same to those who ask.",
            entry: Entry::All,
        },
    ],
};
