//! The access log's format: Apache httpd's `%` directives, and the formats that have names.

use std::fmt;

use super::time;

/// Formats by their names, as Apache's own configuration calls them.
const NAMED: [(&str, &str); 4] = [
    ("common", r#"%h %l %u %t "%r" %>s %b"#),
    (
        "combined",
        r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#,
    ),
    (
        "combinedio",
        r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" %I %O"#,
    ),
    (
        "vhost_combined",
        r#"%v:%p %h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#,
    ),
];

/// What a line of the access log is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Texts and directives, in order.
    Line(Vec<Part>),
    /// One JSON object with everything in it.
    Json,
}

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The statuses it is meant for; `-` stands in its place for others.
    pub only: Only,
    /// What it shows.
    pub shows: Shows,
}

/// The statuses that a directive is meant for, as in `%400,501{User-agent}i` and `%!200,304{Referer}i`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Only {
    /// All of them.
    #[default]
    Any,
    /// These.
    With(Vec<u16>),
    /// All but these.
    Without(Vec<u16>),
}

impl Only {
    /// Whether a response of this status is meant.
    pub fn holds(&self, status: Option<u16>) -> bool {
        match (self, status) {
            (Only::Any, _) => true,
            (Only::With(list), Some(status)) => list.contains(&status),
            (Only::With(_), None) => false,
            (Only::Without(list), Some(status)) => !list.contains(&status),
            (Only::Without(_), None) => true,
        }
    }
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
}

/// A span of time in the life of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// From the request's first byte to the response's last.
    Whole,
    /// From the request's first byte to the response's first.
    FirstByte,
    /// From the request's first byte to its last.
    Receiving,
    /// From then until a worker took it.
    Queue,
    /// From then until its response was complete.
    App,
}

/// What a part of a line shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shows {
    /// This text.
    Text(Vec<u8>),
    /// `%a`, `%h`: the client's address.
    Client,
    /// The address of the connection's other end: the nearest proxy's, if there is one.
    Peer,
    /// `%A`: our address.
    Local,
    /// `%B`: bytes of content sent.
    Content,
    /// `%b`: the same, with `-` for none.
    ContentOrDash,
    /// `%{NAME}C`: a cookie.
    Cookie(Vec<u8>),
    /// `%D`, `%T` and others.
    Time(Timing, Unit),
    /// `%H`: the protocol.
    Protocol,
    /// `%I`: bytes received.
    Received,
    /// `%{NAME}i`: a field of the request.
    RequestField(Vec<u8>),
    /// `%k`: number of requests before it on its connection.
    KeepaliveNumber,
    /// `%l`: always `-`.
    Identity,
    /// `%L`: the request's own name.
    RequestId,
    /// `%m`: the method.
    Method,
    /// `%O`: bytes sent.
    Sent,
    /// `%{NAME}o`: a field of the response.
    ResponseField(Vec<u8>),
    /// `%p`: our port, as the app sees it.
    Port,
    /// `%{local}p`
    LocalPort,
    /// `%{remote}p`
    RemotePort,
    /// `%P`: the worker's process.
    Worker,
    /// `%q`: the query with its question mark.
    Query,
    /// `%r`: the request line.
    RequestLine,
    /// `%s`, `%>s`: the status.
    Status,
    /// `%S`: bytes received and sent.
    Transferred,
    /// `%t`: when the request came, in brackets.
    Start,
    /// `%{...}t`: the same by strftime(3), or with `end` when the response was over.
    Strftime(String, Moment),
    /// `%{sec}t` and others: since the epoch.
    Epoch(Unit, Moment),
    /// `%{msec_frac}t`, `%{usec_frac}t`: the fraction of the second.
    Fraction(Unit, Moment),
    /// `%u`: the user's name as the client gives it by the Basic scheme.
    User,
    /// `%U`: the path.
    Path,
    /// `%v`: SERVER_NAME.
    ServerName,
    /// `%V`: the host that the client asked for, else SERVER_NAME.
    Host,
    /// `%X`: how the connection went on: `X` aborted, `+` persists, `-` closed.
    Ending,
    /// `%{SSL_PROTOCOL}x`
    TlsProtocol,
    /// `%{SSL_CIPHER}x`
    TlsCipher,
    /// `%{SSL_TLS_SNI}x`
    TlsServerName,
    /// `%{stream}x`: the number of the stream of HTTP/2.
    Stream,
}

