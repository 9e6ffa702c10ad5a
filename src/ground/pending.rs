//! Tokens that are not known yet: a step that is planned before the one before it is done names the token that its
//! pick will draw. The device, which does know, puts it in.

/// No vocabulary reaches this bit.
const PENDING: u32 = 1 << 31;

/// Stands for what pick `index` of the step before draws.
pub fn of(index: usize) -> u32 {
    PENDING | index as u32
}

/// The pick that `token` stands for; `None`: it is a token.
pub fn index(token: u32) -> Option<usize> {
    (token & PENDING != 0).then_some((token & !PENDING) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pick_is_found_again_and_a_token_is_none() {
        assert_eq!(index(of(0)), Some(0));
        assert_eq!(index(of(1023)), Some(1023));
        assert_eq!(index(0), None);
        assert_eq!(index(262_143), None);
    }
}
