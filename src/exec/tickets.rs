//! Steps that were submitted, and their outputs until they are waited for.

use super::{ExecError, StepOutput, Ticket};

/// For executors whose steps are done when they have been submitted.
#[derive(Default)]
pub struct Tickets {
    issued: u64,
    /// The step that was submitted and not waited for.
    open: Option<u64>,
    output: StepOutput,
}

impl Tickets {
    /// Runs a step, which overwrites the output.
    pub fn issue(
        &mut self,
        step: impl FnOnce(&mut StepOutput) -> Result<(), ExecError>,
    ) -> Result<Ticket, ExecError> {
        step(&mut self.output)?;
        self.issued += 1;
        self.open = Some(self.issued);
        Ok(Ticket(self.issued))
    }

    /// For a step whose output is still to come: [`Self::redeem`] knows nothing of it.
    pub fn number(&mut self) -> u64 {
        self.issued += 1;
        self.issued
    }

    /// Hands the output over; the caller's buffer serves the next step.
    pub fn redeem(&mut self, ticket: Ticket, output: &mut StepOutput) -> Result<(), ExecError> {
        if self.open.take_if(|open| *open == ticket.0).is_none() {
            return Err(ExecError::Ticket(ticket.0));
        }
        std::mem::swap(&mut self.output, output);
        Ok(())
    }
}
