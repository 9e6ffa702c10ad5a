//! A template's text before it is parsed: bounded, with the one statement that the parser lacks, and with lists that are
//! made as the template runs. The parser would compute what is written out, however large, before anything is counted.

use minijinja::{Error, ErrorKind};

use super::guard::HOLD;

/// The longest public chat templates have some tens of kilobytes.
const LONGEST_SOURCE: usize = 1 << 20;
/// Characters of a tag outside its strings, of which public templates have 260 at most. Operators in a row nest, and what nests is parsed by recursion.
const LONGEST_TAG: usize = 2048;

/// Branches of one condition nest for the parser.
const MOST_BRANCHES: usize = 256;

/// Words behind which a bracket begins a list; behind other words it takes an item.
const OPERATORS: [&str; 8] = ["and", "elif", "else", "if", "in", "is", "not", "or"];

/// transformers adds `{% generation %}`, which marks what an assistant wrote and changes no text: a scope of its own,
/// as `{% with %}` is.
const GENERATION: [(&str, &str); 2] = [("generation", "with"), ("endgeneration", "endwith")];

/// The text that the parser reads; lines stay where they were.
pub fn prepare(source: &str) -> Result<String, Error> {
    if source.len() > LONGEST_SOURCE {
        return Err(syntax(format!(
            "it has {} bytes, where {LONGEST_SOURCE} are the most that is read",
            source.len()
        )));
    }
    let mut prepared = String::with_capacity(source.len());
    let mut rest = source;
    let mut branches = 0;
    while let Some(at) = rest.find('{') {
        let (text, tag) = rest.split_at(at);
        prepared.push_str(text);
        let length = match tag.as_bytes().get(1) {
            Some(b'#') => tag.find("#}").map_or(tag.len(), |end| end + 2),
            Some(b'{') => tag_length(tag, "}}")?,
            Some(b'%') => statement_length(tag)?,
            _ => 1,
        };
        let (tag, behind) = tag.split_at(length);
        branches += usize::from(word_of(tag) == Some("elif"));
        if branches > MOST_BRANCHES {
            return Err(syntax(format!("it has more than {MOST_BRANCHES} elif")));
        }
        match tag.as_bytes().get(1) {
            Some(b'{' | b'%') if word_of(tag) != Some("raw") => {
                prepared.push_str(&with_held_lists(&renamed(tag)));
            }
            _ => prepared.push_str(tag),
        }
        rest = behind;
    }
    prepared.push_str(rest);
    Ok(prepared)
}

/// A raw block is one tag: nothing in it is read.
fn statement_length(tag: &str) -> Result<usize, Error> {
    let length = tag_length(tag, "%}")?;
    if word_of(&tag[..length]) != Some("raw") {
        return Ok(length);
    }
    let ends = tag[length..].match_indices("{%");
    let mut ends =
        ends.filter(|(at, _)| word_of(&tag[length + at..]).is_some_and(|word| word == "endraw"));
    Ok(ends.next().map_or(tag.len(), |(at, _)| length + at))
}

/// Bytes up to and with `end`, which may stand in a string.
fn tag_length(tag: &str, end: &str) -> Result<usize, Error> {
    let mut quote = None;
    let mut outside = 0;
    let mut characters = tag.char_indices().skip(2);
    while let Some((at, c)) = characters.next() {
        match (quote, c) {
            (Some(_), '\\') => drop(characters.next()),
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, _) if tag[at..].starts_with(end) => return Ok(at + end.len()),
            (None, _) => outside += 1,
        }
        if outside > LONGEST_TAG {
            let start: String = tag.chars().take(20).collect();
            return Err(syntax(format!(
                "a tag has more than {LONGEST_TAG} characters outside its strings: {start}…"
            )));
        }
    }
    Ok(tag.len())
}

/// The first word of a statement.
fn word_of(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner).trim_start();
    let end = inner.find(|c: char| !c.is_alphanumeric() && c != '_');
    Some(&inner[..end.unwrap_or(inner.len())])
}

fn renamed(tag: &str) -> String {
    let word = word_of(tag);
    match GENERATION.iter().find(|(from, _)| word == Some(from)) {
        Some((from, to)) => tag.replacen(from, to, 1),
        None => tag.to_owned(),
    }
}

