//! Recorded conversations: the turns of each, as far as the context holds them.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::dialogue;
use super::keys::{ARRIVAL, MESSAGES, Object, TIMESTAMP, TIMESTAMP_S, TURNS, find, named};
use super::records::{Fault, Records};
use super::row::{Ask, Output, Row, parsed};
use super::{DatasetError, Defaults, NotEncoded, Reader, WorkItem, item_seed, opened, table};
use crate::ground::terminal::listed;

/// What a record of a conversation may be.
const FORMS: &str = "conversations as ShareGPT has them, or turns: a list of texts, or of objects with prompt, prompt_ids or input_len, and output_len";

/// The conversations of a file, in its order, and never none: of each what is new in its turns, at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Talks {
    pub talks: Arc<[Vec<WorkItem>]>,
    /// What of the file is not used, in sentences that follow its name.
    pub remarks: Vec<String>,
}

/// Reads every conversation of `path`, each up to its first `most` turns.
///
/// # Errors
/// The file cannot be read, or a record is wrong: with its line.
pub fn read(path: &Path, defaults: &Defaults, most: usize) -> Result<Talks, DatasetError> {
    let (source, file) = opened(path)?;
    parse(source, &file, defaults, most)
}

/// As [`read`], of any bytes; `file` names them in errors.
///
/// # Errors
/// As [`read`].
pub fn parse(
    mut source: impl BufRead,
    file: &str,
    defaults: &Defaults,
    most: usize,
) -> Result<Talks, DatasetError> {
    let mut reader = Reader::new(defaults);
    let mut talks = Vec::new();
    let at_first = |reason: String| Fault { line: 1, reason };
    let read = match source.fill_buf().is_ok_and(table::is_table) {
        true => Err(at_first(format!(
            "it is a table, which has no conversations for --turns; give {FORMS}"
        ))),
        false => Records::new(source).try_for_each(|record| {
            let record = record?;
            let line = record.line;
            let value =
                parsed(&record.text, line).map_err(|(line, reason)| Fault { line, reason })?;
            let talk = reader.talk(value, most);
            let talk = talk.map_err(|reason| Fault { line, reason })?;
            talks.extend(Some(talk).filter(|talk| !talk.is_empty()));
            Ok(())
        }),
    };
    let remarks = reader.close(file, read, talks.is_empty())?;
    Ok(Talks {
        talks: talks.into(),
        remarks,
    })
}

