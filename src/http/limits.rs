//! How much of a request is read before it is refused.

/// The longest method that is read, in bytes; a longer one is answered with 501 (RFC 9112 section 3).
pub const METHOD: usize = 64;

/// The longest field name that is read, in bytes: what Gazelle and Starlet take.
pub const FIELD_NAME: usize = 1024;

/// Empty lines that may stand before a request line: some old clients send one after a POST's content
/// (RFC 9112 section 2.2).
pub const EMPTY_LINES: usize = 8;

/// Bytes of chunk extensions in all chunks of one message. They are never used, so that a sender of many
/// only wastes our time.
pub const CHUNK_EXTENSIONS: usize = 16 * 1024;

/// Limits of a request that the user can set, and what is dropped of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all field lines with their line ends, also of the trailers; beyond: 431.
    pub field_section: usize,
    /// Number of field lines, also of trailer lines; beyond: 431.
    pub fields: usize,
    /// Bytes of the request target; beyond: 414.
    pub target: usize,
    /// Bytes of a request's content after decoding, no limit if nothing; beyond: 413.
    pub content: Option<u64>,
    /// Whether an LF without CR ends a line of a head (RFC 9112 section 2.2 allows it).
    pub bare_lf: bool,
    /// Whether Transfer-Encoding may stand beside Content-Length, which then counts for nothing
    /// (RFC 9112 section 6.1).
    pub te_cl: bool,
    /// Whether fields with `_` in their names are kept. In an app's environment `X_Auth` and `X-Auth` are
    /// one key, so that a client could slip the former past a proxy that only guards the latter.
    pub underscore_names: bool,
    /// Whether a request of HTTP/1.1 must have a Host field, as RFC 9112 section 3.2 demands.
    pub require_host: bool,
    /// Whether a request target may hold a fragment, which is then dropped.
    pub target_fragment: bool,
}

impl Limits {
    /// The same with another limit on content.
    pub fn with_content(&self, content: u64) -> Self {
        Limits {
            content: Some(content),
            ..self.clone()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            field_section: 64 * 1024,
            fields: 128,
            target: 16 * 1024,
            content: None,
            bare_lf: true,
            te_cl: false,
            underscore_names: false,
            require_host: true,
            target_fragment: false,
        }
    }
}
