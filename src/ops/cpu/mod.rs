//! The CPU kernels: packed weights, f32 arithmetic, and the rank's own `workers`.

mod activation;
pub mod attention;
mod best;
mod elementwise;
pub mod gemm;
pub mod highest;
#[cfg(target_arch = "x86_64")]
pub mod kernel_avx2;
#[cfg(target_arch = "x86_64")]
pub mod kernel_avx512;
#[cfg(target_arch = "aarch64")]
pub mod kernel_neon;
pub mod kernel_portable;
mod kv;
pub mod pages;
pub mod panel;
pub mod pin;
pub mod rendezvous;
pub mod roof;
mod shared;
pub mod tile;
pub mod workers;

use std::cell::RefCell;
use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, bail};
use half::{bf16, f16, vec::HalfBitsVecExt};

use self::gemm::Gemm;
use self::panel::{PanelElement, packed_len, unpack_row};
use super::sampling::summary;
use super::storage::{self, Element};
use super::{
    Ask, AttentionShape, Buffer, ExpertSpace, Experts, HeadNorms, Kernels, KvLayer, Linear, Norm,
    Rope, Routes, Routing, Rows, Summary, WeightRows, reference, weight,
};

/// Elements read from a source at a time while packing: bounds the second copy.
const PACK_CHUNK: usize = 1 << 22;

/// Picks the instruction set of the host at each call; holds no state of its own.
#[derive(Debug, Default, Clone, Copy)]
pub struct Cpu;

/// Calls `$body` with `$type` bound to the element type of `$dtype`.
macro_rules! by_dtype {
    ($dtype:expr, $type:ident => $body:expr) => {
        match $dtype {
            DType::BF16 => {
                type $type = bf16;
                $body
            }
            DType::F16 => {
                type $type = f16;
                $body
            }
            DType::F32 => {
                type $type = f32;
                $body
            }
            other => bail!("the CPU kernels hold bf16, f16 and f32, not {other:?}"),
        }
    };
}

