//! Kernels through a real compiler: `nvcc` from CUDA_HOME or the PATH (`eval "$(scripts/cuda-env)"`).
//! Without one these tests say so and pass.

mod common;
use std::process::Command;
use std::sync::OnceLock;

use common::Card;
use virtual_gpu::exec::floats::{E4M3, Rounding, bf16_to_f32, f32_to_bf16};

/// The kernels' PTX for an architecture, compiled once.
fn ptx() -> Option<&'static str> {
    static PTX: OnceLock<Option<String>> = OnceLock::new();
    PTX.get_or_init(|| {
        let nvcc =
            std::env::var("CUDA_HOME").map_or("nvcc".into(), |home| format!("{home}/bin/nvcc"));
        let out = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernels/compiled.cu");
        let run = Command::new(nvcc)
            .args(["-arch=sm_89", "--ptx", "-std=c++17", "-o"])
            .arg(&*out)
            .arg(source)
            .output();
        match run {
            Err(_) => {
                eprintln!("SKIPPED: no nvcc in CUDA_HOME or on the PATH");
                None
            }
            Ok(run) => {
                assert!(
                    run.status.success(),
                    "{}",
                    String::from_utf8_lossy(&run.stderr)
                );
                Some(std::fs::read_to_string(&out).unwrap())
            }
        }
    })
    .as_deref()
}

fn launch(
    card: &mut Card,
    name: &str,
    grid: [u32; 3],
    block: u32,
    params: &[u64],
) -> Result<(), virtual_gpu::exec::KernelFault> {
    let module = virtual_gpu::ptx::Module::parse(ptx().unwrap()).unwrap();
    let mut addresses = std::collections::HashMap::new();
    for variable in &module.variables {
        let mut bytes = variable.initial.clone();
        bytes.resize(variable.bytes.max(1), 0);
        addresses.insert(variable.name.clone(), card.upload(&bytes));
    }
    let kernel =
        virtual_gpu::decode::lower(&module, name, &addresses).unwrap_or_else(|e| panic!("{e}"));
    card.launch_grid(&kernel, grid, block, params).map(|_| ())
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0)
        .collect()
}

fn halves(values: &[f32]) -> Vec<u16> {
    values.iter().map(|v| f32_to_bf16(*v)).collect()
}

fn wide(values: &[u16]) -> Vec<f32> {
    values.iter().map(|v| bf16_to_f32(*v)).collect()
}

fn close(got: f32, want: f64, bound: f64, what: &str) {
    assert!(
        (f64::from(got) - want).abs() <= bound * (1.0 + want.abs()),
        "{what}: {got}, not {want}"
    );
}

#[test]
fn mathematical_functions() {
    if ptx().is_none() {
        return;
    }
    let mut card = Card::new();
    let x: Vec<f32> = numbers(500, 1).iter().map(|v| v * 9.0).collect();
    let params = [card.upload(&x), card.alloc(8 * 4 * x.len()), x.len() as u64];
    launch(&mut card, "functions", [4, 1, 1], 128, &params).unwrap_or_else(|e| panic!("{e}"));
    let got = card.download::<f32>(params[1], 8 * x.len());
    for (v, o) in x.iter().zip(got.chunks(8)) {
        let d = f64::from(*v);
        close(o[0], d.exp(), 3e-7, "expf");
        close(o[1], f64::from(v.abs() + 0.5).ln(), 3e-7, "logf");
        close(o[2], d.tanh(), 3e-7, "tanhf");
        close(o[3], f64::from(v * 100.0).sin(), 3e-7, "sinf");
        close(o[5], f64::from(v.abs() + 0.1).powf(1.7), 1e-6, "powf");
        close(o[6], d / (1.0 + (-d).exp()), 1e-5, "silu");
        close(
            o[7],
            E4M3.decode(E4M3.encode(d, Rounding::Nearest, true)),
            0.0,
            "e4m3",
        );
    }
}

#[test]
fn norm_of_rows() {
    if ptx().is_none() {
        return;
    }
    let mut card = Card::new();
    let (rows, width) = (5, 192);
    let (x, w) = (
        halves(&numbers(rows * width, 2)),
        halves(&numbers(width, 3)),
    );
    let params = [
        card.upload(&x),
        card.upload(&w),
        card.alloc(2 * rows * width),
        width as u64 / 2,
    ];
    launch(&mut card, "rms_norm", [rows as u32, 1, 1], 32, &params)
        .unwrap_or_else(|e| panic!("{e}"));
    let got = wide(&card.download::<u16>(params[2], rows * width));
    let (x, w) = (wide(&x), wide(&w));
    for (r, row) in x.chunks(width).enumerate() {
        let mean = row.iter().map(|v| f64::from(v * v)).sum::<f64>() / width as f64;
        for (i, v) in row.iter().enumerate() {
            close(
                got[r * width + i],
                f64::from(*v) / (mean + 1e-6).sqrt() * f64::from(w[i]),
                4e-3,
                "norm",
            );
        }
    }
}

