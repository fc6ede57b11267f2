//! Options about what the app is told of a request.

use super::{Category, Entry, Kind, Opt, Preset};

pub(super) static CATEGORY: Category = Category {
    title: "Environment of a request",
    options: &[Opt {
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
    }],
};