/// Each list that is written out, put through the filter that holds it.
fn with_held_lists(tag: &str) -> String {
    let mut held = String::with_capacity(tag.len());
    let mut quote = None;
    // Whether each open bracket begins a list, and whether a bracket here would.
    let mut lists = Vec::new();
    let mut begins = true;
    let mut word_start = None;
    let mut characters = tag.char_indices();
    while let Some((at, c)) = characters.next() {
        let in_word = quote.is_none() && (c.is_alphanumeric() || c == '_');
        match (word_start, in_word) {
            (None, true) => word_start = Some(at),
            (Some(start), false) => {
                let word = &tag[start..at];
                let attribute = tag[..start].trim_end().ends_with('.');
                let statement = word_of(tag).is_some_and(|first| first.as_ptr() == word.as_ptr());
                begins = !attribute && (statement || OPERATORS.contains(&word));
                word_start = None;
            }
            _ => {}
        }
        if quote.is_some() || in_word || c.is_whitespace() {
            match (quote, c) {
                (Some(_), '\\') => {
                    held.push(c);
                    held.extend(characters.next().map(|(_, c)| c));
                    continue;
                }
                (Some(open), c) if c == open => quote = None,
                _ => {}
            }
            held.push(c);
            continue;
        }
        match c {
            '"' | '\'' => {
                quote = Some(c);
                begins = false;
                held.push(c);
            }
            '[' => {
                held.push_str(if begins { "([" } else { "[" });
                lists.push(begins);
                begins = true;
            }
            ']' => {
                held.push(']');
                if lists.pop() == Some(true) {
                    held.push_str(&format!("|{HOLD})"));
                }
                begins = false;
            }
            _ => {
                begins = !matches!(c, ')' | '}');
                held.push(c);
            }
        }
    }
    held
}

fn syntax(detail: String) -> Error {
    Error::new(ErrorKind::SyntaxError, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_statement_is_renamed() {
        for (source, prepared) in [
            (
                "a{% generation %}b{% endgeneration %}",
                "a{% with %}b{% endwith %}",
            ),
            (
                "{%- generation -%}b{%+\nendgeneration%}",
                "{%- with -%}b{%+\nendwith%}",
            ),
            ("{{ '{% generation %}' }}", "{{ '{% generation %}' }}"),
            ("{# {% generation %} #}", "{# {% generation %} #}"),
            (
                "{% raw %}{% generation %}{%- endraw %}",
                "{% raw %}{% generation %}{%- endraw %}",
            ),
            (
                "{% set generation = 1 %}{ {% generations %}",
                "{% set generation = 1 %}{ {% generations %}",
            ),
            ("{{ \"\\\"}}\" }}{%generation%}", "{{ \"\\\"}}\" }}{%with%}"),
            ("{% if x", "{% if x"),
        ] {
            assert_eq!(prepare(source).unwrap(), prepared);
        }
    }

    #[test]
    fn lists_are_held_and_items_taken() {
        for (source, prepared) in [
            ("{{ [1, [2]] }}", "{{ ([1, ([2]|hold__)]|hold__) }}"),
            ("{{ a[0]['b'][c[1]] }}", "{{ a[0]['b'][c[1]] }}"),
            (
                "{% for x in [1][0:1] if x not in ['['] %}",
                "{% for x in ([1]|hold__)[0:1] if x not in (['[']|hold__) %}",
            ),
            (
                "{%- if [1] %}{% set in = a.in[0] + [a] %}",
                "{%- if ([1]|hold__) %}{% set in = a.in[0] + ([a]|hold__) %}",
            ),
            (
                "{{ f()[0] }}{{ {'a': [1]}['a'] }}{{ 'x'[0] }}",
                "{{ f()[0] }}{{ {'a': ([1]|hold__)}['a'] }}{{ 'x'[0] }}",
            ),
            (
                "{# [1] #}[1]{% raw %}{{ [1] }}{% endraw %}",
                "{# [1] #}[1]{% raw %}{{ [1] }}{% endraw %}",
            ),
            ("{{ \"a\\\"[\" ~ b[\n1] }}", "{{ \"a\\\"[\" ~ b[\n1] }}"),
        ] {
            assert_eq!(prepare(source).unwrap(), prepared);
        }
    }

    #[test]
    fn length_is_bounded() {
        let long = |source: &str| prepare(source).unwrap_err().to_string();
        assert!(long(&"a".repeat(LONGEST_SOURCE + 1)).contains("1048577 bytes"));
        assert!(long(&format!("{{{{ 1{} }}}}", "+1".repeat(3000))).contains("2048 characters"));
        let text = format!("{{{{ '{}' }}}}", "a".repeat(100_000));
        assert_eq!(prepare(&text).unwrap(), text);
    }
}
