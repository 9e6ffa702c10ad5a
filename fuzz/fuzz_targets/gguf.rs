#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| candlepower_fuzz::gguf(data));
