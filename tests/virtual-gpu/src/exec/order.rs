//! How an access is ordered against others, and who is to see that.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    #[default]
    Block,
    Device,
    System,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// `.relaxed` and all above, `.volatile`: it reads what is there now.
    pub strong: bool,
    pub acquires: bool,
    pub releases: bool,
    pub scope: Scope,
}

impl Order {
    /// What atomic operations are without a word.
    pub const ATOMIC: Self = Self {
        strong: true,
        acquires: false,
        releases: false,
        scope: Scope::Device,
    };

    /// A fence with no word for its kind.
    pub const FENCE: Self = Self {
        strong: true,
        acquires: true,
        releases: true,
        scope: Scope::System,
    };

    /// Takes a modifier's meaning in; false if it says nothing of order.
    pub fn take(&mut self, modifier: &str) -> bool {
        match modifier {
            "weak" => {}
            "volatile" | "mmio" => {
                self.strong = true;
                self.scope = Scope::System;
            }
            "relaxed" => self.strong = true,
            "acquire" => (self.strong, self.acquires) = (true, true),
            "release" => (self.strong, self.releases) = (true, true),
            "acq_rel" | "sc" => {
                *self = Self {
                    scope: self.scope,
                    ..Self::FENCE
                }
            }
            // A cluster has one block here.
            "cta" | "cluster" => self.scope = Scope::Block,
            "gpu" | "gl" => self.scope = Scope::Device,
            "sys" => self.scope = Scope::System,
            _ => return false,
        }
        true
    }
}