impl Kernels for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn buffer(&self, rows: usize, width: usize) -> Result<Buffer> {
        Buffer::new(Tensor::zeros((rows, width), DType::F32, &Device::Cpu)?)
    }

    fn index_buffer(&self, rows: usize, width: usize) -> Result<Buffer> {
        Buffer::new(Tensor::zeros((rows, width), DType::U32, &Device::Cpu)?)
    }

    fn kv_layer(
        &self,
        num_blocks: usize,
        block_size: usize,
        shape: &AttentionShape,
        dtype: DType,
    ) -> Result<KvLayer> {
        let dims = (num_blocks, block_size, shape.num_kv_heads, shape.head_dim);
        // Zeros of a plain integer type come from the system page by page, when first touched: a
        // cache that is never filled costs nothing. Those of bf16 and f16 would be written now.
        let bits = || vec![0u16; num_blocks * block_size * shape.num_kv_heads * shape.head_dim];
        let zeros = || match dtype {
            DType::BF16 => Tensor::from_vec(bits().reinterpret_into::<bf16>(), dims, &Device::Cpu),
            DType::F16 => Tensor::from_vec(bits().reinterpret_into::<f16>(), dims, &Device::Cpu),
            _ => Tensor::zeros(dims, dtype, &Device::Cpu),
        };
        Ok(KvLayer {
            k: Buffer::new(zeros()?)?,
            v: Buffer::new(zeros()?)?,
        })
    }

    fn pack(&self, parts: &[&dyn WeightRows], bias: Option<Tensor>) -> Result<Linear> {
        let Some(first) = parts.first() else {
            bail!("a linear layer was given no weights");
        };
        let k = first.shape().1;
        let n = parts.iter().map(|part| part.shape().0).sum();
        // Parts of one layer that differ in type meet in f32.
        let dtype = match parts.iter().all(|part| part.dtype() == first.dtype()) {
            true => first.dtype(),
            false => DType::F32,
        };
        let dtype = match dtype {
            DType::F8E4M3 => DType::F32,
            other => other,
        };
        let weight = by_dtype!(dtype, T => pack_as::<T>(parts, n, k)?);
        Ok(Linear {
            n,
            k,
            weight,
            bias,
            scales: None,
        })
    }

    fn embed(&self, table: &Linear, first: u32, tokens: &[u32], out: &Buffer) -> Result<()> {
        by_dtype!(table.weight.dtype(), T => storage::read(&table.weight, |packed: &[T]| {
            storage::write(out, |out: &mut [f32]| {
                let out = &mut out[..tokens.len() * table.k];
                elementwise::for_rows(out, table.k, |i, row| {
                    match tokens[i].checked_sub(first).map(|token| token as usize) {
                        Some(token) if token < table.n => unpack_row(packed, token, row),
                        _ => row.fill(0.0),
                    }
                });
                Ok(())
            })
        }))
    }

    fn rope(&self, rope: &Rope, positions: &[u32], out: &Buffer) -> Result<()> {
        storage::write(out, |out: &mut [f32]| {
            elementwise::rotations(rope, positions, out);
            Ok(())
        })
    }

    fn add_norm(
        &self,
        x: &Buffer,
        delta: Option<&Buffer>,
        norm: &Norm,
        rows: usize,
        out: &Buffer,
    ) -> Result<()> {
        storage::read(&norm.weight, |weight: &[f32]| {
            storage::write(out, |out: &mut [f32]| {
                let out = &mut out[..rows * weight.len()];
                match delta {
                    None => storage::read(x, |x: &[f32]| {
                        elementwise::norm(x, weight, norm.eps, out);
                        Ok(())
                    }),
                    Some(delta) => storage::read(delta, |delta: &[f32]| {
                        storage::write(x, |x: &mut [f32]| {
                            elementwise::add_norm(x, delta, weight, norm.eps, out);
                            Ok(())
                        })
                    }),
                }
            })
        })
    }

    fn linear(&self, x: &Tensor, w: &Linear, rows: usize, out: &Buffer) -> Result<()> {
        with_bias(w, |bias| multiply(x, w, rows, bias, out))
    }

    fn write_kv(
        &self,
        qkv: &Buffer,
        shape: &AttentionShape,
        norms: Option<&HeadNorms>,
        rotation: &Tensor,
        rows: &Rows,
        cache: &KvLayer,
    ) -> Result<()> {
        by_dtype!(cache.k.dtype(), T => {
            kv::write::<T>(qkv, shape, norms, rotation, rows, cache)
        })
    }

    fn attend(
        &self,
        qkv: &Tensor,
        shape: &AttentionShape,
        rows: &Rows,
        cache: &KvLayer,
        out: &Buffer,
    ) -> Result<()> {
        by_dtype!(cache.k.dtype(), T => kv::attend::<T>(qkv, shape, rows, cache, out))
    }

    fn silu_mul(&self, gate_up: &Tensor, rows: usize, out: &Buffer) -> Result<()> {
        let width = out.dim(1)?;
        storage::read(gate_up, |gate_up: &[f32]| {
            storage::write(out, |out: &mut [f32]| {
                elementwise::silu_mul(gate_up, width, &mut out[..rows * width]);
                Ok(())
            })
        })
    }

    fn route(
        &self,
        scores: &Buffer,
        routing: &Routing,
        rows: usize,
        routes: &Routes,
        load: &Buffer,
    ) -> Result<()> {
        reference::experts::route(scores, routing, rows, routes, load)
    }

    fn experts(
        &self,
        x: &Buffer,
        experts: &Experts,
        routes: &Routes,
        rows: usize,
        _space: &ExpertSpace,
        out: &Buffer,
    ) -> Result<()> {
        reference::experts::experts(self, x, experts, routes, rows, out)
    }

    fn gather(&self, x: &Tensor, indices: &[u32], out: &Buffer) -> Result<()> {
        let width = x.dim(1)?;
        storage::read(x, |x: &[f32]| {
            storage::write(out, |out: &mut [f32]| {
                for (row, &index) in out.chunks_exact_mut(width).zip(indices) {
                    row.copy_from_slice(&x[index as usize * width..][..width]);
                }
                Ok(())
            })
        })
    }

    fn summarize(
        &self,
        logits: &Tensor,
        vocab: &Range<usize>,
        asks: &[Ask],
        out: &mut Vec<Summary>,
    ) -> Result<()> {
        if out.len() < asks.len() {
            out.resize_with(asks.len(), Summary::default);
        }
        let width = logits.dim(1)?;
        storage::read(logits, |logits: &[f32]| {
            workers::each_chunk(&mut out[..asks.len()], 1, |i, summary| {
                let mut scratch = CANDIDATES.take();
                let row = &logits[asks[i].row * width..][..vocab.len()];
                let first = vocab.start as u32;
                summary::summarize(row, first, &asks[i], &mut scratch, &mut summary[0]);
                CANDIDATES.set(scratch);
            });
            Ok(())
        })
    }

    fn locate(
        &self,
        logits: &Tensor,
        vocab: &Range<usize>,
        row: usize,
        temperature: f32,
        mass: f64,
    ) -> Result<(u32, f32)> {
        let width = logits.dim(1)?;
        storage::read(logits, |logits: &[f32]| {
            let row = &logits[row * width..][..vocab.len()];
            let first = vocab.start as u32;
            Ok(summary::locate(row, first, temperature, mass))
        })
    }

    fn greedy(
        &self,
        x: &Tensor,
        head: &Linear,
        vocab: &Range<usize>,
        rows: usize,
        out: &mut Vec<(u32, f32)>,
    ) -> Result<()> {
        out.resize(rows, (0, 0.0));
        with_bias(head, |bias| {
            by_dtype!(head.weight.dtype(), T => storage::read(&head.weight, |packed: &[T]| {
                storage::read(x, |values: &[f32]| {
                    let (ldx, n) = (x.dim(1)?, vocab.len());
                    let job = Gemm { x: values, ldx, rows, w: packed, n, k: head.k, bias, ldo: 0 };
                    highest::highest(&job, out);
                    Ok(())
                })
            }))
        })?;
        for (token, _) in out {
            *token += vocab.start as u32;
        }
        Ok(())
    }
}

