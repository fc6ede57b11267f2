//! Hands libFuzzer's bytes to the check of `forwarded`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gepok_fuzz::forwarded::check(data));
