//! What the options about the status page mean.

use super::super::error::{Error, Result};

use super::super::options::Options;
use crate::semantics::networks::Networks;

/// The page at which the server tells what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its path
    pub path: String,
    /// Who may see it
    pub allowed: Networks,
}

/// The page, if there is to be one.
pub(super) fn status(options: &Options) -> Result<Option<Status>> {
    let mut allowed = Networks::default();
    for word in &options.status_allow {
        match word.as_str() {
            "all" => allowed = Networks::all(),
            text if allowed.add(text) => {}
            text => {
                return Err(Error::option(
                    "status_allow",
                    format!(
                        "'{}' is not an address, a network as 192.0.2.0/24, unix: or all",
                        text.escape_debug()
                    ),
                ));
            }
        }
    }
    if options.status_allow.is_empty() {
        allowed.add("loopback");
        allowed.add("unix:");
    }
    let Some(path) = options.status_path.clone().filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    // It is compared with request targets as they are sent, so that an escape would match one spelling of several.
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"?#%".contains(&byte);
    if !path.starts_with('/') || !path.bytes().all(fits) {
        return Err(Error::option(
            "status_path",
            format!("'{}' is not a path as /server-status", path.escape_debug()),
        ));
    }
    Ok(Some(Status { path, allowed }))
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
        let shown = |(address, bits)| format!("{address}/{bits}");
        let networks: Vec<_> = status.allowed.networks.into_iter().map(shown).collect();
        assert_eq!(networks, ["127.0.0.0/8", "::1/128"]);
        assert!(status.allowed.unix);
    }

    #[test]
    fn what_is_said_is_all() {
        let allowed = |text: &str| {
            let status = said(&[("status_path", "/s"), ("status_allow", text)]);
            let status = status.unwrap().unwrap();
            (status.allowed.networks, status.allowed.unix)
        };
        let (networks, unix) = allowed("192.0.2.7, 10.0.0.0/8 2001:db8::/32");
        assert_eq!((networks.len(), unix), (3, false));
        assert_eq!(networks[1], ("10.0.0.0".parse().unwrap(), 8));
        assert_eq!(allowed("unix:"), (Vec::new(), true));
        let (everybody, unix) = allowed("all");
        assert_eq!((everybody.len(), unix), (2, true));
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