/// Which end of a request a time is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Its first byte.
    Begin,
    /// The response's last.
    End,
}

/// Why a text is no format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// Nothing is known by that name.
    Name(String),
    /// The directive is not known, or says nothing within a server.
    Directive(String),
    /// A conversion in `%{...}t` is not one of strftime(3).
    Conversion(String),
    /// A directive is cut off by the end.
    Unfinished(String),
    /// A control character: each request has one line.
    Control,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::Name(name) => write!(
                f,
                "'{name}' is neither combined, common, json, combinedio, vhost_combined nor a format with % directives"
            ),
            FormatError::Directive(text) => write!(f, "unknown directive '{text}'"),
            FormatError::Conversion(text) => {
                write!(f, "unknown conversion '{text}' of strftime in %{{...}}t")
            }
            FormatError::Unfinished(text) => write!(f, "'{text}' at the end is no directive"),
            FormatError::Control => f.write_str("a control character can't stand in a line"),
        }
    }
}

impl std::error::Error for FormatError {}

impl Format {
    /// Reads a format: a name (`combined`, `common`, `json` ...), or a text with directives.
    ///
    /// # Errors
    /// Names what is not understood.
    pub fn parse(text: &str) -> Result<Format, FormatError> {
        if text == "json" {
            return Ok(Format::Json);
        }
        if let Some((_, format)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(Format::Line(line(format)?));
        }
        if !text.contains('%') {
            return Err(FormatError::Name(text.escape_debug().to_string()));
        }
        Ok(Format::Line(line(text)?))
    }

    /// Whether it shows fields of the response, whose head is kept then.
    pub fn wants_response(&self) -> bool {
        self.shows_any(|shows| matches!(shows, Shows::ResponseField(_)))
    }

    /// Whether it shows when a worker took the request, and when it was done with it.
    pub fn wants_call(&self) -> bool {
        self.shows_any(|shows| {
            matches!(
                shows,
                Shows::Worker | Shows::RequestId | Shows::Time(Timing::Queue | Timing::App, _)
            )
        })
    }

    fn shows_any(&self, what: impl Fn(&Shows) -> bool) -> bool {
        match self {
            Format::Line(parts) => parts.iter().any(|part| what(&part.shows)),
            // Everything but fields of the response.
            Format::Json => what(&Shows::Worker),
        }
    }
}

