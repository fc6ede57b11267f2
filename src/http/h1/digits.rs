//! Numbers as bytes of a message.

const CRLF: &[u8] = b"\r\n";

/// A chunk's size line: up to 16 hexadecimal digits and CRLF.
#[derive(Clone, Copy, Debug)]
pub struct ChunkSize {
    bytes: [u8; 18],
    start: u8,
}

impl ChunkSize {
    /// No size line at all.
    pub const EMPTY: ChunkSize = ChunkSize {
        bytes: [0; 18],
        start: 18,
    };

    /// The line before a chunk of `size` bytes, which must not be 0.
    pub fn new(size: u64) -> Self {
        debug_assert!(size > 0);
        let mut line = Self::EMPTY;
        line.bytes[16..].copy_from_slice(CRLF);
        line.start = 16;
        let mut rest = size;
        while rest > 0 {
            line.start -= 1;
            line.bytes[usize::from(line.start)] = b"0123456789abcdef"[(rest & 15) as usize];
            rest >>= 4;
        }
        line
    }

    /// The line's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

/// A number's decimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    bytes: [u8; 20],
    start: usize,
}

impl Decimal {
    /// The digits of `number`.
    pub fn new(number: u64) -> Self {
        let mut digits = Decimal {
            bytes: [b'0'; 20],
            start: 20,
        };
        let mut rest = number;
        loop {
            digits.start -= 1;
            digits.bytes[digits.start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                return digits;
            }
        }
    }

    /// The digits' bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (number, decimal, hex) in [
            (1, "1", "1\r\n"),
            (9, "9", "9\r\n"),
            (10, "10", "a\r\n"),
            (255, "255", "ff\r\n"),
            (256, "256", "100\r\n"),
            (65536, "65536", "10000\r\n"),
            (u64::MAX, "18446744073709551615", "ffffffffffffffff\r\n"),
        ] {
            assert_eq!(Decimal::new(number).as_bytes(), decimal.as_bytes());
            assert_eq!(ChunkSize::new(number).as_bytes(), hex.as_bytes());
        }
        assert_eq!(Decimal::new(0).as_bytes(), b"0");
        assert_eq!(ChunkSize::EMPTY.as_bytes(), b"");
    }
}
