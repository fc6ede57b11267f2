//! What the options about stopping and reloading mean.

use std::time::Duration;

use super::super::error::{Error, Result};

use super::super::options::Options;

/// How the server stops, and how it takes new code.
#[derive(Clone, Debug, PartialEq)]
pub struct Reload {
    /// How long a graceful stop waits for what is in flight
    pub graceful_timeout: Duration,
    /// Least time between two births; zero is no pause
    pub spawn_interval: Duration,
    /// Pause behind a worker that failed before it served
    pub err_respawn_interval: Duration,
    /// What new workers must answer before they replace others
    pub check_path: Option<String>,
    /// HUP begins anew in place
    pub reload_on_hup: bool,
}

pub(super) fn reload(options: &Options) -> Result<Reload> {
    let said = &options.reload;
    if let Some(path) = &said.check_path {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        let plain = path.bytes().all(fits);
        if !path.starts_with('/') || !plain || path.len() > 4096 {
            return Err(Error::option(
                "check_path",
                format!(
                    "'{}' is not a path as it stands in a request",
                    path.escape_debug()
                ),
            ));
        }
    }
    Ok(Reload {
        graceful_timeout: said.graceful_timeout,
        spawn_interval: said.spawn_interval,
        err_respawn_interval: said.err_respawn_interval,
        check_path: said.check_path.clone(),
        reload_on_hup: said.reload_on_hup,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_path_is_a_target() {
        let mut options = Options::new();
        for (path, good) in [
            ("/health?full=1", true),
            ("health", false),
            ("/a b", false),
            ("/a#b", false),
        ] {
            options.reload.check_path = Some(path.to_owned());
            let resolved = reload(&options);
            assert_eq!(resolved.is_ok(), good, "{path}: {resolved:?}");
        }
    }
}
