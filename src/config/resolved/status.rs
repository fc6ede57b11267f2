//! What the options about the status page mean.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};

use super::super::options::Options;

/// The page at which the server tells what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its path
    pub path: String,
    /// Who may see it: addresses, and how many of their first bits count
    pub networks: Vec<(IpAddr, u8)>,
    /// So may clients that come by a Unix socket
    pub unix: bool,
}

/// The page, if there is to be one.
pub(super) fn status(options: &Options) -> Result<Option<Status>> {
    let mut networks = Vec::new();
    let mut unix = false;
    for word in &options.status_allow {
        match word.as_str() {
            "unix:" => unix = true,
            "all" => {
                unix = true;
                networks.push((Ipv4Addr::UNSPECIFIED.into(), 0));
                networks.push((Ipv6Addr::UNSPECIFIED.into(), 0));
            }
            text => match network(text) {
                Some(network) => networks.push(network),
                None => bail!(
                    "option 'status_allow': '{}' is not an address, a network as 192.0.2.0/24, unix: or all",
                    text.escape_debug()
                ),
            },
        }
    }
    if options.status_allow.is_empty() {
        unix = true;
        networks.push((Ipv4Addr::new(127, 0, 0, 0).into(), 8));
        networks.push((Ipv6Addr::LOCALHOST.into(), 128));
    }
    let Some(path) = options.status_path.clone().filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    // It is compared with request targets as they are sent, so that an escape would match one spelling of several.
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"?#%".contains(&byte);
    if !path.starts_with('/') || !path.bytes().all(fits) {
        bail!(
            "option 'status_path': '{}' is not a path as /server-status",
            path.escape_debug()
        );
    }
    Ok(Some(Status {
        path,
        networks,
        unix,
    }))
}

/// An address, or a network by the number of its bits (RFC 4632 section 3.1, RFC 4291 section 2.3).
pub(super) fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let said: IpAddr = address.parse().ok()?;
    let most = if said.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
        None => most,
    };
    if bits > most {
        return None;
    }
    // ::ffff:10.0.0.0/104 is 10.0.0.0/8.
    match (said, said.to_canonical()) {
        (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if bits >= 96 => Some((v4, bits - 96)),
        _ => Some((said, bits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::attributes;

    fn said(pairs: &[(&str, &str)]) -> Result<Option<Status>> {
        let said = attributes::read(pairs.iter().copied())?;
        status(&said.options)
    }

    #[test]
    fn without_a_path_there_is_no_page() {
        assert_eq!(said(&[]).unwrap(), None);
        let empty = said(&[("status_path", ""), ("status_allow", "all")]);
        assert_eq!(empty.unwrap(), None);
    }

    #[test]
    fn by_default_this_machine_is_allowed() {
        let status = said(&[("status_path", "/status")]).unwrap().unwrap();
        assert_eq!(status.path, "/status");
        let loopback = [network("127.0.0.0/8"), network("::1")];
        let networks: Vec<_> = status.networks.into_iter().map(Some).collect();
        assert_eq!(networks, loopback);
        assert!(status.unix);
    }

    #[test]
    fn what_is_said_is_all() {
        let allowed = |text: &str| {
            let status = said(&[("status_path", "/s"), ("status_allow", text)]);
            let status = status.unwrap().unwrap();
            (status.networks, status.unix)
        };
        let (networks, unix) = allowed("192.0.2.7, 10.0.0.0/8 2001:db8::/32");
        assert_eq!((networks.len(), unix), (3, false));
        assert_eq!(networks[1], ("10.0.0.0".parse().unwrap(), 8));
        assert_eq!(allowed("unix:"), (Vec::new(), true));
        let (everybody, unix) = allowed("all");
        assert_eq!((everybody.len(), unix), (2, true));
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn networks_have_one_form() {
        for (text, network) in [
            ("127.0.0.1", Some(("127.0.0.1", 32))),
            ("0.0.0.0/0", Some(("0.0.0.0", 0))),
            ("::1", Some(("::1", 128))),
            ("::ffff:10.0.0.0/104", Some(("10.0.0.0", 8))),
            ("::ffff:10.0.0.1", Some(("10.0.0.1", 32))),
            ("::ffff:10.0.0.1/64", Some(("::ffff:10.0.0.1", 64))),
            ("10.0.0.0/33", None), ("::/129", None), ("10.0.0.0/", None), ("10.0.0.0/+8", None),
            ("10.0.0.0/255.0.0.0", None), ("10.0.0", None), ("[::1]", None), ("localhost", None), ("/8", None),
        ] {
            let network = network.map(|(address, bits)| (address.parse().unwrap(), bits));
            assert_eq!(super::network(text), network, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, value) in [
            ("status_path", "status"),
            ("status_path", "/a?b"),
            ("status_path", "/a b"),
            ("status_path", "/%61"),
            ("status_allow", "localhost"),
        ] {
            let error = said(&[("status_path", "/s"), (name, value)]);
            let error = error.unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }
}
