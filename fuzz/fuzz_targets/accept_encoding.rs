//! Hands libFuzzer's bytes to the check of `accept_encoding`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gepok_fuzz::accept_encoding::check(data));
