//! Hands libFuzzer's bytes to the check of `log_format`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gepok_fuzz::log_format::check(data));
