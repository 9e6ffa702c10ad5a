use super::*;

/// A header in its making.
#[derive(Default)]
struct Written(Vec<u8>);

impl Written {
    fn start(tensors: u64, values: u64) -> Self {
        let mut written = Self(b"GGUF".to_vec());
        written.0.extend(3_u32.to_le_bytes());
        written.0.extend(tensors.to_le_bytes());
        written.0.extend(values.to_le_bytes());
        written
    }

    fn text(mut self, text: &str) -> Self {
        self.0.extend((text.len() as u64).to_le_bytes());
        self.0.extend(text.as_bytes());
        self
    }

    fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn tensor(self, name: &str, shape: &[u64], kind: u32, offset: u64) -> Self {
        let written = self.text(name).u32(shape.len() as u32);
        let written = shape.iter().fold(written, |written, &n| written.u64(n));
        written.u32(kind).u64(offset)
    }

    fn read(&self, data: u64) -> Result<GgufHeader, GgufError> {
        let length = (self.0.len() as u64).next_multiple_of(USUAL_ALIGNMENT) + data;
        read(&self.0[..], length)
    }

    fn fault(&self, data: u64) -> String {
        self.read(data).unwrap_err().to_string()
    }
}

#[test]
fn values_and_tensors_are_read() {
    let written = Written::start(2, 4)
        .text("general.architecture")
        .u32(8)
        .text("llama")
        .text("llama.block_count")
        .u32(4)
        .u32(32)
        .text("llama.attention.head_count_kv")
        .u32(9)
        .u32(4)
        .u64(2)
        .u32(8)
        .u32(0)
        .text("tokenizer.ggml.tokens")
        .u32(9)
        .u32(8)
        .u64(2)
        .text("a")
        .text("b")
        .tensor("token_embd.weight", &[256, 2], 12, 0)
        .tensor("output_norm.weight", &[256], 0, 288);
    let header = written.read(288 + 1024).unwrap();
    let said = |key: &str| header.said[key].clone();
    assert_eq!(said("general.architecture"), Said::Text("llama".to_owned()));
    assert_eq!(said("llama.block_count"), Said::Count(32));
    assert_eq!(
        said("llama.attention.head_count_kv"),
        Said::Counts(vec![8, 0])
    );
    assert_eq!(said("tokenizer.ggml.tokens"), Said::Many(2));
    let sizes: Vec<u64> = header.tensors.iter().map(|tensor| tensor.size).collect();
    assert_eq!(sizes, [288, 1024]);
    assert!(written.fault(288 + 1023).contains("its tensors end at"));
}

#[test]
fn counts_decide_no_allocation_and_no_endless_loop() {
    let most = u64::MAX;
    let list = |kind: u32| Written::start(0, 1).text("a").u32(9).u32(kind).u64(most);
    for (written, part) in [
        (
            Written::start(most, 0),
            "tensors, where 300000 are the most",
        ),
        (Written::start(0, most), "values, where 65536 are the most"),
        (
            Written::start(0, 1).u64(most),
            "a key of 18446744073709551615 bytes",
        ),
        (Written::start(0, 1).text("a").u32(8).u64(most), "cut short"),
        (list(4), "cut short"),
        (list(8), "cut short"),
        (list(99), "unknown type 99"),
        (Written::start(0, 1).text("a").u32(77), "unknown type 77"),
        (
            Written::start(1, 0).text("t").u32(4_000_000_000),
            "dimensions",
        ),
        (
            Written::start(1, 0).tensor("t", &[most, 2], 0, 0),
            "no tensor's shape",
        ),
        (
            Written::start(1, 0).tensor("t", &[32], 4, 0),
            "the unknown type 4",
        ),
        (
            Written::start(1, 0).tensor("t", &[32], 2, most),
            "its tensors end at",
        ),
        (Written(b"GGML".to_vec()), "does not begin with GGUF"),
        (Written(b"GGUF\x01\0\0\0".to_vec()), "version 1"),
        (Written(b"GG".to_vec()), "cut short"),
    ] {
        let message = written.fault(0);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn lists_in_lists_end() {
    let mut written = Written::start(0, 1).text("a").u32(9);
    for _ in 0..100 {
        written = written.u32(9).u64(1);
    }
    assert!(written.fault(0).contains("deep"));
}
