//! libFuzzer's way into `teale_fuzz::targets::lan_greeting`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| teale_fuzz::targets::lan_greeting::run(data));
