//! A compiled template with its guards: steps between its own that go through what it makes and compares.
//!
//! The engine pays fuel for each step and for the bytes that it writes, but what a value holds it cannot see.

use std::collections::BTreeMap;

use minijinja::Error;
use minijinja::machinery::{CodeGenerator, Instruction, Instructions, parse};
use minijinja::syntax::SyntaxConfig;

/// A filter that templates do not know of, but may name without harm.
pub const HOLD: &str = "hold__";
/// Filters that no template can name, as they are no words.
pub const HOLD_WITHIN: &str = "<hold-within>";
pub const REMAINDER: &str = "%";

/// Filters that compare what is deep inside their input.
const COMPARING: [&str; 6] = ["sort", "unique", "groupby", "min", "max", "dictsort"];
/// Filters that make no container.
const SCALAR: [&str; 27] = [
    "abs",
    "attr",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "indent",
    "int",
    "join",
    "last",
    "length",
    "lower",
    "pprint",
    "replace",
    "round",
    "safe",
    "string",
    "title",
    "tojson",
    "trim",
    "upper",
];
/// No place is kept for the filter between calls.
const NOT_CACHED: u8 = u8::MAX;

pub struct Program<'s> {
    pub main: Instructions<'s>,
    pub blocks: BTreeMap<&'s str, Instructions<'s>>,
}

/// # Errors
/// The template is malformed.
pub fn compile<'s>(
    source: &'s str,
    file: &'s str,
    syntax: SyntaxConfig,
) -> Result<Program<'s>, Error> {
    let tree = parse(source, file, syntax)?;
    let mut generator = CodeGenerator::new(file, source);
    generator.compile_stmt(&tree);
    let (main, blocks) = generator.finish();
    let blocks = blocks.into_iter();
    Ok(Program {
        main: guarded(&main),
        blocks: blocks
            .map(|(name, block)| (name, guarded(&block)))
            .collect(),
    })
}

fn guarded<'s>(plain: &Instructions<'s>) -> Instructions<'s> {
    let steps: Vec<_> = (0..).map_while(|at| plain.get(at)).collect();
    // Where each step begins among the guarded ones, and where the last one ends: what jumps go by.
    let mut starts = Vec::with_capacity(steps.len() + 1);
    let mut count = 0;
    for at in 0..steps.len() {
        starts.push(count);
        count += 1 + (before(&steps, at).len() + after(steps[at]).len()) as u32;
    }
    starts.push(count);
    let mut guarded = Instructions::new(plain.name(), plain.source());
    for (at, step) in steps.iter().enumerate() {
        let own = std::iter::once(moved(step, &starts));
        let all = before(&steps, at).into_iter().chain(own);
        for instruction in all.chain(after(step)) {
            match (plain.get_span(at as u32), plain.get_line(at as u32)) {
                (Some(span), _) => guarded.add_with_span(instruction, span),
                (None, Some(line)) => guarded.add_with_line(instruction, line as u16),
                (None, None) => guarded.add(instruction),
            };
        }
    }
    guarded
}

/// What stands in front of the step: the value that it takes from the top, gone through.
fn before<'s>(steps: &[&Instruction<'s>], at: usize) -> Vec<Instruction<'s>> {
    use Instruction as I;
    // A literal is as small as the template.
    let literal = at > 0 && matches!(steps[at - 1], I::LoadConst(_));
    match steps[at] {
        I::SetAttr(_) => vec![I::Swap, filter(HOLD_WITHIN), I::Swap],
        _ if literal => Vec::new(),
        I::Eq | I::Ne | I::Gt | I::Gte | I::Lt | I::Lte | I::In | I::CompareAndPreserve(_) => {
            vec![filter(HOLD)]
        }
        I::PerformTest(_, Some(2), _) => vec![filter(HOLD)],
        I::ApplyFilter(name, Some(1), _) if COMPARING.contains(name) => vec![filter(HOLD)],
        _ => Vec::new(),
    }
}

/// What stands behind the step: the container that it made, gone through. Lists have it in the source.
fn after<'s>(step: &Instruction<'s>) -> Vec<Instruction<'s>> {
    use Instruction as I;
    match step {
        I::BuildMap(_) | I::BuildTuple(_) | I::Slice | I::Add | I::Mul => {
            vec![filter(HOLD)]
        }
        I::ApplyFilter(name, ..) if *name != HOLD && !SCALAR.contains(name) => vec![filter(HOLD)],
        _ => Vec::new(),
    }
}

fn filter<'s>(name: &'static str) -> Instruction<'s> {
    Instruction::ApplyFilter(name, Some(1), NOT_CACHED)
}

/// The step with its jump where the target went. Python formats with `%`, so that is a filter too.
fn moved<'s>(step: &Instruction<'s>, starts: &[u32]) -> Instruction<'s> {
    use Instruction as I;
    let to = |target: &u32| starts[*target as usize];
    match step {
        I::Iterate(target) => I::Iterate(to(target)),
        I::Jump(target) => I::Jump(to(target)),
        I::JumpIfFalse(target) => I::JumpIfFalse(to(target)),
        I::JumpIfFalseOrPop(target) => I::JumpIfFalseOrPop(to(target)),
        I::JumpIfTrueOrPop(target) => I::JumpIfTrueOrPop(to(target)),
        I::BuildMacro(name, target, flags) => I::BuildMacro(name, to(target), *flags),
        I::Rem => I::ApplyFilter(REMAINDER, Some(2), NOT_CACHED),
        other => (*other).clone(),
    }
}
