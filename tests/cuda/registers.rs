//! What the compiler made of the kernels, for each GPU that there is machine code for: what registers did not hold would
//! be in memory. The build keeps what `ptxas -v` said.

use std::collections::BTreeMap;
use std::path::Path;

/// What is known of one kernel on one GPU.
#[derive(Debug, Default)]
struct Use {
    registers: u32,
    stack: u32,
    spilled: u32,
}

/// The number before `words`.
fn number(line: &str, words: &str) -> Option<u32> {
    let before = line.split(words).next().filter(|b| b.len() < line.len())?;
    before.split_whitespace().next_back()?.parse().ok()
}

/// By kernel and GPU, from the logs of all `kernels/*.cu`.
fn compiled() -> BTreeMap<(String, String), Use> {
    let mut all = BTreeMap::new();
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let sources = std::fs::read_dir(kernels)
        .unwrap()
        .map(|e| e.unwrap().path());
    let stems: Vec<_> = sources
        .filter(|path| path.extension().is_some_and(|e| e == "cu"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    for entry in std::fs::read_dir(env!("OUT_DIR")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let stem = name.split('.').next().unwrap_or_default();
        if !name.ends_with(".fatbin.log") || !stems.iter().any(|s| s == stem) {
            continue;
        }
        let mut kernel = None;
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            if let Some((_, rest)) = line.split_once("Compiling entry function '") {
                let mut quoted = rest.split('\'');
                let found = (quoted.next().unwrap(), quoted.nth(1).unwrap());
                kernel = Some((found.0.to_owned(), found.1.to_owned()));
            }
            let Some(kernel) = &kernel else { continue };
            let found: &mut Use = all.entry(kernel.clone()).or_default();
            found.stack += number(line, " bytes stack frame").unwrap_or(0);
            found.spilled += number(line, " bytes spill stores").unwrap_or(0);
            found.spilled += number(line, " bytes spill loads").unwrap_or(0);
            found.registers += number(line, " registers").unwrap_or(0);
        }
    }
    all
}

#[test]
fn no_kernel_spills() {
    let all = compiled();
    for ((kernel, gpu), found) in &all {
        println!("{kernel} on {gpu}: {found:?}");
        assert!(found.registers > 0, "{kernel} on {gpu}");
        assert_eq!(found.spilled, 0, "{kernel} on {gpu}: {found:?}");
    }
    assert!(all.len() > 300, "{} kernels", all.len());
}

/// What grids are made from: two blocks of prefill, three of decode over heads of 128.
#[test]
fn attention_has_the_registers_that_grids_are_made_from() {
    const ALL: u32 = 65536;
    let all = compiled();
    let mut seen = 0;
    for ((kernel, gpu), found) in &all {
        let (blocks, threads) = match kernel {
            k if k.starts_with("attention_prefill_tall_") => (2, 128),
            k if k.starts_with("attention_decode_128_bf16") => (3, 128),
            _ => continue,
        };
        // In steps of eight for each thread.
        let block = found.registers.next_multiple_of(8) * threads;
        assert!(blocks * block <= ALL, "{kernel} on {gpu}: {found:?}");
        seen += 1;
    }
    assert!(seen > 0);
}
