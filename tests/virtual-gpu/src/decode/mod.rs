//! From PTX statements to a kernel that can be run. Each opcode is decided here, once.

mod arithmetic;
mod bits;
mod compare;
mod control;
mod convert;
mod convert_float;
mod float;
mod half;
mod integer;
mod matrix;
mod memory;
mod moves;
mod opcode;
mod operands;
mod scope;
mod warp;

use std::collections::HashMap;

use crate::exec::kernel::{Action, Guard, Instruction, Kernel, Special};
use crate::exec::registers::Slot;
use crate::ptx::{
    self, Function, Module, Operand, PtxError, Space, Statement, Type, Variable, parse_body,
};
use opcode::Opcode;
use scope::{Name, Scope, rows};

/// Holds the carry of `add.cc` and its kin.
const CARRY: Slot = 0;
/// Functions may call functions, but not without end.
const DEEPEST_CALL: usize = 16;

/// The function of a module, ready to run. `addresses` says where the module's variables were placed.
pub fn lower(
    module: &Module,
    name: &str,
    addresses: &HashMap<String, u64>,
) -> Result<Kernel, PtxError> {
    let function = module.functions.get(name).filter(|f| f.entry);
    let function =
        function.ok_or_else(|| PtxError::new(0, format!("there is no kernel `{name}`")))?;
    let lowering = Lowering {
        module,
        addresses,
        scopes: Vec::new(),
        code: Vec::new(),
        rows: 0,
        predicates: CARRY + 1,
        constants: Vec::new(),
        constant_slots: HashMap::new(),
        specials: HashMap::new(),
        shared: HashMap::new(),
        shared_bytes: 0,
        shared_align: 1,
        dynamic: Vec::new(),
        local_bytes: 0,
        depth: 0,
        guard: Guard::Always,
    };
    lowering.entry(function)
}

pub struct Lowering<'a> {
    module: &'a Module,
    addresses: &'a HashMap<String, u64>,
    scopes: Vec<Scope<'a>>,
    code: Vec<Instruction>,
    rows: u32,
    predicates: u32,
    constants: Vec<(Slot, bool, u64)>,
    constant_slots: HashMap<(bool, u64), Slot>,
    specials: HashMap<Special, Slot>,
    /// The module's shared variables that this kernel uses.
    shared: HashMap<&'a str, u64>,
    shared_bytes: usize,
    shared_align: usize,
    /// Constants (by index) that hold the start of dynamic shared memory, and what to add.
    dynamic: Vec<(usize, u64)>,
    local_bytes: usize,
    depth: usize,
    /// Of the instruction at hand.
    guard: Guard,
}

impl<'a> Lowering<'a> {
    fn entry(mut self, function: &'a Function) -> Result<Kernel, PtxError> {
        let mut scope = Scope {
            function: true,
            ..Scope::default()
        };
        let mut params = Vec::new();
        let mut top = 0usize;
        for param in &function.params {
            top = top.next_multiple_of(param.align);
            scope
                .names
                .insert(param.name.clone(), Name::Param(top as u64));
            params.push((top, param.bytes));
            top += param.bytes;
        }
        self.scopes.push(scope);
        self.body(function)?;
        self.emit(Action::Exit, Guard::Always, 0);
        self.close()?;
        let dynamic_start = self.shared_bytes.next_multiple_of(self.shared_align);
        if !self.dynamic.is_empty() {
            self.shared_bytes = dynamic_start;
        }
        for (index, extra) in self.dynamic {
            self.constants[index].2 = (dynamic_start as u64).wrapping_add(extra);
        }
        Ok(Kernel {
            name: function.name.clone(),
            code: self.code,
            rows: self.rows as usize,
            predicates: self.predicates as usize,
            constants: self.constants,
            specials: self.specials.into_iter().collect(),
            shared_bytes: self.shared_bytes,
            local_bytes: self.local_bytes,
            params,
            max_threads: function.max_threads,
        })
    }

    fn body(&mut self, function: &'a Function) -> Result<(), PtxError> {
        let Some(body) = &function.body else {
            return Err(PtxError::new(
                0,
                format!("function `{}` has no body here", function.name),
            ));
        };
        for statement in parse_body(&self.module.text, body)? {
            self.statement(statement)?;
        }
        Ok(())
    }

