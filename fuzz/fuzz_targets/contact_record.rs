//! libFuzzer's way into `teale_fuzz::targets::contact_record`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| teale_fuzz::targets::contact_record::run(data));
