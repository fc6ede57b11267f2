//! Request targets: their parts are parts of them, paths are decoded once, hosts are hosts.

use gepok::semantics::field::Fields;
use gepok::semantics::target::{Form, Target, TargetError, decode_path};

/// `method SP target`, then on each further line the value of a Host field.
pub fn check(data: &[u8]) {
    let mut lines = data.split(|&b| b == b'\n');
    let first = lines.next().unwrap_or_default();
    let fields = Fields::from_pairs(lines.map(|value| ("Host", value)));
    let space = first.iter().position(|&b| b == b' ').unwrap_or(first.len());
    let method = &first[..space];
    let bytes = first.get(space + 1..).unwrap_or_default();

    check_decoding(bytes);
    let Ok(target) = Target::parse(method, bytes) else {
        return;
    };
    for part in [
        target.path,
        target.query,
        target.authority.unwrap_or_default(),
    ] {
        // The path that stands for none is not the client's.
        let implied = target.form == Form::Absolute && part == b"/";
        assert!(implied || part.is_empty() || bytes.windows(part.len()).any(|at| at == part));
    }
    assert!(!target.path.iter().any(|b| b"?#".contains(b)) && !target.query.contains(&b'#'));
    match target.form {
        Form::Origin => assert!(target.path.starts_with(b"/") && target.authority.is_none()),
        Form::Absolute => {
            assert!(
                target.path.starts_with(b"/") || (target.path.is_empty() && method == b"OPTIONS")
            );
            assert!(
                target
                    .authority
                    .is_some_and(|authority| !authority.is_empty())
            );
        }
        Form::Authority => assert!(method == b"CONNECT" && target.authority == Some(bytes)),
        Form::Asterisk => assert!(method == b"OPTIONS" && bytes == b"*"),
    }
    check_decoding(target.path);

    match target.host(&fields) {
        Ok(host) => check_host(host, &target, &fields),
        Err(TargetError::HostRepeated) => assert!(fields.len() > 1),
        Err(error) => assert_eq!(error, TargetError::Host),
    }
}

fn check_host(host: Option<&[u8]>, target: &Target<'_>, fields: &Fields) {
    assert!(fields.len() <= 1);
    assert_eq!(host, target.authority.or(fields.first("host")));
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        return;
    };
    assert!(
        !host
            .iter()
            .any(|b| b.is_ascii_control() || b" ,/?#@\\".contains(b) || !b.is_ascii())
    );
    // What may stand in a Host field may stand in a URI, but that a URI's host is not empty.
    let uri = [b"http://", host, b"/"].concat();
    let parsed = Target::parse(b"GET", &uri).map(|target| target.authority);
    assert!(host.starts_with(b":") || parsed == Ok(Some(host)));
}

/// Compares with a decoder that goes from the left, byte by byte.
fn check_decoding(raw: &[u8]) {
    let decoded = decode_path(raw);
    assert_eq!(decoded.as_deref(), plainly_decoded(raw).as_deref());
    let Ok(decoded) = decoded else {
        return;
    };
    let encoded: String = decoded.iter().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(
        decode_path(encoded.as_bytes()),
        Ok(decoded),
        "encoding is not undone"
    );
}

fn plainly_decoded(raw: &[u8]) -> Result<Vec<u8>, TargetError> {
    if raw.contains(&0) {
        return Err(TargetError::Nul);
    }
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let mut byte = raw[at];
        at += 1;
        if byte == b'%' {
            let digits = raw
                .get(at..at + 2)
                .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
            let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
            byte = digits
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .ok_or(TargetError::PercentEncoding)?;
            at += 2;
        }
        if byte == 0 {
            return Err(TargetError::Nul);
        }
        decoded.push(byte);
    }
    Ok(decoded)
}
