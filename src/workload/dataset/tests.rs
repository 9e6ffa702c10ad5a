use super::*;

/// A byte is a token, and a message its role's first letter and its content.
fn read_text(text: &str) -> Result<Dataset, String> {
    let encode = |text: &str| Ok(text.bytes().map(u32::from).collect());
    let pool = TokenPool::below(50).unwrap();
    let defaults = Defaults {
        output_len: 7.into(),
        vocab_size: 128,
        max_len: 50,
        time_scale: 1.0,
        pool: &pool,
        seed: 0,
        encode: &encode,
        chat: &|conversation: &Conversation| {
            let texts = conversation.messages.iter().map(|message| {
                let part = |key: &str| message[key].as_str().unwrap_or_default();
                format!("{}:{};", &part("role")[..1], part("content"))
            });
            encode(&texts.collect::<String>())
        },
    };
    parse(text.as_bytes(), "d.jsonl", &defaults).map_err(|error| error.to_string())
}

/// Prompt as text, and output length, of each item.
fn asked(text: &str) -> Vec<(String, usize)> {
    let dataset = read_text(text).unwrap();
    let text = |item: &Item| {
        let bytes = dataset.prompt(item).iter().map(|&id| id as u8).collect();
        String::from_utf8(bytes).unwrap()
    };
    dataset
        .iter()
        .map(|item| (text(item), item.output_len))
        .collect()
}

fn pairs(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
    expected
        .iter()
        .map(|(text, len)| ((*text).to_owned(), *len))
        .collect()
}

#[test]
fn own_lines_are_read() {
    let text = "{\"prompt\": \"AB\", \"output_len\": 3}\n\n{\"prompt_ids\": [1, 2, 3]}\n{\"input_len\": 9}\n";
    let dataset = read_text(text).unwrap();
    assert_eq!(dataset.prompt(&dataset[0]).as_ref(), [65, 66]);
    assert_eq!(dataset[0].output_len, 3);
    assert_eq!(dataset.prompt(&dataset[1]).as_ref(), [1, 2, 3]);
    assert_eq!(dataset[1].output_len, 7);
    let drawn = dataset.prompt(&dataset[2]);
    assert_eq!((drawn.len(), dataset[2].prompt.len()), (9, 9));
    assert!(drawn.iter().all(|&id| id < 50));
    assert_eq!(drawn, dataset.prompt(&dataset[2]));
    assert!(dataset.remarks.is_empty());
}

#[test]
fn texts_and_their_lengths_go_by_many_names() {
    for (text, expected) in [
        ("\u{feff}{\"prompt\":\"Hi\"}\r\n\r\n", &[("Hi", 7)][..]),
        (
            "{\"prompt\":\"Hi\",\"output_tokens\":4}\n{\"prompt\":\"Yo\"}",
            &[("Hi", 4), ("Yo", 7)],
        ),
        (
            "{\"prompt\":\"Hi\",\"prompt_tokens_count\":3,\"output_tokens_count\":4}",
            &[("Hi", 4)],
        ),
        ("{\"text_input\":\"Hi\",\"output_length\":2}", &[("Hi", 2)]),
        ("{\"text\":\"Hi\",\"max_tokens\":null}", &[("Hi", 7)]),
        ("{\"prompt\":[72,105],\"max_tokens\":5.0}", &[("Hi", 5)]),
        ("{\"prompt\":[\"Hi\"]}", &[("Hi", 7)]),
        ("{\"prompt_token_ids\":[72,105]}", &[("Hi", 7)]),
        (
            "{\"question_id\":81,\"category\":\"w\",\"turns\":[\"Hi\",\"Ho\"]}",
            &[("Hi", 7)],
        ),
        (
            "{\"custom_id\":\"1\",\"method\":\"POST\",\"body\":{\"prompt\":\"Hi\",\"max_tokens\":3}}",
            &[("Hi", 3)],
        ),
        (
            "[{\"prompt\":\"Hi\"},\n {\"prompt\":\"Yo\",\"output_len\":1}]",
            &[("Hi", 7), ("Yo", 1)],
        ),
    ] {
        assert_eq!(asked(text), pairs(expected), "{text}");
    }
}

