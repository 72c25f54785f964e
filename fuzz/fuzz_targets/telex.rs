//! libFuzzer's way into `teale_fuzz::targets::telex`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| teale_fuzz::targets::telex::run(data));
