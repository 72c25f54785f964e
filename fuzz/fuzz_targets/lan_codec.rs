//! libFuzzer's way into `teale_fuzz::targets::lan_codec`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| teale_fuzz::targets::lan_codec::run(data));