#[test]
fn dialogues_ask_their_first_question() {
    let pretty = "[\n  {\n    \"id\": \"a\",\n    \"conversations\": [\n      {\n        \"from\": \"human\",\n        \"value\": \"Hi\"\n      },\n      {\n        \"from\": \"gpt\",\n        \"value\": \"Hello\"\n      }\n    ]\n  }\n]";
    assert_eq!(asked(pretty), pairs(&[("Hi", 5)]));
    let turn = |from: &str, value: &str| format!("{{\"from\":\"{from}\",\"value\":\"{value}\"}}");
    let line = |turns: &[String]| format!("{{\"conversations\":[{}]}}\n", turns.join(","));
    let long = "x".repeat(51);
    let text = [
        line(&[
            turn("system", "S"),
            turn("user", "A"),
            turn("gpt", "one"),
            turn("user", "B"),
        ]),
        line(&[turn("human", "alone")]),
        line(&[turn("gpt", "nobody asked")]),
        line(&[]),
        line(&[turn("human", &long), turn("gpt", "y")]),
        line(&[turn("human", "C"), turn("gpt", &long)]),
        line(&[turn("human", "D"), turn("gpt", "")]),
    ];
    assert_eq!(
        asked(&text.concat()),
        pairs(&[("A", 3), ("alone", 7), ("D", 7)])
    );
    let remarks = read_text(&text.concat()).unwrap().remarks.join("; ");
    assert!(remarks.contains("2 conversations ask nothing"), "{remarks}");
    assert!(
        remarks.contains("2 records are longer than the 50"),
        "{remarks}"
    );
    let nothing = read_text(&text[3]).unwrap_err();
    assert!(
        nothing.contains("no requests (1 conversations ask nothing"),
        "{nothing}"
    );
}

#[test]
fn messages_go_through_the_chat_template() {
    let message =
        |role: &str, content: &str| format!("{{\"role\":\"{role}\",\"content\":{content}}}");
    let line = |messages: &[String]| format!("{{\"messages\":[{}]}}", messages.join(","));
    let user = message("user", "\"Hi\"");
    let parts = message(
        "user",
        "[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]",
    );
    let image = message("user", "[{\"type\":\"image_url\",\"image_url\":{}}]");
    let answer = message("assistant", "\"Hello\"");
    for (text, expected) in [
        (line(std::slice::from_ref(&user)), &[("u:Hi;", 7)][..]),
        (
            line(&[message("system", "\"S\""), parts, answer.clone()]),
            &[("s:S;u:ab;", 5)],
        ),
        (
            line(&[user.clone(), answer.clone(), user]).replace("messages", "conversations"),
            &[("u:Hi;a:Hello;u:Hi;", 7)],
        ),
    ] {
        assert_eq!(asked(&text), pairs(expected), "{text}");
    }
    let error = read_text(&line(&[image])).unwrap_err();
    assert!(
        error.contains("line 1: a message of user has a part of type image_url"),
        "{error}"
    );
    let error = read_text(&line(&[answer])).unwrap_err();
    assert!(error.contains("no message that asks"), "{error}");
    let error = read_text("{\"messages\":[{\"content\":\"x\"}]}").unwrap_err();
    assert!(error.contains("without a role"), "{error}");
}

#[test]
fn a_trace_has_milliseconds_and_shares_its_blocks() {
    let text = "{\"timestamp\":0,\"input_length\":20,\"output_length\":3,\"hash_ids\":[1,2]}\n{\"timestamp\":500,\"input_length\":20,\"output_length\":3,\"hash_ids\":[1,3]}";
    let dataset = read_text(text).unwrap();
    let arrivals: Vec<_> = dataset.iter().map(|item| item.arrival.unwrap()).collect();
    assert_eq!(arrivals, [0.0, 0.5]);
    let [a, b] = [0, 1].map(|at| dataset.prompt(&dataset[at]));
    assert_eq!((a.len(), b.len(), dataset[1].output_len), (20, 20, 3));
    assert_eq!(a[..10], b[..10]);
    assert_ne!(a[10..], b[10..]);

    let later = read_text("{\"timestamp\":1700000000250,\"input_length\":1}\n{\"timestamp\":1700000001000.0,\"input_length\":1}").unwrap();
    assert_eq!(later[0].arrival, Some(0.0));
    assert_eq!(later[1].arrival, Some(0.75));
    let seconds =
        read_text("{\"arrival\":2,\"input_len\":1}\n{\"arrival\":2.5,\"input_len\":1}").unwrap();
    assert_eq!(seconds[1].arrival, Some(2.5));
}

