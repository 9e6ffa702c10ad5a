//! TOML files of cards of one's own.

use std::fs;

use candlepower::hardware::{Capability, find, from_toml, known};
use tempfile::TempDir;

const LEAST: &str =
    "compute_capability = \"8.9\"\nmemory_gib = 23.5\nbandwidth_gb_s = 1008\nfp16_tflops = 165.2\n";

fn error(text: &str) -> String {
    from_toml(text, "my.toml").unwrap_err().to_string()
}

#[test]
fn a_card_written_as_toml_reads_back_as_itself() {
    for gpu in known().unwrap() {
        let text = toml::to_string(gpu).unwrap();
        assert_eq!(&from_toml(&text, "any.toml").unwrap(), gpu, "{text}");
    }
}

#[test]
fn four_keys_are_enough() {
    let gpu = from_toml(LEAST, "dir/my card.toml").unwrap();
    assert_eq!(
        (gpu.name.as_str(), gpu.full_name.as_str()),
        ("my card", "my card")
    );
    assert_eq!((gpu.memory_gib, gpu.bandwidth_gb_s), (23.5, 1008.0));
    assert_eq!(gpu.half_tflops(), 165.2);
    assert_eq!(gpu.sources["memory_gib"], "dir/my card.toml");
    assert_eq!(gpu.absent["power_w"], "not given");
    assert_eq!(gpu.absent["nvlink_gb_s"], "no NVLink");
}

#[test]
fn sources_and_reasons_are_kept() {
    let text = format!(
        "{LEAST}source = \"the seller\"\nsources = {{ memory_gib = \"nvidia-smi\" }}\nabsent = {{ power_w = \"no label\" }}\n"
    );
    let gpu = from_toml(&text, "my.toml").unwrap();
    assert_eq!(gpu.sources["memory_gib"], "nvidia-smi");
    assert_eq!(gpu.sources["bandwidth_gb_s"], "the seller");
    assert_eq!(gpu.absent["power_w"], "no label");
}

#[test]
fn a_capability_may_be_a_number() {
    let of = |value: &str| {
        let text = LEAST.replace("\"8.9\"", value);
        from_toml(&text, "my.toml").unwrap().compute_capability
    };
    assert_eq!(of("9.0"), Capability { major: 9, minor: 0 });
    assert_eq!(
        of("12.0"),
        Capability {
            major: 12,
            minor: 0
        }
    );
    assert!(of("12.0") > of("9.0"));
}

#[test]
fn a_path_that_ends_in_toml_is_read() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mine.TOML");
    fs::write(&path, LEAST).unwrap();
    assert_eq!(find(path.to_str().unwrap()).unwrap().name, "mine");
    let missing = find("no/such.toml").unwrap_err().to_string();
    assert!(
        missing.starts_with("GPU file no/such.toml could not be read: "),
        "{missing}"
    );
}

#[test]
fn errors_name_the_file_the_key_and_the_value() {
    for (key, value) in [
        ("memory_gib", "\"much\""),
        ("memory_gib", "-1"),
        ("bandwidth_gb_s", "0"),
        ("fp16_tflops", "nan"),
        ("fp8_tflops", "inf"),
        ("power_w", "2000000000.0"),
        ("compute_capability", "\"Ada\""),
        ("compute_capability", "9"),
        ("pcie_lanes", "16.5"),
        ("pcie_generation", "0"),
        ("p2p", "\"yes\""),
        ("name", "\"\""),
        ("sources", "\"me\""),
    ] {
        let line = format!("{key} = {value}\n");
        let kept = LEAST.lines().filter(|line| !line.starts_with(key));
        let text: String = kept.map(|line| format!("{line}\n")).collect();
        let said = error(&(text + &line));
        let start = format!("GPU file my.toml has {key} = {value}: it must be ");
        assert!(said.starts_with(&start), "{said}");
        assert!(!said.contains('\n'), "{said}");
    }
    let said = error(&format!("{LEAST}sources = {{ colour = \"me\" }}\n"));
    assert!(
        said.contains("has sources = ") && said.contains("colour"),
        "{said}"
    );
}

#[test]
fn missing_and_unknown_keys_are_named() {
    let said = error("compute_capability = \"8.9\"\nbandwidth_gb_s = 1\nfp16_tflops = 1\n");
    assert!(
        said.contains("my.toml has no key `memory_gib`: add the GiB"),
        "{said}"
    );
    let said = error(&format!("{LEAST}bandwith_gb_s = 5\n"));
    assert!(
        said.contains("unknown key `bandwith_gb_s`: the nearest is `bandwidth_gb_s`"),
        "{said}"
    );
    let said = error("compute_capability = \"8.9\"\nmemory_gib = = 3\n");
    assert!(
        said.starts_with("GPU file my.toml is not TOML: line 2: "),
        "{said}"
    );
    assert!(!said.contains('\n'), "{said}");
}
