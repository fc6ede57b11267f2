//! Hands libFuzzer's bytes to the check of `http2`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gepok_fuzz::http2::check(data));
