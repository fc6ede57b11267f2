//! Paths that stand for other places.

/// A path, and the place that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The path, as clients send it, without `/*`.
    pub from: String,
    /// Whether all paths below it are meant, in place of it alone.
    pub below: bool,
    /// The place: a path or a URL, without `/*`.
    pub to: String,
    /// Whether the rest of the path follows it.
    pub keeps_rest: bool,
}

/// A path that is somewhere else, as clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The path, and where it is.
    pub mapping: Mapping,
    /// The status.
    pub status: u16,
}
