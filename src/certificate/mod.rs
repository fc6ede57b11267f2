//! X.509 certificates (RFC 5280) as texts, in the words of OpenSSL: Perl programs and CGI scripts know those.

#![forbid(unsafe_code)]

use data_encoding::BASE64;
use x509_parser::asn1_rs::{Any, FromDer as _};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::time::ASN1Time;

mod name;

pub use name::Name;

/// Characters in a line of PEM (RFC 7468 section 2).
const LINE: usize = 64;

/// A certificate, read.
pub struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    /// Reads DER; nothing where it holds anything else than one certificate.
    pub fn parse(der: &'a [u8]) -> Option<Self> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Some(Certificate(certificate)),
            _ => None,
        }
    }

    /// Whom it is for.
    pub fn subject(&self) -> Name<'_> {
        Name::new(self.0.subject())
    }

    /// Who has signed it.
    pub fn issuer(&self) -> Name<'_> {
        Name::new(self.0.issuer())
    }

    /// The serial number in hexadecimal digits, as i2a_ASN1_INTEGER writes it.
    pub fn serial(&self) -> String {
        let digits = format!("{:X}", self.0.serial);
        let pad = if digits.len() % 2 == 1 { "0" } else { "" };
        format!("{pad}{digits}")
    }

    /// When it begins to be valid, as ASN1_TIME_print writes it.
    pub fn not_before(&self) -> String {
        time(self.0.validity().not_before)
    }

    /// When it ends to be valid.
    pub fn not_after(&self) -> String {
        time(self.0.validity().not_after)
    }

    /// Other names of its owner (RFC 5280 section 4.2.1.6): tag of the kind, and the value as Net::SSLeay's
    /// X509_get_subjectAltNames gives it. Kinds that have no text are left out.
    pub fn alt_names(&self) -> Vec<(u8, Vec<u8>)> {
        let mut names = Vec::new();
        for extension in self.0.extensions() {
            if let ParsedExtension::SubjectAlternativeName(alternative) =
                extension.parsed_extension()
            {
                names.extend(alternative.general_names.iter().filter_map(alt_name));
            }
        }
        names
    }
}

fn alt_name(name: &GeneralName<'_>) -> Option<(u8, Vec<u8>)> {
    Some(match name {
        GeneralName::OtherName(_, rest) => (0, content(content(rest)?)?.to_vec()),
        GeneralName::RFC822Name(text) => (1, text.as_bytes().to_vec()),
        GeneralName::DNSName(text) => (2, text.as_bytes().to_vec()),
        GeneralName::DirectoryName(name) => (4, Name::new(name).oneline().into_bytes()),
        GeneralName::URI(text) => (6, text.as_bytes().to_vec()),
        GeneralName::IPAddress(bytes) => (7, bytes.to_vec()),
        GeneralName::RegisteredID(oid) => (8, oid.to_id_string().into_bytes()),
        // The three texts in another character set than theirs.
        GeneralName::Invalid(tag, bytes) if matches!(tag.0, 1 | 2 | 6) => {
            (tag.0 as u8, bytes.to_vec())
        }
        _ => return None,
    })
}

/// What stands in the first element of `der`.
fn content(der: &[u8]) -> Option<&[u8]> {
    Any::from_der(der).ok().map(|(_, any)| any.data)
}

fn time(time: ASN1Time) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let time = time.to_datetime();
    format!(
        "{} {:2} {:02}:{:02}:{:02} {} GMT",
        MONTHS[usize::from(u8::from(time.month()) - 1)],
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.year()
    )
}

/// A certificate in PEM (RFC 7468), as OpenSSL writes it.
pub fn pem(der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let mut text = String::with_capacity(base64.len() + base64.len() / LINE + 64);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    for start in (0..base64.len()).step_by(LINE) {
        text.push_str(&base64[start..base64.len().min(start + LINE)]);
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests;
