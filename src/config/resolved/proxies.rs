//! What the options about proxies in front mean.

use super::super::error::{Error, Result};

use crate::config::options;
use crate::semantics::networks::Networks;

/// The field that has the addresses where no option says so.
const HEADER: &str = "x-forwarded-for";

/// The proxies in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    /// Those that are trusted; none: forwarding fields are the app's
    pub trusted: Option<Networks>,
    /// The field with the client's address, in lower case
    pub header: String,
    /// Whether they tell the scheme
    pub proto: bool,
    /// Whether they tell host and port
    pub host: bool,
}

pub(super) fn proxies(options: &options::Proxies) -> Result<Proxies> {
    let mut trusted = Networks::default();
    for word in &options.trusted {
        if !trusted.add(word) {
            return Err(Error::option(
                "trusted_proxies",
                format!(
                    "'{}' is not an address, a network as 192.0.2.0/24, unix:, loopback or private",
                    word.escape_debug()
                ),
            ));
        }
    }
    let header = options.header.as_deref().unwrap_or(HEADER);
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if header.is_empty() || !header.bytes().all(token) {
        return Err(Error::option(
            "forwarded_header",
            format!("'{}' is not the name of a field", header.escape_debug()),
        ));
    }
    Ok(Proxies {
        trusted: (!options.trusted.is_empty()).then_some(trusted),
        header: header.to_ascii_lowercase(),
        proto: options.proto,
        host: options.host,
    })
}

/// An option that does nothing, as one sentence.
pub(super) fn idle(options: &options::Proxies) -> Option<&'static str> {
    let said = options.header.is_some() || options.host;
    (said && options.trusted.is_empty()).then_some(
        "options 'forwarded_header' and 'forwarded_host' do nothing without 'trusted_proxies'",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::attributes;

    fn said(pairs: &[(&str, &str)]) -> Result<Proxies> {
        let said = attributes::read(pairs.iter().copied())?;
        proxies(&said.options.proxies)
    }

    #[test]
    fn without_a_list_nobody_is_trusted() {
        let proxies = said(&[]).unwrap();
        assert_eq!(proxies.trusted, None);
        assert_eq!(proxies.header, "x-forwarded-for");
        assert!(proxies.proto && !proxies.host);
        // An empty text says no more.
        assert_eq!(said(&[("trusted_proxies", "")]).unwrap().trusted, None);
    }

    #[test]
    fn a_list_has_addresses_networks_and_words() {
        let text = "192.0.2.7, 10.0.0.0/8 unix:";
        let trusted = said(&[("trusted_proxies", text)]).unwrap().trusted.unwrap();
        assert_eq!((trusted.networks.len(), trusted.unix), (2, true));
        let header = said(&[("forwarded_header", "CF-Connecting-IP")]).unwrap();
        assert_eq!(header.header, "cf-connecting-ip");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, value) in [
            ("trusted_proxies", "all"),
            ("trusted_proxies", "localhost"),
            ("trusted_proxies", "10.0.0.0/33"),
            ("forwarded_header", "X Real IP"),
            ("forwarded_header", ""),
        ] {
            let error = said(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn an_idle_option_is_told() {
        let idle = |pairs: &[(&str, &str)]| {
            let said = attributes::read(pairs.iter().copied()).unwrap();
            super::idle(&said.options.proxies).is_some()
        };
        assert!(!idle(&[]));
        assert!(idle(&[("forwarded_header", "X-Real-IP")]));
        assert!(idle(&[("forwarded_host", "1")]));
        let both = [
            ("forwarded_header", "X-Real-IP"),
            ("trusted_proxies", "::1"),
        ];
        assert!(!idle(&both));
    }
}
