//! Values that no card has are refused by key, value and bounds, and files that are no cards at once.

use candlepower::hardware::{from_toml, known, read};

const CARD: [(&str, &str); 14] = [
    ("memory_sticker_gb", "24"),
    ("memory_gib", "23.5"),
    ("bandwidth_gb_s", "1008"),
    ("bf16_tflops", "165.2"),
    ("fp16_tflops", "165.2"),
    ("fp8_tflops", "330"),
    ("f32_tflops", "82.6"),
    ("power_w", "450"),
    ("nvlink_gb_s", "100"),
    ("measured_copy_gb_s", "900"),
    ("measured_read_gb_s", "900"),
    ("measured_matmul_tflops", "165"),
    ("measured_fp8_matmul_tflops", "300"),
    ("idle_w", "20"),
];

fn card_with(key: &str, value: &str) -> String {
    let mut text = "compute_capability = \"8.9\"\n".to_owned();
    for (name, usual) in CARD {
        let value = if name == key { value } else { usual };
        text += &format!("{name} = {value}\n");
    }
    text
}

#[test]
fn numbers_beyond_any_card_are_refused_with_the_bounds() {
    assert!(from_toml(&card_with("", ""), "mine.toml").is_ok());
    let beyond = [
        "0",
        "-1",
        "-0.0",
        "1e-9",
        "1e-300",
        "0.05",
        "2e6",
        "1e9",
        "1e300",
        "inf",
        "-inf",
        "nan",
        "9223372036854775807",
        "-9223372036854775808",
    ];
    for (key, _) in CARD {
        for value in beyond {
            let error = from_toml(&card_with(key, value), "mine.toml").unwrap_err();
            let error = error.to_string();
            for part in ["mine.toml", key, "a positive number of", "from ", " to "] {
                assert!(error.contains(part), "{key} = {value}: {error}");
            }
        }
    }
}

#[test]
fn every_known_card_is_well_inside() {
    for gpu in known().unwrap() {
        assert!(
            gpu.bandwidth_gb_s > 10.0 && gpu.bandwidth_gb_s < 1e5,
            "{}",
            gpu.name
        );
        assert!(
            gpu.half_tflops() > 1.0 && gpu.half_tflops() < 1e5,
            "{}",
            gpu.name
        );
    }
}

#[test]
fn what_is_no_plain_file_of_a_card_s_size_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("pipe.toml");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let large = dir.path().join("large.toml");
    std::fs::File::create(&large)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let endless = dir.path().join("endless.toml");
    std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
    let folder = dir.path().join("folder.toml");
    std::fs::create_dir(&folder).unwrap();
    for (path, part) in [
        (&fifo, "plain file"),
        (&large, "1099511627776 bytes"),
        (&endless, "plain file"),
        (&folder, "plain file"),
    ] {
        let error = read(path).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(".toml"), "{error}");
    }
}
