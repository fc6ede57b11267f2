//! What the options about the server's own pages mean.

use super::super::error::{Error, Result};

use super::super::options::Options;
use crate::semantics::networks::Networks;

/// The pages about the server itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The path of the page that tells what it does, if there is one
    pub path: Option<String>,
    /// The path of its metrics, if there is one
    pub metrics: Option<String>,
    /// Who may see them
    pub allowed: Networks,
}

/// Where the pages are, and for whom.
pub(super) fn status(options: &Options) -> Result<Status> {
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
    let path = path(
        "status_path",
        "/server-status",
        options.status_path.as_deref(),
    )?;
    let metrics = self::path("metrics_path", "/metrics", options.metrics_path.as_deref())?;
    if path.is_some() && path == metrics {
        return Err(Error::option(
            "metrics_path",
            "'status_path' has the same path",
        ));
    }
    Ok(Status {
        path,
        metrics,
        allowed,
    })
}

/// The path that an option names; nothing where it is empty.
fn path(option: &str, example: &str, path: Option<&str>) -> Result<Option<String>> {
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    // It is compared with request targets as they are sent, so that an escape would match one spelling of several.
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"?#%".contains(&byte);
    if !path.starts_with('/') || !path.bytes().all(fits) {
        return Err(Error::option(
            option,
            format!("'{}' is not a path as {example}", path.escape_debug()),
        ));
    }
    Ok(Some(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::attributes;

    fn said(pairs: &[(&str, &str)]) -> Result<Status> {
        let said = attributes::read(pairs.iter().copied())?;
        status(&said.options)
    }

    #[test]
    fn without_a_path_there_is_no_page() {
        for pairs in [&[][..], &[("status_path", ""), ("metrics_path", "")]] {
            let status = said(pairs).unwrap();
            assert_eq!((status.path, status.metrics), (None, None));
        }
    }

    #[test]
    fn by_default_this_machine_is_allowed() {
        let status = said(&[("status_path", "/status"), ("metrics_path", "/m")]).unwrap();
        assert_eq!(status.path.as_deref(), Some("/status"));
        assert_eq!(status.metrics.as_deref(), Some("/m"));
        let shown = |(address, bits)| format!("{address}/{bits}");
        let networks: Vec<_> = status.allowed.networks.into_iter().map(shown).collect();
        assert_eq!(networks, ["127.0.0.0/8", "::1/128"]);
        assert!(status.allowed.unix);
    }

    #[test]
    fn what_is_said_is_all() {
        let allowed = |text: &str| {
            let status = said(&[("status_path", "/s"), ("status_allow", text)]);
            let status = status.unwrap();
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
            ("metrics_path", "metrics"),
            ("metrics_path", "/s"),
            ("status_allow", "localhost"),
        ] {
            let error = said(&[("status_path", "/s"), (name, value)]);
            let error = error.unwrap_err().to_string();
            let named = error.contains(value) || error.contains("has the same path");
            assert!(error.contains(name) && named, "{error}");
        }
    }
}