fn line(format: &str) -> Result<Vec<Part>, FormatError> {
    let mut parts: Vec<Part> = Vec::new();
    let mut text = Vec::new();
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        match first {
            '%' => {
                let (part, behind) = directive(rest)?;
                rest = behind;
                if let Shows::Text(literal) = &part.shows {
                    text.extend_from_slice(literal);
                    continue;
                }
                if !text.is_empty() {
                    parts.push(Part::of(Shows::Text(std::mem::take(&mut text))));
                }
                parts.push(part);
            }
            '\\' => {
                // As they stand in configuration files of Apache's.
                let (byte, length) = match rest.as_bytes().get(1) {
                    Some(b't') => (b'\t', 2),
                    Some(b'n') => return Err(FormatError::Control),
                    Some(&quoted @ (b'"' | b'\\')) => (quoted, 2),
                    _ => (b'\\', 1),
                };
                text.push(byte);
                rest = &rest[length..];
            }
            c if c.is_control() && c != '\t' => return Err(FormatError::Control),
            c => {
                text.extend_from_slice(&rest.as_bytes()[..c.len_utf8()]);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    if !text.is_empty() {
        parts.push(Part::of(Shows::Text(text)));
    }
    Ok(parts)
}

impl Part {
    fn of(shows: Shows) -> Part {
        Part {
            only: Only::Any,
            shows,
        }
    }
}

/// The directive at the front of `text`, and the rest.
fn directive(text: &str) -> Result<(Part, &str), FormatError> {
    let unfinished = || FormatError::Unfinished(text.escape_debug().to_string());
    let rest = &text[1..];
    let (only, rest) = only(rest).ok_or_else(|| FormatError::Directive(shown(text, 8)))?;
    // Which of an internal redirect's requests is meant: there is only one here.
    let rest = rest.trim_start_matches(['<', '>']);
    let (argument, rest) = match rest.strip_prefix('{') {
        Some(inner) => {
            let (argument, rest) = inner.split_once('}').ok_or_else(unfinished)?;
            (Some(argument), rest)
        }
        None => (None, rest),
    };
    let letter = match rest.strip_prefix('^') {
        Some(two) => two.get(..2).map(|_| 3),
        None => rest.chars().next().map(char::len_utf8),
    };
    let (letter, rest) = rest.split_at(letter.ok_or_else(unfinished)?);
    let whole = &text[..text.len() - rest.len()];
    let shows = shows(letter, argument)?
        .ok_or_else(|| FormatError::Directive(whole.escape_debug().to_string()))?;
    Ok((Part { only, shows }, rest))
}

fn shown(text: &str, length: usize) -> String {
    let cut: String = text.chars().take(length).collect();
    cut.escape_debug().to_string()
}

fn only(text: &str) -> Option<(Only, &str)> {
    let negated = text.strip_prefix('!');
    let from = negated.unwrap_or(text);
    let end = from
        .find(|c: char| !c.is_ascii_digit() && c != ',')
        .unwrap_or(from.len());
    let (list, rest) = from.split_at(end);
    if list.is_empty() {
        return negated.is_none().then_some((Only::Any, rest));
    }
    let statuses = list
        .split(',')
        .map(|status| status.parse().ok().filter(|s| (100..=999).contains(s)))
        .collect::<Option<Vec<u16>>>()?;
    let only = match negated {
        Some(_) => Only::Without(statuses),
        None => Only::With(statuses),
    };
    Some((only, rest))
}

fn shows(letter: &str, argument: Option<&str>) -> Result<Option<Shows>, FormatError> {
    let name = |make: fn(Vec<u8>) -> Shows, argument: &str| {
        (!argument.is_empty()).then(|| make(argument.as_bytes().to_vec()))
    };
    Ok(match (letter, argument) {
        ("%", None) => Some(Shows::Text(b"%".to_vec())),
        ("a" | "h", None) => Some(Shows::Client),
        ("a" | "h", Some("c")) => Some(Shows::Peer),
        ("A", None) => Some(Shows::Local),
        ("B", None) => Some(Shows::Content),
        ("b", None) => Some(Shows::ContentOrDash),
        ("C", Some(cookie)) => name(Shows::Cookie, cookie),
        ("D", None) => Some(Shows::Time(Timing::Whole, Unit::Micros)),
        ("T", unit) => unit_named(unit.unwrap_or("s")).map(|unit| Shows::Time(Timing::Whole, unit)),
        ("^FB", None) => Some(Shows::Time(Timing::FirstByte, Unit::Micros)),
        ("H", None) => Some(Shows::Protocol),
        ("I", None) => Some(Shows::Received),
        ("i", Some(field)) => name(Shows::RequestField, field),
        ("k", None) => Some(Shows::KeepaliveNumber),
        ("l", None) => Some(Shows::Identity),
        ("L", None) => Some(Shows::RequestId),
        ("m", None) => Some(Shows::Method),
        ("O", None) => Some(Shows::Sent),
        ("o", Some(field)) => name(Shows::ResponseField, field),
        ("p", None | Some("canonical")) => Some(Shows::Port),
        ("p", Some("local")) => Some(Shows::LocalPort),
        ("p", Some("remote")) => Some(Shows::RemotePort),
        ("P", None | Some("pid")) => Some(Shows::Worker),
        ("q", None) => Some(Shows::Query),
        ("r", None) => Some(Shows::RequestLine),
        ("s", None) => Some(Shows::Status),
        ("S", None) => Some(Shows::Transferred),
        ("t", None) => Some(Shows::Start),
        ("t", Some(format)) => Some(time_of(format)?),
        ("u", None) => Some(Shows::User),
        ("U", None) => Some(Shows::Path),
        ("v", None) => Some(Shows::ServerName),
        ("V", None) => Some(Shows::Host),
        ("X", None) => Some(Shows::Ending),
        ("x", Some(variable)) => variable_named(variable),
        _ => None,
    })
}

fn unit_named(unit: &str) -> Option<Unit> {
    match unit {
        "s" => Some(Unit::Seconds),
        "ms" => Some(Unit::Millis),
        "us" => Some(Unit::Micros),
        _ => None,
    }
}

/// `%{...}x`: mod_ssl's variables, and ours.
fn variable_named(variable: &str) -> Option<Shows> {
    Some(match variable {
        "SSL_PROTOCOL" => Shows::TlsProtocol,
        "SSL_CIPHER" => Shows::TlsCipher,
        "SSL_TLS_SNI" => Shows::TlsServerName,
        "stream" => Shows::Stream,
        "RECEIVE_TIME" => Shows::Time(Timing::Receiving, Unit::Micros),
        "QUEUE_TIME" => Shows::Time(Timing::Queue, Unit::Micros),
        "APP_TIME" => Shows::Time(Timing::App, Unit::Micros),
        _ => return None,
    })
}

fn time_of(format: &str) -> Result<Shows, FormatError> {
    let (moment, format) = match (format.strip_prefix("begin"), format.strip_prefix("end")) {
        (Some(""), _) => return Ok(Shows::Start),
        (Some(rest), _) if rest.starts_with(':') => (Moment::Begin, &rest[1..]),
        (_, Some(rest)) if rest.starts_with(':') => (Moment::End, &rest[1..]),
        _ => (Moment::Begin, format),
    };
    Ok(match format {
        "sec" => Shows::Epoch(Unit::Seconds, moment),
        "msec" => Shows::Epoch(Unit::Millis, moment),
        "usec" => Shows::Epoch(Unit::Micros, moment),
        "msec_frac" => Shows::Fraction(Unit::Millis, moment),
        "usec_frac" => Shows::Fraction(Unit::Micros, moment),
        format => {
            if format.chars().any(char::is_control) {
                return Err(FormatError::Control);
            }
            let format = time::strftime(format).map_err(FormatError::Conversion)?;
            Shows::Strftime(format, moment)
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> Vec<Part> {
        match Format::parse(text) {
            Ok(Format::Line(parts)) => parts,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn only_part(text: &str) -> Shows {
        let mut parts = parts(text);
        assert_eq!(parts.len(), 1, "{text}");
        parts.remove(0).shows
    }

    #[test]
    fn names_stand_for_apaches_formats() {
        for (name, format) in NAMED {
            assert_eq!(Format::parse(name), Format::parse(format));
            assert!(Format::parse(format).is_ok());
        }
        assert_eq!(Format::parse("json"), Ok(Format::Json));
    }

    #[test]
    fn every_directive_is_read() {
        let of = |unit| Shows::Time(Timing::Whole, unit);
        for (text, shows) in [
            ("%h", Shows::Client),
            ("%{c}a", Shows::Peer),
            ("%>s", Shows::Status),
            ("%<s", Shows::Status),
            ("%D", of(Unit::Micros)),
            ("%T", of(Unit::Seconds)),
            ("%{ms}T", of(Unit::Millis)),
            ("%{us}T", of(Unit::Micros)),
            ("%^FB", Shows::Time(Timing::FirstByte, Unit::Micros)),
            (
                "%{User-agent}i",
                Shows::RequestField(b"User-agent".to_vec()),
            ),
            (
                "%{Content-Type}o",
                Shows::ResponseField(b"Content-Type".to_vec()),
            ),
            ("%{sid}C", Shows::Cookie(b"sid".to_vec())),
            ("%{remote}p", Shows::RemotePort),
            ("%{pid}P", Shows::Worker),
            ("%{msec}t", Shows::Epoch(Unit::Millis, Moment::Begin)),
            (
                "%{end:usec_frac}t",
                Shows::Fraction(Unit::Micros, Moment::End),
            ),
            ("%{begin}t", Shows::Start),
            ("%{%F}t", Shows::Strftime("%F".to_owned(), Moment::Begin)),
            ("%{end:%T}t", Shows::Strftime("%T".to_owned(), Moment::End)),
            ("%{SSL_PROTOCOL}x", Shows::TlsProtocol),
            ("%{stream}x", Shows::Stream),
            ("%{QUEUE_TIME}x", Shows::Time(Timing::Queue, Unit::Micros)),
            ("%{APP_TIME}x", Shows::Time(Timing::App, Unit::Micros)),
            ("100%%", Shows::Text(b"100%".to_vec())),
            (
                "\\t\\\"\\\\\\z%%é",
                Shows::Text("\t\"\\\\z%é".as_bytes().to_vec()),
            ),
        ] {
            assert_eq!(only_part(text), shows, "{text}");
        }
        for letter in "aAbBDhHIklLmOpPqrsStTuUvVX".chars() {
            assert_eq!(parts(&format!("%{letter}")).len(), 1, "%{letter}");
        }
    }

    #[test]
    fn statuses_restrict_a_directive() {
        let part = &parts("%!200,304{Referer}i")[0];
        assert_eq!(part.only, Only::Without(vec![200, 304]));
        assert!(part.only.holds(Some(404)) && part.only.holds(None));
        assert!(!part.only.holds(Some(304)));
        let part = &parts("%400,501{User-agent}i")[0];
        assert!(part.only.holds(Some(501)) && !part.only.holds(Some(200)));
        assert!(!part.only.holds(None));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, error) in [
            ("combind", "'combind' is neither combined"),
            ("%h %Z", "unknown directive '%Z'"),
            ("%é", "unknown directive '%é'"),
            ("%{PATH}e", "unknown directive '%{PATH}e'"),
            ("%{}i", "unknown directive '%{}i'"),
            ("%i", "unknown directive '%i'"),
            ("%{x}h", "unknown directive '%{x}h'"),
            ("%{min}T", "unknown directive '%{min}T'"),
            ("%{tid}P", "unknown directive '%{tid}P'"),
            ("%{SSL_KEY}x", "unknown directive '%{SSL_KEY}x'"),
            ("%^ti", "unknown directive '%^ti'"),
            ("%h %^F", "'%^F' at the end is no directive"),
            ("%^xyz", "unknown directive '%^xy'"),
            ("%1s", "unknown directive '%1s'"),
            ("%!h", "unknown directive '%!h'"),
            ("%99999s", "unknown directive '%99999s'"),
            ("%{%Q}t", "unknown conversion '%Q'"),
            ("%h %", "'%' at the end"),
            ("%h %{Referer", "'%{Referer' at the end"),
            ("%h\n", "a control character"),
            ("%h\\n", "a control character"),
            ("%{\x1b}t", "a control character"),
        ] {
            let found = Format::parse(text).unwrap_err().to_string();
            assert!(found.starts_with(error), "{text}: {found}");
        }
    }

    #[test]
    fn what_is_kept_for_it_is_known_beforehand() {
        assert!(Format::parse("%{Date}o").unwrap().wants_response());
        assert!(!Format::parse("combined").unwrap().wants_response());
        assert!(Format::parse("%h %P").unwrap().wants_call());
        assert!(Format::parse("json").unwrap().wants_call());
        assert!(!Format::parse("combined").unwrap().wants_call());
    }

    proptest! {
        #[test]
        fn any_text_is_a_format_or_a_sentence(text in "(%[!0-9]{0,4}[<>]?(\\{[^}]{0,6}\\})?.|[ -~]|.){0,8}") {
            if let Err(error) = Format::parse(&text) {
                prop_assert!(!error.to_string().contains('\n'));
            }
        }
    }
}
