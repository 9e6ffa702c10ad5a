//! What of a file makes no request, and how that is told.

use std::collections::BTreeSet;

use crate::ground::terminal::listed;

#[derive(Default)]
pub struct LeftOut {
    /// Conversations in which nothing is asked.
    pub unasked: usize,
    /// Of a trace: requests that failed there.
    pub unanswered: usize,
    /// Records beyond the context.
    pub long: usize,
    /// Conversations of which a later turn is.
    pub cut: usize,
    /// That say nothing about a request.
    pub keys: BTreeSet<String>,
}

impl LeftOut {
    /// In sentences that follow the file's name; `longest`: tokens of the context.
    pub fn remarks(&self, longest: usize) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.unasked > 0 {
            remarks.push(format!(
                "{} conversations ask nothing and are left out",
                self.unasked
            ));
        }
        if self.long > 0 {
            remarks.push(format!(
                "{} records are longer than the {longest} positions of the context and are left out",
                self.long
            ));
        }
        if self.cut > 0 {
            remarks.push(format!(
                "{} conversations end before the turn that the {longest} positions of the context do not hold",
                self.cut
            ));
        }
        if self.unanswered > 0 {
            remarks.push(format!(
                "{} records have no answer, so their requests failed, and are left out",
                self.unanswered
            ));
        }
        if !self.keys.is_empty() {
            let keys: Vec<&String> = self.keys.iter().collect();
            remarks.push(format!(
                "the keys {} say nothing about a request and are not used",
                listed(&keys, ", ")
            ));
        }
        remarks
    }
}