    fn statement(&mut self, statement: Statement<'a>) -> Result<(), PtxError> {
        match statement {
            Statement::Open => self.scopes.push(Scope::default()),
            Statement::Close => self.close()?,
            Statement::Label(name) => {
                let here = self.code.len();
                self.scope().labels.insert(name, here);
            }
            Statement::Registers(ty, names) => self.registers(ty, names),
            Statement::Variables(variables) => {
                for variable in variables {
                    self.variable(variable)?;
                }
            }
            Statement::Instruction(instruction) => self.instruction(&instruction)?,
        }
        Ok(())
    }

    fn scope(&mut self) -> &mut Scope<'a> {
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// Ends a block: branches to its labels are settled, others belong to the block around it.
    fn close(&mut self) -> Result<(), PtxError> {
        let Some(scope) = self.scopes.pop() else {
            return Err(PtxError::new(0, "a block ends that never began"));
        };
        for (index, label, line) in scope.open {
            if let Some(target) = scope.labels.get(label) {
                self.code[index].action = Action::Branch(*target);
            } else if !scope.function && !self.scopes.is_empty() {
                self.scope().open.push((index, label, line));
            } else {
                return Err(PtxError::new(line, format!("there is no label `{label}`")));
            }
        }
        Ok(())
    }

    /// A new register's slot.
    fn row(&mut self, count: u32) -> Slot {
        let first = self.rows.next_multiple_of(count.clamp(1, 2));
        self.rows = first + count;
        first
    }

    fn registers(&mut self, ty: Type, names: Vec<(&'a str, Option<u32>)>) {
        for (name, count) in names {
            let total = count.unwrap_or(1);
            let first = if ty == Type::Pred {
                self.predicates += total;
                self.predicates - total
            } else {
                self.rows = self.rows.next_multiple_of(rows(ty));
                self.rows += total * rows(ty);
                self.rows - total * rows(ty)
            };
            let scope = self.scope();
            match count {
                Some(count) => scope.range(name, ty, first, count),
                None => {
                    let known = if ty == Type::Pred {
                        Name::Predicate(first)
                    } else {
                        Name::Register(first, ty)
                    };
                    scope.names.insert(name.to_owned(), known);
                }
            }
        }
    }

    fn variable(&mut self, variable: Variable) -> Result<(), PtxError> {
        let known = match variable.space {
            Space::Shared => Name::Shared(self.place_shared(variable.bytes, variable.align)),
            Space::Local | Space::Param => {
                let at = self.local_bytes.next_multiple_of(variable.align.max(1));
                self.local_bytes = at + variable.bytes;
                Name::Local(at as u64)
            }
            Space::Global | Space::Const => {
                return Err(PtxError::new(
                    0,
                    format!(
                        "`{}`: device variables inside a function are not supported",
                        variable.name
                    ),
                ));
            }
        };
        self.scope().names.insert(variable.name, known);
        Ok(())
    }

    fn place_shared(&mut self, bytes: usize, align: usize) -> u64 {
        let at = self.shared_bytes.next_multiple_of(align.max(1));
        self.shared_bytes = at + bytes;
        at as u64
    }

    fn emit(&mut self, action: Action, guard: Guard, line: u32) {
        self.code.push(Instruction {
            action,
            guard,
            line,
        });
    }

    fn instruction(&mut self, instruction: &ptx::Instruction<'a>) -> Result<(), PtxError> {
        let line = instruction.line;
        let guard = match instruction.guard {
            None => Guard::Always,
            Some((name, negated)) => {
                let slot = self.predicate(&Operand::Name(name), line)?;
                if negated {
                    Guard::Unless(slot)
                } else {
                    Guard::If(slot)
                }
            }
        };
        self.guard = guard;
        let mut opcode = Opcode::new(instruction.opcode, line);
        let operands = &instruction.operands;
        if self.control(&mut opcode, operands, guard)? {
            return Ok(());
        }
        let action = match opcode.base {
            "mov" | "cvta" | "selp" | "isspacep" => self.moves(&mut opcode, operands)?,
            "ld" | "ldu" | "st" | "prefetch" | "prefetchu" | "discard" | "applypriority" => {
                self.memory(&mut opcode, operands)?
            }
            "atom" | "red" => self.atomic(&mut opcode, operands)?,
            "setp" | "set" => self.compare(&mut opcode, operands)?,
            "cvt" => self.convert(&mut opcode, operands)?,
            "shfl" | "vote" | "activemask" | "match" | "redux" | "bar" | "barrier" => {
                self.warp(&mut opcode, operands)?
            }
            "ldmatrix" | "mma" | "cp" => self.matrix(&mut opcode, operands)?,
            _ => self.arithmetic(&mut opcode, operands)?,
        };
        opcode.finish()?;
        self.emit(action, guard, line);
        Ok(())
    }
}
