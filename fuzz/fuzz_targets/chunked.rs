//! Hands libFuzzer's bytes to the check of `chunked`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gepok_fuzz::chunked::check(data));
