use serde_json::json;

use super::*;

fn parsed(text: &str) -> Json {
    parse(text.as_bytes(), Limits::CONFIG).unwrap()
}

fn fault(text: impl AsRef<[u8]>) -> String {
    let limits = Limits::CONFIG;
    parse(text.as_ref(), limits).unwrap_err().to_string()
}

#[test]
fn plain_json_is_what_it_is_everywhere() {
    let text = r#" {"a": [1, -2, 3.5, 1e3, true, null, "x\n\u00e9é\"", {}], "b": {"c": []}} "#;
    let ours = parsed(text);
    assert_eq!(ours.value, serde_json::from_str::<Value>(text).unwrap());
    assert!(ours.remarks.is_empty());
}

#[test]
fn what_python_writes_is_read() {
    let text =
        "\u{feff}{\"a\": [NaN, Infinity, -Infinity, 1e999, -1e999], \"b\": \"NaN é -Infinity\"}";
    assert_eq!(
        parsed(text).value,
        json!({
            "a": ["NaN", "Infinity", "-Infinity", "Infinity", "-Infinity"],
            "b": "NaN é -Infinity",
        })
    );
    let halves = r#"["\ud83d\ude00", "\ud83d", "a\ude00b\\ud83d", "\ud83d\"\\", "\\\ud83dx"]"#;
    let expected = json!([
        "😀",
        "\u{fffd}",
        "a\u{fffd}b\\ud83d",
        "\u{fffd}\"\\",
        "\\\u{fffd}x"
    ]);
    assert_eq!(parsed(halves).value, expected);
}

#[test]
fn of_equal_keys_the_last_one_counts_with_a_remark() {
    let twice = parsed(r#"{"a": 1, "b": {"c": 1, "c": 2}, "a": 3, "a": 4}"#);
    assert_eq!(twice.value, json!({"a": 4, "b": {"c": 2}}));
    assert_eq!(
        twice.remarks,
        ["b.c, a given more than once; the last one counts, as in Python"]
    );
    let many: Vec<String> = (0..30)
        .map(|i| format!("\"k{i}\": 1, \"k{i}\": 2"))
        .collect();
    let many = parsed(&format!("{{{}}}", many.join(",")));
    assert!(
        many.remarks[0].contains("k19 and 10 more given"),
        "{many:?}"
    );
}

#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(parse(nested(MOST_LEVELS).as_bytes(), Limits::CONFIG).is_ok());
    for levels in [MOST_LEVELS + 2, 1_000_000] {
        let message = fault(nested(levels));
        assert!(
            message.contains("100 levels of nesting at line 1"),
            "{message}"
        );
    }
    let objects = "{\"a\":".repeat(100_000);
    assert!(fault(objects).contains("levels of nesting"));
}

#[test]
fn bytes_and_values_are_bounded() {
    let numbers = format!("[{}0]", "0,".repeat(6_000_000));
    assert!(fault(numbers).contains("more values than such a file has"));
    let objects = format!("[{}0]", "{\"a\":{\"a\":0}},".repeat(1_000_000));
    assert!(fault(objects).contains("more values"));
    let long = format!("\"{}\"", "x".repeat(17 << 20));
    assert!(fault(long).contains("17825794 bytes, where such a file has 16777216 at most"));
}

#[test]
fn other_texts_are_named() {
    for (text, part) in [
        (&b""[..], "an empty file"),
        (b"<!DOCTYPE html>", "a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "git lfs pull",
        ),
        (b"GGUF\x03", "a GGUF file"),
        (b"\xff\xfe{\0}\0", "UTF-16"),
        (b"{\"a\": \"\xff\"}", "byte 7"),
        (
            b"{\"a\": 1,}",
            "a comma stands behind the last entry at line 1 column 9",
        ),
        (b"{\"a\": 1", "line 1"),
        (b"{} {}", "more text follows its end"),
        (b"{\"a\": Infinit}", "line 1"),
        (b"[NaNa]", "line 1"),
    ] {
        let message = fault(text);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn only_files_are_read_and_no_further_than_their_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    std::fs::write(&path, "[1]").unwrap();
    assert_eq!(read(&path, Limits::CONFIG).unwrap().value, json!([1]));
    assert!(matches!(
        read_bounded(&path, 2),
        Err(JsonError::TooLarge { size: 3, .. })
    ));
    assert!(
        read(dir.path(), Limits::CONFIG)
            .unwrap_err()
            .to_string()
            .contains("regular file")
    );
    #[cfg(target_os = "linux")]
    assert!(matches!(
        read_bounded(Path::new("/proc/self/status"), 2),
        Err(JsonError::TooLarge { .. })
    ));
}
