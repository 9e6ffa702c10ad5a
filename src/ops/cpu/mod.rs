//! The CPU kernels: packed weights, sums in f32, and the rank's own `workers`.

#[macro_use]
mod by_dtype;
mod activation;
pub mod attention;
pub mod attention_kernel;
mod best;
mod columns;
#[cfg(target_arch = "x86_64")]
mod cursor;
pub mod e4m3;
mod elementwise;
mod experts;
mod gated;
pub mod gemm;
pub mod highest;
mod job;
#[cfg(target_arch = "x86_64")]
pub mod kernel_avx2;
#[cfg(target_arch = "x86_64")]
pub mod kernel_avx512;
#[cfg(target_arch = "x86_64")]
pub mod kernel_avx512_bf16;
#[cfg(target_arch = "aarch64")]
pub mod kernel_neon;
pub mod kernel_portable;
mod kv;
mod linear;
mod pack;
pub mod packing;
pub mod pages;
pub mod panel;
pub mod pin;
pub mod rendezvous;
pub mod roof;
pub mod scales;
mod shared;
mod sync;
pub mod tile;
pub mod workers;

use std::cell::RefCell;
use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, bail};
use half::{bf16, f16, vec::HalfBitsVecExt};

use self::gemm::Gemm;
use self::packing::Activations;
use self::panel::unpack_row;
use super::sampling::summary;
use super::storage;
use super::{
    Ask, AttentionShape, Backend, Buffer, DeviceRoofs, ExpertSpace, Experts, HeadNorms, Kernels,
    KvLayer, Linear, Norm, Rope, Routes, Routing, Rows, Summary, WeightRows,
};

/// Picks the instruction set of the host at each call; holds what activations are, and nothing else.
#[derive(Debug, Default, Clone, Copy)]
pub struct Cpu {
    pub activations: Activations,
}

impl Cpu {
    pub const F32: Self = Self {
        activations: Activations::F32,
    };
    pub const BF16: Self = Self {
        activations: Activations::Bf16,
    };

    /// The instruction set of its linear layers on this host, by name.
    pub fn kernels(self) -> &'static str {
        best::name(self.activations)
    }
}

impl Backend for Cpu {
    fn measure_roofs(&self) -> Option<DeviceRoofs> {
        Some(DeviceRoofs {
            read_bytes_per_s: roof::read_bandwidth()?,
            flop_per_s: roof::multiply_add_peak(self.activations),
        })
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
        let len = num_blocks * block_size * shape.num_kv_heads * shape.head_dim;
        let bits = || untouched::<u16>(len);
        let zeros = || match dtype {
            DType::BF16 => Tensor::from_vec(bits().reinterpret_into::<bf16>(), dims, &Device::Cpu),
            DType::F16 => Tensor::from_vec(bits().reinterpret_into::<f16>(), dims, &Device::Cpu),
            DType::F8E4M3 => Tensor::from_vec(e4m3::zeros(len), dims, &Device::Cpu),
            DType::F32 => Tensor::from_vec(untouched::<f32>(len), dims, &Device::Cpu),
            other => bail!("the CPU kernels cache bf16, f16, f32 and e4m3, not {other:?}"),
        };
        Ok(KvLayer {
            k: Buffer::new(zeros()?)?,
            v: Buffer::new(zeros()?)?,
        })
    }

    fn pack(&self, parts: &[&dyn WeightRows], bias: Option<Tensor>) -> Result<Linear> {
        pack::pack(parts, bias)
    }
}

impl Kernels for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn embed(&self, table: &Linear, first: u32, tokens: &[u32], out: &Buffer) -> Result<()> {
        by_plain_dtype!(table.weight.dtype(), T => storage::read(&table.weight, |packed: &[T]| {
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
        linear::linear(x, w, self.activations, rows, out)
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
        by_dtype!(cache.k.dtype(), T => {
            kv::attend::<T>(qkv, shape, self.activations, rows, cache, out)
        })
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

    fn gates(&self, _x: &Tensor, gate_up: &Linear, rows: usize) -> Result<bool> {
        Ok(gated::gates(gate_up, rows))
    }

    fn gated(&self, x: &Tensor, gate_up: &Linear, rows: usize, out: &Buffer) -> Result<()> {
        gated::gated(x, gate_up, self.activations, rows, out)
    }

    fn route(
        &self,
        scores: &Buffer,
        routing: &Routing,
        rows: usize,
        routes: &Routes,
        load: &Buffer,
    ) -> Result<()> {
        experts::route::route(scores, routing, rows, routes, load)
    }

    fn experts(
        &self,
        x: &Buffer,
        experts: &Experts,
        routes: &Routes,
        rows: usize,
        space: &ExpertSpace,
        out: &Buffer,
    ) -> Result<()> {
        experts::experts(x, experts, routes, self.activations, rows, space, out)
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

    fn greedy(
        &self,
        x: &Tensor,
        head: &Linear,
        vocab: &Range<usize>,
        rows: usize,
        _logits: &Buffer,
        out: &mut Vec<(u32, f32)>,
    ) -> Result<()> {
        out.resize(rows, (0, 0.0));
        linear::with_bias(head, |bias| {
            by_plain_dtype!(head.weight.dtype(), T => storage::read(&head.weight, |packed: &[T]| {
                storage::read(x, |values: &[f32]| {
                    let (ldx, n) = (x.dim(1)?, vocab.len());
                    let (k, scales, activations) = (head.k, None, self.activations);
                    let w = packed;
                    let job = Gemm { x: values, ldx, rows, activations, w, n, k, scales, bias, ldo: 0 };
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

/// Zeros that the system gives when they are first touched, so that a cache that is never filled costs
/// nothing; those of bf16 and f16 themselves would be written now. In huge pages: blocks lie scattered,
/// and looking up the page of each takes longer than reading it.
fn untouched<T: Clone + Default>(len: usize) -> Vec<T> {
    let mut zeros = vec![T::default(); len];
    pages::advise_huge(&mut zeros);
    zeros
}

thread_local! {
    /// Candidates of a draw, grown to the vocabulary and kept.
    static CANDIDATES: RefCell<Vec<(f32, u32)>> = const { RefCell::new(Vec::new()) };
}
