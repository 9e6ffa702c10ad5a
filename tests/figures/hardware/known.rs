//! The cards that the program carries.

use std::collections::BTreeSet;

use candlepower::hardware::{Capability, Gpu, Link, find, known};

/// The names that the command line promises.
const PROMISED: [&str; 21] = [
    "rtx3090",
    "rtx4090-24g",
    "rtx4090-48g",
    "rtx5090",
    "a10",
    "a10g",
    "a40",
    "a6000",
    "l4",
    "l40s",
    "rtx6000ada",
    "rtxpro6000",
    "a100-40g",
    "a100-80g",
    "h100-pcie",
    "h100-sxm",
    "h200",
    "h20-96g",
    "h20-141g",
    "v100-16g",
    "v100-32g",
];

/// Keys that are words about a card, not figures.
const WORDS: [&str; 4] = ["name", "full_name", "sources", "absent"];

fn all() -> Vec<Gpu> {
    known().unwrap().to_vec()
}

#[test]
fn every_promised_name_is_known_in_any_case() {
    for name in PROMISED.iter().chain(&["rtx2060-12g"]) {
        assert_eq!(find(name).unwrap().name, *name);
        assert_eq!(find(&name.to_uppercase()).unwrap().name, *name);
    }
}

#[test]
fn names_are_unique_and_easy_to_type() {
    let mut seen = BTreeSet::new();
    for gpu in all() {
        assert!(seen.insert(gpu.name.clone()), "{} is there twice", gpu.name);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(gpu.name.chars().all(plain), "{}", gpu.name);
    }
    let full: BTreeSet<_> = all().into_iter().map(|gpu| gpu.full_name).collect();
    assert_eq!(full.len(), seen.len(), "two cards have one full name");
}

/// Every figure has a source, every gap a reason, and nothing has both or neither.
#[test]
fn every_value_has_a_source_and_every_gap_a_reason() {
    for gpu in all() {
        let serde_json::Value::Object(values) = serde_json::to_value(&gpu).unwrap() else {
            panic!("a card is an object");
        };
        let figures = values
            .iter()
            .filter(|(key, _)| !WORDS.contains(&key.as_str()));
        for (key, value) in figures {
            let (source, reason) = (gpu.sources.get(key), gpu.absent.get(key));
            assert_eq!(source.is_some(), !value.is_null(), "{} {key}", gpu.name);
            assert_eq!(reason.is_some(), value.is_null(), "{} {key}", gpu.name);
            let words = source.or(reason).unwrap();
            // A short name of [cite] that was mistyped would come through unexpanded.
            assert!(
                words.contains(' ') || words.contains("://"),
                "{} {key}: {words}",
                gpu.name
            );
            assert_ne!(words, "not given", "{} {key}", gpu.name);
        }
    }
}

#[test]
fn memory_is_below_the_sticker_and_above_nine_tenths_of_it() {
    for gpu in all() {
        let sticker = gpu.memory_sticker_gb.unwrap();
        // Sellers of GDDR cards count GiB, sellers of some HBM cards GB: CUDA's GiB is below both.
        assert!(gpu.memory_gib < sticker, "{}", gpu.name);
        assert!(
            gpu.memory_gib > sticker * 0.9,
            "{}: {}",
            gpu.name,
            gpu.memory_gib
        );
    }
}

#[test]
fn what_was_measured_is_below_the_data_sheet_but_of_its_size() {
    for gpu in all() {
        let pairs = [
            (gpu.measured_copy_gb_s, Some(gpu.bandwidth_gb_s)),
            (gpu.measured_read_gb_s, Some(gpu.bandwidth_gb_s)),
            (gpu.measured_matmul_tflops, Some(gpu.half_tflops())),
            (gpu.measured_fp8_matmul_tflops, gpu.fp8_tflops),
            (gpu.idle_w, gpu.power_w),
        ];
        for (measured, sheet) in pairs {
            let Some(measured) = measured else { continue };
            assert!(measured <= sheet.unwrap(), "{}: {measured}", gpu.name);
        }
        let rates = [gpu.measured_copy_gb_s, gpu.measured_read_gb_s];
        for rate in rates.into_iter().flatten() {
            assert!(rate > 0.7 * gpu.bandwidth_gb_s, "{}: {rate}", gpu.name);
        }
    }
}