thread_local! {
    /// Candidates of a draw, grown to the vocabulary and kept.
    static CANDIDATES: RefCell<Vec<(f32, u32)>> = const { RefCell::new(Vec::new()) };
}

fn with_bias(w: &Linear, f: impl FnOnce(Option<&[f32]>) -> Result<()>) -> Result<()> {
    match &w.bias {
        None => f(None),
        Some(bias) => storage::read(bias, |bias: &[f32]| f(Some(bias))),
    }
}

fn pack_as<T: Element + PanelElement>(
    parts: &[&dyn WeightRows],
    n: usize,
    k: usize,
) -> Result<Tensor> {
    let mut packed = vec![<T as PanelElement>::ZERO; packed_len(n, k)];
    pages::advise_huge(&mut packed);
    let chunk = (PACK_CHUNK / k).max(1);
    let mut first = 0;
    for part in parts {
        let (rows, columns) = part.shape();
        if columns != k {
            bail!("stacked weights have {k} and {columns} columns");
        }
        for start in (0..rows).step_by(chunk) {
            let range = start..rows.min(start + chunk);
            let count = range.len();
            let values = match T::DTYPE {
                DType::F32 => weight::read_widened(*part, range)?,
                _ => part.read(range)?,
            };
            storage::read(&values, |values: &[T]| {
                let source = panel::Source {
                    values,
                    stride: k,
                    rows: count,
                    k,
                };
                panel::pack(source, first + start, &mut packed);
                Ok(())
            })?;
        }
        first += rows;
    }
    let len = packed.len();
    Tensor::from_vec(packed, len, &Device::Cpu)
}

fn multiply(x: &Tensor, w: &Linear, rows: usize, bias: Option<&[f32]>, out: &Buffer) -> Result<()> {
    let (ldx, ldo) = (x.dim(1)?, out.dim(1)?);
    by_dtype!(w.weight.dtype(), T => storage::read(&w.weight, |packed: &[T]| {
        storage::read(x, |x: &[f32]| {
            storage::write(out, |out: &mut [f32]| {
                let job = Gemm { x, ldx, rows, w: packed, n: w.n, k: w.k, bias, ldo };
                gemm::linear(&job, out);
                Ok(())
            })
        })
    }))
}
