//! Instructions of a warp or block together.

use super::{Lowering, Opcode};
use crate::exec::atomic::Operation;
use crate::exec::barrier::{BarrierForm, Reduce};
use crate::exec::exchange::{Exchange, Kind, Poll, Shuffle, Vote};
use crate::exec::kernel::Action;
use crate::ptx::{Operand, PtxError, Type};

impl<'a> Lowering<'a> {
    pub fn warp(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        match opcode.base {
            "shfl" => self.shuffle(opcode, operands),
            "match" => self.matching(opcode, operands),
            "redux" => self.redux(opcode, operands),
            "vote" => self.vote(opcode, operands),
            "activemask" => {
                Self::count(opcode, operands, 1)?;
                let result = self.destination(&operands[0], Type::B32, opcode.line)?;
                Ok(Action::Vote(Box::new(Vote {
                    poll: Poll::Active,
                    result,
                    source: 0,
                    negated: false,
                    mask: None,
                })))
            }
            _ => self.barrier(opcode, operands),
        }
    }

    /// A result, and the predicate beside it.
    fn pair(&mut self, operand: &Operand<'a>, line: u32) -> Result<(u32, Option<u32>), PtxError> {
        Ok(match operand {
            Operand::Pair(d, p) => {
                let d = self.destination(&Operand::Name(d), Type::B32, line)?;
                (d, Some(self.predicate(&Operand::Name(p), line)?))
            }
            d => (self.destination(d, Type::B32, line)?, None),
        })
    }

    fn shuffle(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let line = opcode.line;
        if !opcode.take("sync") {
            return Err(opcode.unknown("shuffles without .sync"));
        }
        let how = opcode.pick(|m| {
            Some(match m {
                "up" => Shuffle::Up,
                "down" => Shuffle::Down,
                "bfly" => Shuffle::Butterfly,
                "idx" => Shuffle::Index,
                _ => return None,
            })
        });
        let how = how.ok_or_else(|| opcode.unknown("its mode is missing"))?;
        Self::count(opcode, operands, 5)?;
        let (result, predicate) = self.pair(&operands[0], line)?;
        let mut source = [0; 4];
        for (slot, operand) in source.iter_mut().zip(&operands[1..]) {
            *slot = self.source(operand, Type::B32, line)?;
        }
        let [a, b, c, mask] = source;
        let form = Exchange {
            kind: Kind::Shuffle(how),
            result,
            predicate,
            a,
            b,
            c,
            wide: false,
            mask: Some(mask),
        };
        Ok(Action::Exchange(Box::new(form)))
    }

    fn matching(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let line = opcode.line;
        opcode.take("sync");
        let kind = if opcode.take("all") {
            Kind::MatchAll
        } else {
            Kind::MatchAny
        };
        opcode.take("any");
        Self::count(opcode, operands, 3)?;
        let ty = opcode.ty()?;
        let (result, predicate) = self.pair(&operands[0], line)?;
        let a = self.source(&operands[1], ty, line)?;
        let mask = Some(self.source(&operands[2], Type::B32, line)?);
        Ok(Action::Exchange(Box::new(Exchange {
            kind,
            result,
            predicate,
            a,
            b: a,
            c: a,
            wide: ty.bytes() == 8,
            mask,
        })))
    }

    fn redux(&mut self, opcode: &mut Opcode, operands: &[Operand<'a>]) -> Result<Action, PtxError> {
        let line = opcode.line;
        opcode.take("sync");
        let operation = opcode.pick(Operation::reduction);
        let operation = operation.ok_or_else(|| opcode.unknown("its operation is missing"))?;
        let ty = opcode.ty()?;
        if ty.bytes() != 4 || ty.float() {
            return Err(opcode.unknown("no such type"));
        }
        Self::count(opcode, operands, 3)?;
        let result = self.destination(&operands[0], ty, line)?;
        let a = self.source(&operands[1], ty, line)?;
        let mask = Some(self.source(&operands[2], Type::B32, line)?);
        let kind = Kind::Reduce(operation, ty);
        Ok(Action::Exchange(Box::new(Exchange {
            kind,
            result,
            predicate: None,
            a,
            b: a,
            c: a,
            wide: false,
            mask,
        })))
    }

    fn vote(&mut self, opcode: &mut Opcode, operands: &[Operand<'a>]) -> Result<Action, PtxError> {
        let line = opcode.line;
        if !opcode.take("sync") {
            return Err(opcode.unknown("votes without .sync"));
        }
        let poll = opcode.pick(|m| {
            Some(match m {
                "all" => Poll::All,
                "any" => Poll::Any,
                "uni" => Poll::Uniform,
                "ballot" => Poll::Ballot,
                _ => return None,
            })
        });
        let poll = poll.ok_or_else(|| opcode.unknown("its mode is missing"))?;
        Self::count(opcode, operands, 3)?;
        let result = if poll == Poll::Ballot {
            self.destination(&operands[0], Type::B32, line)?
        } else {
            self.predicate(&operands[0], line)?
        };
        let (source, negated) = self.condition(&operands[1], line)?;
        let mask = Some(self.source(&operands[2], Type::B32, line)?);
        Ok(Action::Vote(Box::new(Vote {
            poll,
            result,
            source,
            negated,
            mask,
        })))
    }

    fn barrier(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let line = opcode.line;
        if opcode.take("warp") {
            opcode.take("sync");
            Self::count(opcode, operands, 1)?;
            return Ok(Action::WarpBarrier(self.source(
                &operands[0],
                Type::B32,
                line,
            )?));
        }
        if opcode.take("cluster") {
            return Err(opcode.unknown("clusters"));
        }
        opcode.take("cta");
        opcode.take("aligned");
        let arrive = opcode.take("arrive");
        let reduce = opcode.take("red");
        if !arrive && !reduce && !opcode.take("sync") {
            return Err(opcode.unknown("its action is missing"));
        }
        let mut form = BarrierForm {
            id: 0,
            threads: None,
            waits: !arrive,
            reduce: None,
        };
        let mut rest = operands;
        if reduce {
            let how = opcode.pick(|m| {
                Some(match m {
                    "popc" => Reduce::Count,
                    "and" => Reduce::All,
                    "or" => Reduce::Any,
                    _ => return None,
                })
            });
            let how = how.ok_or_else(|| opcode.unknown("its operation is missing"))?;
            let [d, middle @ .., p] = operands else {
                return Err(opcode.unknown("its operands"));
            };
            let (predicate, negated) = self.condition(p, line)?;
            let result = if how == Reduce::Count {
                self.destination(d, Type::U32, line)?
            } else {
                self.predicate(d, line)?
            };
            form.reduce = Some((how, predicate, negated, result));
            rest = middle;
        }
        match rest {
            [id] if !arrive => form.id = self.source(id, Type::U32, line)?,
            [id, count] => {
                form.id = self.source(id, Type::U32, line)?;
                form.threads = Some(self.source(count, Type::U32, line)?);
            }
            _ => return Err(opcode.unknown("its operands")),
        }
        Ok(Action::Barrier(Box::new(form)))
    }
}
