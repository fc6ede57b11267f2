//! Distinguished names as texts: OpenSSL's line with slashes, and the form of RFC 2253.

use std::borrow::Cow;
use std::fmt::Write as _;

use x509_parser::asn1_rs::{Any, Oid, Tag, ToDer as _};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Attributes and their short names (OBJ_nid2sn).
#[rustfmt::skip] // A table.
const SHORT: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.16", "postalAddress"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.18", "postOfficeBox"),
    ("2.5.4.20", "telephoneNumber"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.45", "x500UniqueIdentifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.51", "houseIdentifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.72", "role"),
    ("2.5.4.97", "organizationIdentifier"),
    ("2.5.4.98", "c3"),
    ("2.5.4.99", "n3"),
    ("2.5.4.100", "dnsName"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.2", "unstructuredName"),
    ("1.2.840.113549.1.9.8", "unstructuredAddress"),
    ("1.2.840.113549.1.9.20", "friendlyName"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.3", "mail"),
    ("0.9.2342.19200300.100.1.4", "info"),
    ("0.9.2342.19200300.100.1.6", "roomNumber"),
    ("0.9.2342.19200300.100.1.8", "userClass"),
    ("0.9.2342.19200300.100.1.9", "host"),
    ("0.9.2342.19200300.100.1.10", "manager"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.40", "personalTitle"),
    ("0.9.2342.19200300.100.1.41", "mobileTelephoneNumber"),
    ("0.9.2342.19200300.100.1.43", "friendlyCountryName"),
    ("0.9.2342.19200300.100.1.44", "uid"),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL"),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
    ("1.2.643.3.131.1.1", "INN"),
    ("1.2.643.100.1", "OGRN"),
    ("1.2.643.100.3", "SNILS"),
];

/// A distinguished name.
pub struct Name<'a>(&'a X509Name<'a>);

impl<'a> Name<'a> {
    pub(super) fn new(name: &'a X509Name<'a>) -> Self {
        Name(name)
    }

    /// As X509_NAME_oneline writes it: `/C=DE/O=Example/CN=example.org`, bytes beyond ASCII as `\xHH`.
    pub fn oneline(&self) -> String {
        let mut line = String::new();
        let parts = self.0.iter_rdn().flat_map(|set| set.iter().enumerate());
        for (at, attribute) in parts {
            line.push(if at == 0 { '/' } else { '+' });
            line.push_str(&known_as(attribute.attr_type()));
            line.push('=');
            for &byte in visible(attribute.attr_value()).iter() {
                match byte {
                    // As newer versions do: a value can't look like two.
                    b'/' | b'+' => line.extend(['\\', byte.into()]),
                    b' '..=b'~' => line.push(byte.into()),
                    _ => {
                        // Writing to a string does not fail.
                        let _ = write!(line, "\\x{byte:02X}");
                    }
                }
            }
        }
        line
    }

    /// The last part first, as RFC 2253 says: `CN=example.org,O=Example,C=DE`. Text beyond ASCII stands as it is, in UTF-8,
    /// as in Apache's SSL_CLIENT_S_DN.
    pub fn rfc2253(&self) -> String {
        let mut sets: Vec<String> = self
            .0
            .iter_rdn()
            .map(|set| {
                let mut parts: Vec<String> = set.iter().map(part).collect();
                parts.reverse();
                parts.join("+")
            })
            .collect();
        sets.reverse();
        sets.join(",")
    }

    /// The bytes of the first common name (X509_NAME_get_text_by_NID).
    pub fn common_name(&self) -> Option<&[u8]> {
        let mut names = self.0.iter_common_name();
        names.next().map(AttributeTypeAndValue::as_slice)
    }
}

fn short_name(oid: &str) -> Option<&'static str> {
    let known = SHORT.iter().find(|(known, _)| *known == oid);
    known.map(|&(_, name)| name)
}

/// The attribute's short name, or its numbers.
fn known_as(attribute: &Oid<'_>) -> Cow<'static, str> {
    let numbers = attribute.to_id_string();
    match short_name(&numbers) {
        Some(name) => name.into(),
        None => numbers.into(),
    }
}

/// The bytes that X509_NAME_oneline looks at: of a GeneralString that seems to be made of four-byte characters, the last
/// of each four.
fn visible<'a>(value: &'a Any<'_>) -> Cow<'a, [u8]> {
    let bytes = value.data;
    let narrow = |four: &[u8]| four[..3].iter().all(|&byte| byte == 0);
    if value.tag() == Tag::GeneralString
        && bytes.len().is_multiple_of(4)
        && bytes.chunks(4).all(narrow)
    {
        return bytes.iter().skip(3).step_by(4).copied().collect();
    }
    bytes.into()
}

/// `name=value` with the escapes of RFC 2253 section 2.4.
fn part(attribute: &AttributeTypeAndValue<'_>) -> String {
    let name = known_as(attribute.attr_type());
    let text = if name.starts_with(|first: char| first.is_ascii_digit()) {
        None
    } else {
        decoded(attribute.attr_value())
    };
    let mut part = format!("{name}=");
    let Some(text) = text else {
        // Nobody knows what it is.
        part.push('#');
        for byte in attribute.attr_value().to_der_vec().unwrap_or_default() {
            let _ = write!(part, "{byte:02X}");
        }
        return part;
    };
    let last = text.chars().count().wrapping_sub(1);
    for (at, character) in text.chars().enumerate() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => part.extend(['\\', character]),
            ' ' if at == 0 || at == last => part.push_str("\\ "),
            '#' if at == 0 => part.push_str("\\#"),
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(part, "\\{:02X}", character as u32);
            }
            _ => part.push(character),
        }
    }
    part
}

/// The value as text where it is of a type that has characters.
fn decoded<'a>(value: &'a Any<'_>) -> Option<Cow<'a, str>> {
    let bytes = value.data;
    match value.tag() {
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::NumericString
        | Tag::Ia5String
        | Tag::VisibleString => std::str::from_utf8(bytes).ok().map(Cow::from),
        // OpenSSL reads T61 as Latin-1.
        Tag::T61String | Tag::GeneralString => {
            Some(bytes.iter().map(|&byte| char::from(byte)).collect())
        }
        Tag::BmpString => {
            let units = bytes
                .chunks_exact(2)
                .map(|two| u16::from_be_bytes([two[0], two[1]]));
            let text: Result<String, _> = char::decode_utf16(units).collect();
            text.ok().map(Cow::from)
        }
        Tag::UniversalString => {
            let codes = bytes
                .chunks_exact(4)
                .map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
            let text: Option<String> = codes.map(char::from_u32).collect();
            text.map(Cow::from)
        }
        _ => None,
    }
}
