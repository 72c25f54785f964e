//! libFuzzer's way into `teale_fuzz::targets::telehash_v1`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| teale_fuzz::targets::telehash_v1::run(data));
