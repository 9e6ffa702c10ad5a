//! One step as plain data: all that a rank needs to know.

use serde::{Deserialize, Serialize};

use crate::ops::{Pick, Rows};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepPlan {
    /// Token id of each row.
    pub tokens: Vec<u32>,
    pub rows: Rows,
    /// Rows whose logits are wanted.
    pub logit_rows: Vec<u32>,
    /// What to draw from each of them.
    pub picks: Vec<Pick>,
    /// Devices that run behind the host time it.
    pub timed: bool,
}

impl StepPlan {
    /// Keeps the buffers.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.rows.clear();
        self.logit_rows.clear();
        self.picks.clear();
        self.timed = false;
    }
}
