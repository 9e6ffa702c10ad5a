//! What the JSON reader says of a fault, in words of the file instead of the reader's types.

/// Beginnings of the reader's sentences, and what they mean.
const FAULTS: [(&str, &str); 12] = [
    ("EOF while parsing", "it ends in the middle"),
    (
        "expected ident",
        "a word stands where only true, false, null, a number or quoted text can",
    ),
    (
        "expected value",
        "something stands there that is no value of JSON",
    ),
    (
        "key must be a string",
        "a key stands there without double quotes",
    ),
    ("trailing comma", "a comma stands behind the last entry"),
    ("trailing characters", "more text follows its end"),
    (
        "control character",
        "a line break or another control character stands in quoted text",
    ),
    (
        "invalid escape",
        "a backslash stands before a letter that it does not go with",
    ),
    ("invalid number", "a number is not written as JSON has it"),
    ("invalid length", "a list has another length than it should"),
    (
        "data did not match any variant",
        "it is of no kind that is known",
    ),
    ("invalid unicode code point", "an escape names no character"),
];

/// Kinds of values by the reader's names, longest first.
const KINDS: [(&str, &str); 15] = [
    ("floating point", "the number"),
    ("string", "the text"),
    ("a string", "text in quotes"),
    ("a borrowed string", "text in quotes"),
    ("integer", "the number"),
    ("boolean", "the value"),
    ("a boolean", "true or false"),
    ("sequence", "a list"),
    ("a sequence", "a list"),
    ("a map", "an object"),
    ("map", "an object"),
    ("a tuple", "a list"),
    ("null", "null"),
    ("unit value", "null"),
    ("struct", "an object"),
];
const WHOLE: [&str; 5] = ["usize", "u64", "u32", "u16", "u8"];

/// The sentence `said` of the reader as one that a reader of the file understands; its place is kept.
pub fn in_words(said: &str) -> String {
    let (what, place) = match said.rfind(" at line ") {
        Some(at) => said.split_at(at),
        None => (said, ""),
    };
    format!("{}{place}", fault(what))
}

/// As [`in_words`], of what is all in one line.
pub fn without_place(said: &str) -> String {
    fault(said.rsplit_once(" at line ").map_or(said, |(what, _)| what))
}

fn fault(what: &str) -> String {
    if let Some((_, words)) = FAULTS.iter().find(|(start, _)| what.starts_with(start)) {
        return (*words).to_owned();
    }
    let name = |rest: &str| rest.split('`').nth(1).unwrap_or(rest).to_owned();
    if let Some(rest) = what.strip_prefix("missing field ") {
        return format!("it has no {}", name(rest));
    }
    if let Some(rest) = what.strip_prefix("duplicate field ") {
        return format!("it has {} twice", name(rest));
    }
    if let Some(rest) = what.strip_prefix("unknown variant ") {
        return format!("{} is unknown here", name(rest));
    }
    let pair = ["invalid type: ", "invalid value: "];
    let pair = pair.iter().find_map(|start| what.strip_prefix(start));
    if let Some((found, wanted)) = pair.and_then(|pair| pair.split_once(", expected ")) {
        return format!("{} stands where {} should", kind(found), kind(wanted));
    }
    match what.strip_prefix("expected `") {
        Some(signs) => format!("`{signs} is missing"),
        None => what.to_owned(),
    }
}

fn kind(name: &str) -> String {
    if WHOLE.contains(&name) {
        return "a whole number from 0".to_owned();
    }
    if matches!(name, "f64" | "f32") {
        return "a number".to_owned();
    }
    for (known, words) in KINDS {
        let rest = name.strip_prefix(known);
        match rest {
            Some("") => return words.to_owned(),
            // Of a type of ours, its name; of a value, what it is.
            Some(_) if known == "struct" => return words.to_owned(),
            Some(rest) if rest.starts_with(' ') => {
                return format!("{words} {}", rest.trim().trim_matches('`'));
            }
            _ => {}
        }
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Entry {
        name: String,
        sizes: Vec<usize>,
        flag: Option<bool>,
    }

    #[test]
    fn no_word_of_the_reader_is_left() {
        for (text, words) in [
            ("", "it ends in the middle at line 1 column 0"),
            (
                "{\"name\": \"a\"",
                "it ends in the middle at line 1 column 12",
            ),
            (
                "nope",
                "a word stands where only true, false, null, a number or quoted text can at line 1 column 2",
            ),
            (
                "{name: 1}",
                "a key stands there without double quotes at line 1 column 2",
            ),
            (
                "[1]",
                "the number 1 stands where text in quotes should at line 1 column 2",
            ),
            (
                "5",
                "the number 5 stands where an object should at line 1 column 1",
            ),
            ("{}", "it has no name at line 1 column 2"),
            (
                "{\"name\": {}}",
                "an object stands where text in quotes should at line 1 column 9",
            ),
            (
                "{\"name\": 1.5}",
                "the number 1.5 stands where text in quotes should at line 1 column 12",
            ),
            (
                "{\"name\": \"a\", \"sizes\": [-1]}",
                "the number -1 stands where a whole number from 0 should at line 1 column 26",
            ),
            (
                "{\"name\": \"a\", \"sizes\": \"b\"}",
                "the text \"b\" stands where a list should at line 1 column 26",
            ),
            (
                "{\"name\": \"a\", \"name\": \"b\"}",
                "it has name twice at line 1 column 20",
            ),
            (
                "{\"name\": \"a\" \"b\"}",
                "`,` or `}` is missing at line 1 column 14",
            ),
            (
                "{\"flag\": 3}",
                "the number 3 stands where true or false should at line 1 column 10",
            ),
            (
                "{\"flag\": true,}",
                "a comma stands behind the last entry at line 1 column 15",
            ),
            (
                "{\"name\": \"a\n\"}",
                "a line break or another control character stands in quoted text at line 2 column 0",
            ),
        ] {
            let error = serde_json::from_str::<Entry>(text).unwrap_err().to_string();
            assert_eq!(in_words(&error), words, "{text}: {error}");
        }
        let unknown = "unknown variant `X9`, expected one of `F32`, `F64` at line 1 column 18";
        assert_eq!(without_place(unknown), "X9 is unknown here");
        assert_eq!(in_words("own words"), "own words");
    }
}