#[test]
fn tables_are_read_by_their_columns() {
    assert_eq!(
        asked("prompt,output_len\nHi,3\n42,\n"),
        pairs(&[("Hi", 3), ("42", 7)])
    );
    let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 23:59:59.9799600,8,1\r\n\
                 2023-11-17 00:00:00.4799601,9,2\r\n2024-05-10 00:00:00.009930+00:00,10,3\r\n";
    let dataset = read_text(azure).unwrap();
    let lengths: Vec<_> = dataset
        .iter()
        .map(|item| (item.prompt.len(), item.output_len))
        .collect();
    assert_eq!(lengths, [(8, 1), (9, 2), (10, 3)]);
    let arrivals: Vec<_> = dataset.iter().map(|item| item.arrival.unwrap()).collect();
    assert_eq!(arrivals[0], 0.0);
    assert!((arrivals[1] - 0.500_000_1).abs() < 2e-7, "{arrivals:?}");
    // 175 days, and 29.97 milliseconds.
    let later = 175.0 * 86_400.0 + 0.029_97;
    assert!((arrivals[2] - later).abs() < 1e-6, "{arrivals:?}");
    assert!(dataset.remarks.is_empty());

    let burst = "Timestamp,Session ID,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                 3,,ChatGPT,60,18,78,Conversation log\n\
                 5,a,ChatGPT,12,18,30,Conversation log\n\
                 45,b,GPT-4,20,0,20,API log\n\
                 118,c,GPT-4,30,20,50,API log\n";
    let dataset = read_text(burst).unwrap();
    let items: Vec<_> = dataset
        .iter()
        .map(|item| (item.arrival.unwrap(), item.prompt.len(), item.output_len))
        .collect();
    assert_eq!(items, [(0.0, 12, 18), (113.0, 30, 20)]);
    let remarks = dataset.remarks.join("; ");
    for part in [
        "1 records are longer than the 50",
        "1 records have no answer",
        "Log Type, Model, Session ID, Total tokens",
    ] {
        assert!(remarks.contains(part), "{remarks}");
    }
}

#[test]
fn blocks_are_those_of_the_trace() {
    assert_eq!(block_of(6755, 14), MOONCAKE_BLOCK);
    assert_eq!(block_of(512, 1), MOONCAKE_BLOCK);
    assert_eq!(block_of(20, 2), 10);
    let pool = TokenPool::below(1000).unwrap();
    let prompt = |len, hashes: &[u64]| {
        let hashes = hashes.into();
        Prompt::Blocks {
            len,
            block: 8,
            hashes,
            seed: 1,
        }
        .ids(&pool)
    };
    let [short, long, bare] = [
        prompt(11, &[5, 6]),
        prompt(20, &[5, 6, 7]),
        prompt(20, &[5]),
    ];
    assert_eq!((short.len(), long.len(), bare.len()), (11, 20, 20));
    assert_eq!(short[..11], long[..11]);
    assert_eq!(bare[..8], long[..8]);
    assert_ne!(bare[8..16], bare[..8]);
}

#[test]
fn keys_that_say_nothing_are_named_and_mistakes_refused() {
    let dataset =
        read_text("{\"prompt\":\"a\",\"id\":3}\n{\"prompt\":\"b\",\"prompt_id\":\"x\"}").unwrap();
    assert_eq!(dataset.len(), 2);
    assert!(
        dataset.remarks[0].contains("id, prompt_id"),
        "{:?}",
        dataset.remarks
    );
    let error = read_text("{\"prompt\":\"a\",\"output_lenght\":3}").unwrap_err();
    assert!(error.contains("is output_length meant?"), "{error}");
}