#[test]
fn rates_follow_the_architecture() {
    for gpu in all() {
        let name = &gpu.name;
        assert_eq!(
            gpu.bf16_tflops.is_some(),
            gpu.compute_capability >= Capability::BF16,
            "{name}"
        );
        assert_eq!(
            gpu.fp8_tflops.is_some(),
            gpu.compute_capability >= Capability::FP8,
            "{name}"
        );
        if let Some(bf16) = gpu.bf16_tflops {
            assert_eq!(bf16, gpu.fp16_tflops, "{name}");
        }
        if let Some(fp8) = gpu.fp8_tflops {
            let ratio = fp8 / gpu.half_tflops();
            assert!(
                (1.98..=2.03).contains(&ratio),
                "{name}: fp8 is {ratio} x 16 bit"
            );
        }
        assert!(gpu.f32_tflops.unwrap() < gpu.half_tflops(), "{name}");
        // Bytes that memory can bring for each FLOP: no card is far from its kind.
        let balance = gpu.half_tflops() * 1e3 / gpu.bandwidth_gb_s;
        assert!(
            (30.0..450.0).contains(&balance),
            "{name}: {balance} FLOP/byte"
        );
        assert!(
            gpu.power_w.is_none_or(|w| (50.0..=1200.0).contains(&w)),
            "{name}"
        );
    }
}

#[test]
fn geforce_halves_tensor_rates_with_fp32_accumulate() {
    for gpu in all().iter().filter(|gpu| gpu.full_name.contains("GeForce")) {
        let ratio = gpu.half_tflops() / gpu.f32_tflops.unwrap();
        // Turing's f32 rate is half of what later cards have, for each tensor FLOP.
        let full = if gpu.compute_capability < Capability::BF16 {
            8.0
        } else {
            4.0
        };
        assert!((ratio / full - 0.5).abs() < 0.02, "{}: {ratio}", gpu.name);
        assert_eq!(gpu.p2p, Some(false), "{}", gpu.name);
    }
}

#[test]
fn links_are_what_is_sold() {
    let link = |name: &str| find(name).unwrap().link();
    assert_eq!(link("rtx4090-48g"), Link::PcieHost);
    assert_eq!(
        link("rtx3090"),
        Link::PcieHost,
        "its NVLink is a bridge, bought apart"
    );
    assert_eq!(link("l40s"), Link::PcieP2p);
    assert_eq!(link("h100-pcie"), Link::PcieP2p);
    assert_eq!(link("a100-80g"), Link::NvLink(3));
    assert_eq!(link("h20-96g"), Link::NvLink(4));
    assert_eq!(link("a10g"), Link::PcieHost, "not known: the slower of two");
    let slot = |name: &str| find(name).unwrap().pcie_gb_s();
    assert!((slot("rtx4090-24g").unwrap() - 31.5).abs() < 0.01);
    assert!((slot("rtx5090").unwrap() - 63.0).abs() < 0.01);
    assert_eq!(slot("gh200-96g"), None);
}

#[test]
fn an_unknown_name_gets_the_nearest_ones() {
    let error = |name: &str| find(name).unwrap_err().to_string();
    let both = error("rtx4090");
    assert!(
        both.contains("rtx4090-24g (NVIDIA GeForce RTX 4090), rtx4090-48g ("),
        "{both}"
    );
    let typo = error("h100sxm");
    assert!(
        typo.starts_with("GPU `h100sxm` is not known: the nearest are h100-sxm (NVIDIA H100"),
        "{typo}"
    );
    let printed = error("NVIDIA L40S");
    assert!(printed.contains("nearest are l40s"), "{printed}");
    let nothing = error("");
    assert!(nothing.contains("candlepower gpus"), "{nothing}");
}
