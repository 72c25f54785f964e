//! libFuzzer's way into `teale_fuzz::targets::cluster_core`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| teale_fuzz::targets::cluster_core::run(data));
