//! What the limits mean: zeros become "no limit", the spool folder a path.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use super::super::error::{Error, Result};

use crate::config::options;

/// What clients may ask for. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Longest content of a request; none: no limit
    pub content: Option<NonZeroU64>,
    /// Longest request target
    pub target: usize,
    /// Longest field section
    pub field_section: usize,
    /// Most field lines
    pub fields: usize,
    /// Bytes a second that content must come at; none: no limit
    pub content_rate: Option<NonZeroU64>,
    /// Bytes a second at which clients must take responses; none: no limit
    pub response_rate: Option<NonZeroU64>,
    /// Connections at a time; none: as many as descriptors allow
    pub connections: Option<NonZeroU32>,
    /// Connections of one address at a time; none: no limit
    pub connections_per_address: Option<NonZeroU32>,
    /// Requests that may wait for a worker; none: no limit
    pub queue: Option<NonZeroU32>,
    /// How long they may; none: no limit
    pub queue_time: Option<Duration>,
    /// Folder of what is too large for memory; none: a usual one
    pub spool_dir: Option<PathBuf>,
    /// Space that it may take there in all; none: no limit
    pub spool: Option<NonZeroU64>,
    /// Whether a bare LF ends a line of the head
    pub bare_lf: bool,
    /// Whether Transfer-Encoding may stand beside Content-Length
    pub te_cl: bool,
    /// Whether fields with `_` in their names are kept
    pub underscores: bool,
    /// Whether a request of HTTP/1.1 must have a Host field
    pub require_host: bool,
    /// Whether a request target may hold a fragment
    pub target_fragment: bool,
    /// Whether workers are kept from gaining privileges
    pub worker_no_new_privs: bool,
    /// Whether processes dump core and can be traced
    pub dumpable: bool,
}

/// Checks what was said about limits.
pub(super) fn limits(said: &options::Limits) -> Result<Limits> {
    Ok(Limits {
        content: NonZeroU64::new(said.content),
        target: memory("max_target_size", said.target)?,
        field_section: memory("max_header_size", said.field_section)?,
        fields: said.fields as usize,
        content_rate: NonZeroU64::new(said.content_rate),
        response_rate: NonZeroU64::new(said.response_rate),
        connections: NonZeroU32::new(said.connections),
        connections_per_address: NonZeroU32::new(said.connections_per_address),
        queue: NonZeroU32::new(said.queue),
        queue_time: super::limit(said.queue_time),
        spool_dir: spool_dir(&said.spool_dir)?,
        spool: NonZeroU64::new(said.spool),
        bare_lf: said.bare_lf,
        te_cl: said.te_cl,
        underscores: said.underscores,
        require_host: said.require_host,
        target_fragment: said.target_fragment,
        worker_no_new_privs: said.worker_no_new_privs,
        dumpable: said.dumpable,
    })
}

// A head is kept in memory, for each client, and travels to its worker in one frame.
fn memory(option: &str, size: u64) -> Result<usize> {
    const MOST: u64 = 256 * 1024;
    match usize::try_from(size) {
        Ok(0) => Err(Error::option(option, "0 would refuse every request")),
        Ok(size) if size as u64 <= MOST => Ok(size),
        _ => Err(Error::option(
            option,
            format!("{size} is more than the 256K that it may be"),
        )),
    }
}

fn spool_dir(said: &Option<String>) -> Result<Option<PathBuf>> {
    match said.as_deref() {
        None => Ok(None),
        Some(path) if path.starts_with('/') && !path.contains('\0') => Ok(Some(path.into())),
        Some(path) => Err(Error::option(
            "spool_dir",
            format!("'{}' is not an absolute path", path.escape_debug()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::attributes;

    fn said(pairs: &[(&str, &str)]) -> Result<Limits> {
        let said = attributes::read(pairs.iter().copied())?;
        limits(&said.options.limits)
    }

    #[test]
    fn defaults_bound_everything() {
        let limits = said(&[]).unwrap();
        assert_eq!(limits.content, NonZeroU64::new(1 << 30));
        assert_eq!(
            (limits.target, limits.field_section, limits.fields),
            (16 << 10, 64 << 10, 128)
        );
        assert_eq!(limits.content_rate, NonZeroU64::new(500));
        assert_eq!(limits.response_rate, NonZeroU64::new(500));
        assert_eq!(limits.queue, NonZeroU32::new(10_000));
        assert_eq!(limits.queue_time, Some(Duration::from_secs(60)));
        assert_eq!(limits.spool, NonZeroU64::new(4 << 30));
        assert_eq!(limits.spool_dir, None);
        assert!(limits.bare_lf && !limits.te_cl && !limits.underscores);
        assert!(limits.require_host && !limits.target_fragment);
        assert!(!limits.worker_no_new_privs);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (name, value) in [
            ("max_header_size", "1M"),
            ("max_target_size", "0"),
            ("spool_dir", "here"),
            ("max_headers", "0"),
        ] {
            let error = said(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