impl Reader<'_> {
    /// What is new in the first turns; empty: nothing is asked, or the first is beyond the context.
    fn talk(&mut self, value: Value, most: usize) -> Result<Vec<WorkItem>, String> {
        let turns = turns(value, &mut self.left_out.keys)?;
        let (mut talk, mut said) = (Vec::new(), 0);
        self.left_out.unasked += usize::from(turns.is_empty());
        for (ask, output) in turns.into_iter().take(most) {
            match self.turn(ask, output, said) {
                Ok(item) => {
                    said += item.prompt.len() + item.output_len;
                    talk.push(item);
                    self.turns += 1;
                }
                // What came before it is a conversation all the same.
                Err(NotEncoded::TooLong(_)) => {
                    match talk.is_empty() {
                        true => self.left_out.long += 1,
                        false => self.left_out.cut += 1,
                    }
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(talk)
    }

    /// Behind so many tokens.
    fn turn(&self, ask: Ask, output: Output, said: usize) -> Result<WorkItem, NotEncoded> {
        let too_long = || NotEncoded::TooLong("beyond the context".to_owned());
        let prompt = match ask {
            // Before so many tokens are made.
            Ask::Length { len, .. } if said.saturating_add(len) > self.defaults.max_len => {
                return Err(too_long());
            }
            Ask::Length { hashes, .. } if !hashes.is_empty() => {
                let reason = "hash_ids are of whole prompts, not of turns; leave them out";
                return Err(NotEncoded::Failed(reason.to_owned()));
            }
            Ask::Length { len, .. } if len > 0 => {
                let seed = item_seed(self.defaults.seed, self.turns);
                self.defaults.pool.synthetic_prompt(len, seed).into()
            }
            ask => self.prompt(ask)?.ids(self.defaults.pool),
        };
        let before = said + prompt.len();
        let output_len = self.output_len(output, self.turns, before)?;
        match before.saturating_add(output_len) > self.defaults.max_len {
            true => Err(too_long()),
            false => Ok(WorkItem {
                prompt,
                output_len,
                arrival: None,
            }),
        }
    }
}

/// What is asked, one after the other, and how long each answer is. Keys that are not used are added to `unused`.
fn turns(value: Value, unused: &mut BTreeSet<String>) -> Result<Vec<(Ask, Output)>, String> {
    let Value::Object(object) = value else {
        return Err(format!("it is {}; give {FORMS}", named(&value)));
    };
    // Conversations begin as the load says.
    unused.extend(times_in(&object));
    if let Some((name, Value::Array(list))) = find(&object, &MESSAGES) {
        let speaks = |turn: &Value| turn.get("from").is_some();
        return match list.is_empty() || list.iter().any(speaks) {
            true => Ok(dialogue::turns(name, list)?
                .into_iter()
                .map(spoken)
                .collect()),
            false => Err(format!(
                "{name} go through the chat template all at once, so they have no turns to be played one by one; leave --turns out, or give {FORMS}"
            )),
        };
    }
    let Some((name, list)) = find(&object, &TURNS) else {
        return Err(no_turns(&object));
    };
    let Value::Array(list) = list else {
        return Err(format!("{name} is {}; give {FORMS}", named(list)));
    };
    let mut turn = |turn: &Value| match turn {
        Value::String(text) => Ok((Ask::Text(text.clone()), Output::Open)),
        other => match Row::of_value(other.clone())? {
            Some(row) => {
                unused.extend(row.unread);
                unused.extend(other.as_object().into_iter().flat_map(times_in));
                Ok((row.ask, row.output))
            }
            None => Err(format!("{name} holds one in which nothing is asked")),
        },
    };
    list.iter().map(&mut turn).collect()
}

/// The names of times among the keys.
fn times_in(object: &Object) -> impl Iterator<Item = String> {
    let times = [&ARRIVAL[..], &TIMESTAMP, &TIMESTAMP_S];
    let found = times.into_iter().filter_map(|names| find(object, names));
    found.map(|(name, _)| name.to_owned())
}

fn spoken((question, answer): (String, Option<String>)) -> (Ask, Output) {
    let output = answer.map_or(Output::Open, Output::As);
    (Ask::Text(question), output)
}

fn no_turns(object: &Object) -> String {
    let keys: Vec<&String> = object.keys().collect();
    format!(
        "no conversation is found among the keys {}, and --turns plays conversations; leave it out, or give {FORMS}",
        listed(&keys, ", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TokenPool;
    use crate::workload::Lengths as Drawn;

    /// Of each turn of each conversation.
    type Lengths = Vec<Vec<(usize, usize)>>;

    /// A byte is a token. Prompt and output length of each turn, and what is said of the file.
    fn talks(text: &str, most: usize) -> Result<(Lengths, Vec<String>), String> {
        played(text, most, 7.into(), 0)
    }

    /// Lengths of the answers of a conversation whose file has none.
    fn drawn(text: &str, seed: u64) -> Vec<usize> {
        let found = played(text, 9, "uniform:1-9".parse().unwrap(), seed)
            .unwrap()
            .0;
        found[0].iter().map(|turn| turn.1).collect()
    }

    fn played(
        text: &str,
        most: usize,
        output_len: Drawn,
        seed: u64,
    ) -> Result<(Lengths, Vec<String>), String> {
        let encode = |text: &str| Ok(text.bytes().map(u32::from).collect());
        let pool = TokenPool::below(50).unwrap();
        let defaults = Defaults {
            output_len,
            vocab_size: 128,
            max_len: 40,
            time_scale: 1.0,
            pool: &pool,
            seed,
            encode: &encode,
            chat: &|_| Err(NotEncoded::Failed("no template".to_owned())),
        };
        let read = parse(text.as_bytes(), "d.json", &defaults, most).map_err(|e| e.to_string())?;
        let lengths = |turn: &WorkItem| (turn.prompt.len(), turn.output_len);
        let of_each = |talk: &Vec<WorkItem>| talk.iter().map(lengths).collect();
        Ok((read.talks.iter().map(of_each).collect(), read.remarks))
    }

    #[test]
    fn questions_that_were_answered_are_turns() {
        let said = r#"{"conversations": [
            {"from": "gpt", "value": "hello"},
            {"from": "human", "value": "abcd"}, {"from": "gpt", "value": "ef"},
            {"from": "human", "value": "gh"}, {"from": "gpt", "value": "ijk"},
            {"from": "human", "value": "and?"}]}"#;
        let said = said.replace('\n', " ");
        assert_eq!(talks(&said, 9).unwrap().0, [[(4, 2), (2, 3)]]);
        assert_eq!(talks(&said, 1).unwrap().0, [[(4, 2)]]);
        let open = r#"{"conversations": [{"from": "human", "value": "abcd"}]}"#;
        assert_eq!(talks(open, 9).unwrap().0, [[(4, 7)]]);
        let texts = r#"{"turns": ["abc", "de"]}"#;
        assert_eq!(talks(texts, 9).unwrap().0, [[(3, 7), (2, 7)]]);
        // A draw for each turn.
        let mut lengths = vec![];
        for seed in 0..4 {
            let drawn = drawn(r#"{"turns": ["a", "b", "c", "d"]}"#, seed);
            lengths.extend(drawn.windows(2).map(|pair| pair[0] != pair[1]));
        }
        assert!(lengths.iter().any(|differ| *differ), "all of one length");
        let own = r#"{"turns": [{"input_len": 9, "output_len": 4}, {"prompt_ids": [1, 2], "output_len": 1}]}"#;
        assert_eq!(talks(own, 9).unwrap().0, [[(9, 4), (2, 1)]]);
    }

    #[test]
    fn a_conversation_ends_where_the_context_does() {
        let turn = r#"{"input_len": 12, "output_len": 3}"#;
        let line = |turns: usize| format!("{{\"turns\": [{}]}}\n", vec![turn; turns].join(", "));
        let long = "{\"turns\": [{\"input_len\": 39, \"output_len\": 3}]}\n";
        for endless in [
            "\"input_len\": 1e300",
            "\"input_len\": 1, \"output_len\": 18446744073709551615",
        ] {
            let text =
                format!("{{\"turns\": [{{\"input_len\": 3, \"output_len\": 3}}, {{{endless}}}]}}");
            assert_eq!(talks(&text, 9).unwrap().0, [[(3, 3)]], "{endless}");
        }
        let (found, remarks) = talks(&(line(1) + &line(3) + long), 9).unwrap();
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
        let said = remarks.join("; ");
        assert!(said.contains("1 conversations end before"), "{said}");
        assert!(said.contains("1 records are longer"), "{said}");
    }

    #[test]
    fn what_is_no_conversation_is_refused_with_its_line() {
        for (text, part) in [
            (
                "{\"turns\": [\"a\"]}\n{\"prompt\": \"a\"}",
                "line 2: no conversation",
            ),
            ("{\"turns\": \"a\"}", "line 1: turns is a text"),
            ("[[1]]", "line 1: the array holds"),
            ("{\"turns\": [{\"output_len\": 2}]}", "no prompt is found"),
            (
                "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}",
                "chat template",
            ),
            ("TIMESTAMP,ContextTokens\n1,2\n", "line 1: it is a table"),
            ("{\"turns\": []}", "holds no requests"),
        ] {
            let said = talks(text, 9).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
        let timed = "{\"timestamp\": 3, \"turns\": [\"a\"]}";
        let remarks = talks(timed, 9).unwrap().1;
        assert!(remarks[0].contains("timestamp"), "{remarks:?}");
    }
}
