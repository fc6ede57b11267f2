//! Hands libFuzzer's bytes to the check of `proxy_header`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gepok_fuzz::proxy_header::check(data));
