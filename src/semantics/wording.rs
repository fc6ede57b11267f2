//! Sentences for people.

use std::borrow::Cow;

/// The text without the numbers that std puts after the system's words for an error, as in `(os error 98)`.
pub fn plain(text: &str) -> Cow<'_, str> {
    const BEFORE: &str = " (os error ";
    let mut parts = text.split(BEFORE);
    let first = parts.next().unwrap_or_default();
    let mut plain = Cow::Borrowed(first);
    for part in parts {
        let rest = part.split_once(')').filter(|(number, _)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        let plain = plain.to_mut();
        match rest {
            Some((_, rest)) => plain.push_str(rest),
            None => {
                plain.push_str(BEFORE);
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_errors_are_left_out() {
        let error = std::io::Error::from_raw_os_error(libc::EADDRINUSE);
        assert_eq!(plain(&error.to_string()), "Address already in use");
        assert_eq!(
            plain(&format!("a: {error}: {error}.")),
            "a: Address already in use: Address already in use."
        );
        for same in [
            "",
            "nothing",
            " (os error ",
            "x (os error x)",
            "x (os error )",
        ] {
            assert_eq!(plain(same), same);
        }
    }
}
