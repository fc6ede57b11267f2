//! Values in TOML, and the text of a file that they stand in.

use std::sync::Arc;

use toml::de::DeValue;

use super::error::Error;
use super::source::Source;
use super::table::{Kind, Opt};

/// The text of a file.
pub(super) struct Text<'a> {
    name: Arc<str>,
    text: &'a str,
}

impl<'a> Text<'a> {
    /// A file of this name; no name stands for what a program gives.
    pub(super) fn new(name: &str, text: &'a str) -> Self {
        Text {
            name: name.into(),
            text,
        }
    }

    /// Whether a program gives it.
    pub(super) fn is_of_program(&self) -> bool {
        self.name.is_empty()
    }

    /// The line of a byte.
    pub(super) fn source(&self, at: usize) -> Source {
        if self.name.is_empty() {
            return Source::Typed;
        }
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        Source::File {
            file: Arc::clone(&self.name),
            line: memchr::memchr_iter(b'\n', before).count() + 1,
        }
    }

    /// A mistake at a byte.
    pub(super) fn error(&self, at: usize, why: String) -> Error {
        self.source(at).error(why)
    }
}

/// A value as a command line would spell it; several for a list.
pub(super) fn texts(option: &Opt, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(values) if is_list(&option.kind) => values
            .iter()
            .map(|value| text(&option.kind, value.get_ref()))
            .collect(),
        DeValue::Array(_) => Err("takes one value, not an array".to_owned()),
        // `{ "example.org" = "cert.pem" }` for `example.org=cert.pem`.
        DeValue::Table(pairs) if has_keys(option) => {
            let mut pairs: Vec<_> = pairs.iter().collect();
            pairs.sort_by_key(|(key, _)| key.span().start);
            pairs
                .into_iter()
                .map(|(key, value)| match value.get_ref() {
                    DeValue::String(value) => Ok(format!("{}={value}", key.get_ref())),
                    other => Err(format!("needs texts in its table, not {}", kind_of(other))),
                })
                .collect()
        }
        value => text(&option.kind, value).map(|text| vec![text]),
    }
}

/// Whether an option takes several values.
pub(super) fn is_list(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Texts(_) | Kind::Names(_) | Kind::Ports(_) | Kind::Paths(_) | Kind::Addresses(_)
    )
}

/// Whether its values are written `KEY=VALUE`.
fn has_keys(option: &Opt) -> bool {
    matches!(option.kind, Kind::Texts(_)) && option.value.contains('=')
}

fn text(kind: &Kind, value: &DeValue<'_>) -> Result<String, String> {
    let decimal = |value: &DeValue<'_>| match value {
        DeValue::Integer(number) => {
            let number = i128::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        _ => None,
    };
    let text = match (kind, value) {
        (Kind::Flag(_) | Kind::CodeOrConstant(_), DeValue::Boolean(yes)) => {
            Some(u8::from(*yes).to_string())
        }
        (Kind::Flag(_), _) => None,
        (Kind::Integer(..) | Kind::CodeOrConstant(_), value) => decimal(value),
        (Kind::Seconds(_), DeValue::Float(number)) => Some(number.as_str().to_owned()),
        // 660 could be meant in either way.
        (Kind::Mode(_), DeValue::Integer(number)) => {
            (number.radix() == 8).then(|| number.as_str().to_owned())
        }
        (Kind::Code(_), _) => None,
        (Kind::Source(_), value) if decimal(value).is_some() => None,
        (_, DeValue::String(text)) => Some(text.to_string()),
        (_, value) => decimal(value),
    };
    text.ok_or_else(|| format!("needs {}, not {}", wanted(kind), kind_of(value)))
}

/// What stands for a value of this kind in a file.
pub(super) fn wanted(kind: &Kind) -> &'static str {
    match kind {
        Kind::Flag(_) => "true or false",
        Kind::Integer(..) => "a whole number",
        Kind::Seconds(_) => "a number of seconds",
        Kind::Mode(_) => "an octal number, as 0o660 or \"660\"",
        Kind::Bytes(_) => "a number of bytes, as 1000000 or \"300M\"",
        Kind::Text(_) | Kind::Host(_) => "a text",
        Kind::Texts(_) | Kind::Names(_) | Kind::Paths(_) => "a text or an array of texts",
        Kind::Ports(_) => "a port, \"host:port\", or an array of these",
        Kind::Addresses(_) => "\"host:port\", a path, or an array of these",
        Kind::Code(_) => "Perl code, which a file can't have",
        Kind::CodeOrConstant(_) => "0 or 1",
        Kind::Source(_) => "Perl code as a text",
    }
}

pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
