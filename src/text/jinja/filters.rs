//! Filters and functions of Jinja that the engine lacks.

use minijinja::value::{Kwargs, ObjectRepr, Rest, StringInput, Tuple, ValueOrKwargs};
use minijinja::{Error, State, Value, functions};
use minijinja_contrib::globals;

use super::strings;
use super::values::{hold, hold_within, pay, refused};

pub fn held(state: &mut State, value: Value) -> Result<Value, Error> {
    hold(state, value)
}

pub fn held_within(state: &mut State, value: Value) -> Result<Value, Error> {
    hold_within(state, value)
}

/// `%` of numbers, or Python's formatting of a text with a value, a tuple of values, or a dict.
pub fn remainder(state: &mut State, left: Value, right: Value) -> Result<Value, Error> {
    if left.as_str().is_some() {
        let mut args = vec![left];
        match right.downcast_object_ref::<Tuple>() {
            Some(values) => args.extend(values.iter().cloned()),
            None => args.push(right),
        }
        return state.apply_filter("format", &args);
    }
    let integers = (left.is_integer(), right.is_integer());
    if let ((true, true), Ok(a), Ok(b)) = (
        integers,
        i128::try_from(left.clone()),
        i128::try_from(right.clone()),
    ) {
        let remainder = match b {
            0 => None,
            _ => a.checked_rem(b).map(|rest| {
                if rest != 0 && (rest < 0) != (b < 0) {
                    rest + b
                } else {
                    rest
                }
            }),
        };
        let remainder = remainder.ok_or_else(|| refused(format!("{a} % {b} has no value")))?;
        return Ok(i64::try_from(remainder).map_or(Value::from(remainder), Value::from));
    }
    match (f64::try_from(left.clone()), f64::try_from(right.clone())) {
        (Ok(a), Ok(b)) if b != 0.0 => {
            let rest = a % b;
            Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
                rest + b
            } else {
                rest
            }))
        }
        _ => Err(refused(format!(
            "a {} cannot be taken % a {}",
            left.kind(),
            right.kind()
        ))),
    }
}

pub fn center(
    state: &mut State,
    value: StringInput<'_>,
    width: Option<i64>,
) -> Result<Value, Error> {
    strings::pad(state, value.as_str(), width.unwrap_or(80), " ", "center")
}

pub fn wordcount(value: StringInput<'_>) -> usize {
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    let words = value.as_str().split(|c| !inner(c));
    words.filter(|word| !word.is_empty()).count()
}

pub fn truncate(
    state: &mut State,
    value: StringInput<'_>,
    length: Option<usize>,
    kill_words: Option<bool>,
    rest: Kwargs,
) -> Result<Value, Error> {
    let text = value.as_str();
    pay(state, text.len())?;
    let length = length.or(rest.get("length")?).unwrap_or(255);
    let kill_words = kill_words.or(rest.get("killwords")?).unwrap_or(false);
    let end: Option<String> = rest.get("end")?;
    let end = end.unwrap_or_else(|| "...".to_owned());
    let leeway = rest.get::<Option<usize>>("leeway")?.unwrap_or(5);
    rest.assert_all_used()?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(Value::from(text));
    }
    let kept = length.saturating_sub(end.chars().count());
    let byte = text
        .char_indices()
        .nth(kept)
        .map_or(text.len(), |(byte, _)| byte);
    let cut = &text[..byte];
    let cut = match kill_words {
        true => cut,
        false => cut.rsplit_once(' ').map_or(cut, |(words, _)| words),
    };
    Ok(Value::from(format!("{cut}{end}")))
}

pub fn indent(
    state: &mut State,
    value: StringInput<'_>,
    width: Option<Value>,
    first: Option<bool>,
    rest: Kwargs,
) -> Result<Value, Error> {
    let width = width.or(rest.get("width")?).unwrap_or(Value::from(4));
    let first = first.or(rest.get("first")?).unwrap_or(false);
    let blank = rest.get::<Option<bool>>("blank")?.unwrap_or(false);
    rest.assert_all_used()?;
    if let Some(indent) = width.as_str() {
        return strings::indent(state, value.as_str(), indent, first, blank);
    }
    let width = usize::try_from(i64::try_from(width)?).unwrap_or(0);
    pay(state, width)?;
    strings::indent(state, value.as_str(), &" ".repeat(width), first, blank)
}

/// Whether Python would call it: what is undefined too, which fails only then.
pub fn is_callable(value: &Value) -> bool {
    let object = value.as_object();
    value.is_undefined() || object.is_some_and(|object| object.repr() == ObjectRepr::Plain)
}

pub fn cycler(items: Rest<Value>) -> Result<Value, Error> {
    globals::cycler(items.0)
}

pub fn namespace(state: &mut State, defaults: Option<ValueOrKwargs>) -> Result<Value, Error> {
    hold(state, functions::namespace(defaults)?)
}

pub fn dict(state: &mut State, from: Option<Value>, with: Kwargs) -> Result<Value, Error> {
    hold(state, functions::dict(from, with)?)
}
