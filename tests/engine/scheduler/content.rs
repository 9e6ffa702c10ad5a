//! What a KV slot holds: a hash of all tokens up to its own, from which the next token is drawn.

/// Small, so that random prompts and outputs share prefixes.
const VOCABULARY: u64 = 12;
/// Drawn now and then: the request ends early.
pub const END_TOKEN: u32 = 4;

fn extend_hash(hash: u64, token: u32) -> u64 {
    (hash ^ u64::from(token + 1))
        .wrapping_mul(0x0000_0100_0000_01b3)
        .rotate_left(23)
}

/// Hash of `tokens[..=i]` for each i.
pub fn prefix_hashes(tokens: &[u32]) -> Vec<u64> {
    tokens
        .iter()
        .scan(0xcbf2_9ce4_8422_2325, |hash, &token| {
            *hash = extend_hash(*hash, token);
            Some(*hash)
        })
        .collect()
}

pub fn draw(hash: u64) -> u32 {
    ((hash >> 20) % VOCABULARY) as u32
}

/// The output that a request must have, whatever ran beside it.
pub fn reference_output(prompt: &[u32], max_tokens: usize) -> Vec<u32> {
    let mut hash = prefix_hashes(prompt)[prompt.len() - 1];
    let mut output = Vec::new();
    while output.len() < max_tokens && output.last() != Some(&END_TOKEN) {
        let token = draw(hash);
        output.push(token);
        hash = extend_hash(hash, token);
    }
    output
}
