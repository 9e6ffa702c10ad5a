//! Branches, calls and returns. A function that is called is laid out in the caller's place.

use super::scope::{Name, Scope};
use super::{DEEPEST_CALL, Lowering, Opcode};
use crate::exec::kernel::{Action, Guard};
use crate::exec::order::Order;
use crate::ptx::{Operand, PtxError};

/// The end of a function that was called: `ret` goes there. No PTX label looks like this.
const RETURN: &str = "";

impl<'a> Lowering<'a> {
    /// Handles what moves control; false if the opcode does not.
    pub fn control(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
        guard: Guard,
    ) -> Result<bool, PtxError> {
        let line = opcode.line;
        let action = match opcode.base {
            "bra" => {
                opcode.take("uni");
                let [Operand::Name(label)] = operands else {
                    return Err(opcode.unknown("its target is no label"));
                };
                let at = self.code.len();
                self.scope().open.push((at, label, line));
                Action::Branch(usize::MAX)
            }
            "ret" if self.depth > 0 => {
                opcode.take("uni");
                let at = self.code.len();
                self.scope().open.push((at, RETURN, line));
                Action::Branch(usize::MAX)
            }
            "ret" | "exit" => {
                opcode.take("uni");
                Action::Exit
            }
            "trap" | "brkpt" => Action::Trap,
            "membar" | "fence" => {
                // Between ways to memory, of which there is one here.
                if opcode.take("proxy") {
                    for known in ["async", "alias"] {
                        opcode.take(known);
                    }
                    Action::Nothing
                } else {
                    let order = super::memory::order(opcode, Order::FENCE);
                    // One half alone is a form of newer PTX.
                    Action::Fence(Order {
                        acquires: true,
                        releases: true,
                        ..order
                    })
                }
            }
            "nanosleep" => Action::Sleep,
            "griddepcontrol" => {
                let waits = opcode.take("wait");
                opcode.take("launch_dependents");
                if waits {
                    Action::AwaitFront
                } else {
                    Action::Nothing
                }
            }
            "pragma" => Action::Nothing,
            "call" => {
                opcode.take("uni");
                opcode.finish()?;
                self.call(opcode, operands, guard)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        opcode.finish()?;
        self.emit(action, guard, line);
        Ok(true)
    }

    fn call(
        &mut self,
        opcode: &Opcode,
        operands: &[Operand<'a>],
        guard: Guard,
    ) -> Result<(), PtxError> {
        let line = opcode.line;
        let none: &[Operand] = &[];
        let (returns, name, arguments) = match operands {
            [
                Operand::Group(returns),
                Operand::Name(name),
                Operand::Group(arguments),
            ] => (&returns[..], *name, &arguments[..]),
            [Operand::Group(returns), Operand::Name(name)] => (&returns[..], *name, none),
            [Operand::Name(name), Operand::Group(arguments)] => (none, *name, &arguments[..]),
            [Operand::Name(name)] => (none, *name, none),
            _ => return Err(opcode.unknown("calls through a register")),
        };
        match name {
            "__assertfail" => {
                let Some(Name::Local(at)) = arguments.first().and_then(|a| self.named(a)) else {
                    return Err(opcode.unknown("its parameters"));
                };
                self.emit(Action::Assert(at), guard, line);
                return Ok(());
            }
            "vprintf" => {
                self.emit(Action::Print, guard, line);
                return Ok(());
            }
            _ => {}
        }
        let module = self.module;
        let function = module
            .functions
            .get(name)
            .filter(|f| !f.entry && f.body.is_some());
        let function = function
            .ok_or_else(|| PtxError::new(line, format!("there is no function `{name}` to call")))?;
        if self.depth >= DEEPEST_CALL {
            return Err(PtxError::new(
                line,
                format!(
                    "`{name}`: calls deeper than {DEEPEST_CALL}, or a function that calls itself"
                ),
            ));
        }
        let mut scope = Scope {
            function: true,
            ..Scope::default()
        };
        for (params, values) in [(&function.returns, returns), (&function.params, arguments)] {
            if params.len() != values.len() {
                return Err(PtxError::new(
                    line,
                    format!(
                        "`{name}` takes {} parameters, not {}",
                        params.len(),
                        values.len()
                    ),
                ));
            }
            for (param, value) in params.iter().zip(values) {
                let known = self.named(value).filter(|n| matches!(n, Name::Local(_)));
                let known = known.ok_or_else(|| {
                    PtxError::new(
                        line,
                        format!("a parameter of `{name}` is not a .param variable"),
                    )
                })?;
                scope.names.insert(param.name.clone(), known);
            }
        }
        // Lanes that the guard holds back go around the whole function.
        let around = match guard {
            Guard::Always => None,
            Guard::If(slot) => Some(Guard::Unless(slot)),
            Guard::Unless(slot) => Some(Guard::If(slot)),
        };
        let skip = self.code.len();
        if let Some(guard) = around {
            self.emit(Action::Branch(usize::MAX), guard, line);
        }
        self.scopes.push(scope);
        self.depth += 1;
        self.body(function)?;
        self.depth -= 1;
        let end = self.code.len();
        self.scope().labels.insert(RETURN, end);
        self.close()?;
        if around.is_some() {
            self.code[skip].action = Action::Branch(end);
        }
        // The end may be a target: there must be an instruction.
        self.emit(Action::Nothing, Guard::Always, line);
        Ok(())
    }

    fn named(&mut self, operand: &Operand<'a>) -> Option<Name> {
        match operand {
            Operand::Name(name) => self.find(name),
            _ => None,
        }
    }
}