#[test]
fn paged_attention() {
    if ptx().is_none() {
        return;
    }
    let (heads, length, pages) = (3usize, 150usize, 12usize);
    let mut card = Card::new();
    let q = halves(&numbers(heads * 64, 4));
    let k = halves(&numbers(pages * 16 * heads * 64, 5));
    let v = halves(&numbers(pages * 16 * heads * 64, 6));
    let table: Vec<i32> = (0..10).map(|i| (i * 7 + 3) % pages as i32).collect();
    let out = card.alloc(4 * heads * 64);
    let params = [
        card.upload(&q),
        card.upload(&k),
        card.upload(&v),
        card.upload(&table),
        out,
        length as u64,
        heads as u64,
    ];
    launch(&mut card, "attention", [heads as u32, 1, 1], 128, &params)
        .unwrap_or_else(|e| panic!("{e}"));
    let got = card.download::<f32>(out, heads * 64);
    let (q, k, v) = (wide(&q), wide(&k), wide(&v));
    for h in 0..heads {
        let at = |i: usize| ((table[i / 16] as usize * 16 + i % 16) * heads + h) * 64;
        let scores: Vec<f64> = (0..length)
            .map(|i| {
                ((0..64)
                    .map(|d| f64::from(q[h * 64 + d] * k[at(i) + d]))
                    .sum::<f64>()
                    / 8.0)
                    .exp()
            })
            .collect();
        let total: f64 = scores.iter().sum();
        for d in 0..64 {
            let want = scores
                .iter()
                .enumerate()
                .map(|(i, s)| s * f64::from(v[at(i) + d]))
                .sum::<f64>()
                / total;
            close(got[h * 64 + d], want, 1e-5, "attention");
        }
    }
}

#[test]
fn tiles_on_tensor_cores() {
    if ptx().is_none() {
        return;
    }
    let (m, n, k) = (48usize, 40usize, 160usize);
    let mut card = Card::new();
    let (a, b) = (halves(&numbers(m * k, 7)), halves(&numbers(n * k, 8)));
    let params = [
        card.upload(&a),
        card.upload(&b),
        card.alloc(4 * m * n),
        n as u64,
        k as u64,
    ];
    launch(
        &mut card,
        "product",
        [n as u32 / 8, m as u32 / 16, 1],
        32,
        &params,
    )
    .unwrap_or_else(|e| panic!("{e}"));
    let got = card.download::<f32>(params[2], m * n);
    let (a, b) = (wide(&a), wide(&b));
    for r in 0..m {
        for c in 0..n {
            let want: f64 = (0..k)
                .map(|i| f64::from(a[r * k + i]) * f64::from(b[c * k + i]))
                .sum();
            close(got[r * n + c], want, 1e-5, "product");
        }
    }
}

/// Each barrier of the attention kernel is needed: without any one of them a race is seen.
#[test]
fn every_barrier_is_missed() {
    let Some(text) = ptx() else { return };
    let start = text.find(".entry attention").unwrap();
    let end = start + text[start..].find("\n}").unwrap();
    let barriers: Vec<usize> = text[start..end]
        .match_indices("bar.sync")
        .map(|(at, _)| start + at)
        .collect();
    assert!(barriers.len() >= 5, "{} barriers", barriers.len());
    for at in barriers {
        let stop = at + text[at..].find(';').unwrap();
        let broken = format!("{}{}", &text[..at], &text[stop..]);
        let module = virtual_gpu::ptx::Module::parse(&broken).unwrap();
        let mut card = Card::new();
        let variables = module
            .variables
            .iter()
            .map(|v| (v.name.clone(), 0))
            .collect();
        let kernel = virtual_gpu::decode::lower(&module, "attention", &variables).unwrap();
        let some = card.upload(&vec![0x3f80u16; 16 * 2 * 64 * 12]);
        let table = card.upload(&[0i32, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let out = card.alloc(4 * 64);
        let fault = card
            .launch_grid(
                &kernel,
                [1, 1, 1],
                128,
                &[some, some, some, table, out, 150, 1],
            )
            .unwrap_err();
        assert!(
            fault.message.contains("race") || fault.message.contains("never written"),
            "{fault}"
        );
    }
}