#[test]
fn faults_name_the_line_and_the_value() {
    let faults = [
        (
            "{\"input_len\": 1}\n{\"prompt_ids\": [128]}",
            "line 2: token id 128",
        ),
        ("{\"prompt_ids\": []}", "no tokens"),
        ("{\"prompt_ids\": [1, -1]}", "prompt_ids holds -1"),
        ("{\"prompt\": 3}", "prompt is 3, where a text should be"),
        ("{}", "exactly one"),
        (
            "{\"query\": \"a\", \"id\": 1}",
            "no prompt is found among the keys query, id",
        ),
        ("{\"prompt\": \"a\", \"input_len\": 1}", "exactly one"),
        (
            "{\"input_len\": 1, \"output_len\": 0}",
            "output length is 0",
        ),
        ("{\"input_len\": \"5\"}", "input_len is a text"),
        ("{\"input_len\": 1.5}", "input_len is 1.5"),
        ("{\"input_len\": 0}", "no tokens"),
        ("3", "line 1: it is 3; give JSON objects"),
        (
            "not json",
            "line 1: it is no JSON object (a word stands where only true, false, null, a number or quoted text can, column 2)",
        ),
        (
            "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"",
            "line 2: it is no JSON object",
        ),
        ("{\n\"prompt\": \"a\"\n}", "put brackets around"),
        (
            "prompt,output_len\nHi,3\nYo,0",
            "line 3: the output length is 0",
        ),
        ("a,b\n1,2", "line 2: no prompt is found among the keys a, b"),
        ("input_len,output_len\n\"1,2", "line 2"),
        (
            "TIMESTAMP,ContextTokens\n2023-13-01 00:00:00,5",
            "TIMESTAMP is 2023-13-01 00:00:00",
        ),
        (
            "Timestamp,Request tokens\nsoon,5",
            "Timestamp is a text, where seconds should be",
        ),
        ("PAR1\u{1}\u{2}", "Parquet"),
        (
            "[{\"prompt\": \"a\"},\n\n {\"prompt\":\n 3x}]",
            "line 4: it is no JSON object",
        ),
        (
            "{\"input_len\": 51}",
            "the prompt has 51 tokens, beyond the 50",
        ),
        (
            "{\"input_len\": 1, \"output_len\": 51}",
            "the output has 51 tokens, beyond the 50",
        ),
        (
            "{\"input_len\": 26, \"output_len\": 25}",
            "the prompt and the output have 51 tokens, beyond the 50",
        ),
        ("{\"input_len\": 1, \"arrival\": 1e300}", "at most"),
        ("{\"input_len\": 1, \"arrival\": NaN}", "arrival is a text"),
        (
            "{\"input_len\": 1, \"timestamp\": \"2023-11-16 18:17:03\"}",
            "where milliseconds should be",
        ),
        ("\n", "holds no requests; give JSON objects"),
        ("[]", "holds no requests"),
        (
            "{\"input_len\": 1, \"arrival\": 2}\n{\"input_len\": 1, \"arrival\": 1}",
            "before the record above",
        ),
        (
            "{\"input_len\": 1, \"arrival\": 2}\n{\"input_len\": 1}",
            "or none",
        ),
        (
            "{\"input_len\": 1}\n{\"input_len\": 1, \"arrival\": 2}",
            "or none",
        ),
        ("{\"input_len\": 1, \"arrival\": -2}", "arrival is -2"),
    ];
    for (text, expected) in faults {
        let error = read_text(text).unwrap_err();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        assert!(error.starts_with("d.jsonl"), "{error:?}");
    }
}

#[test]
fn a_file_that_is_none_is_named() {
    let pool = TokenPool::below(50).unwrap();
    let defaults = Defaults {
        output_len: 1.into(),
        vocab_size: 128,
        max_len: 50,
        time_scale: 1.0,
        pool: &pool,
        seed: 0,
        encode: &|_| Ok(vec![1]),
        chat: &|_| Ok(vec![1]),
    };
    let dir = tempfile::tempdir().unwrap();
    for (path, expected) in [
        (dir.path().to_owned(), "directory"),
        (dir.path().join("x"), "No such file"),
    ] {
        let error = read(&path, &defaults).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let path = dir.path().join("d.json");
    std::fs::write(&path, "[{\"prompt\":\"x\"}]").unwrap();
    assert_eq!(read(&path, &defaults).unwrap().len(), 1);
}
