//! What a collective computes from all ranks' buffers: sums in rank order.

use std::fmt;

use super::gemm::Data;
use crate::driver::work::Part;
use crate::memory::{Fault, View};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    AllReduce,
    AllGather,
    ReduceScatter,
    Broadcast(usize),
    Reduce(usize),
}

/// What all ranks must say alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub kind: Kind,
    pub ty: i32,
    pub operation: i32,
    pub count: u64,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.count * bytes_of(self.ty).unwrap_or(1) as u64;
        write!(
            f,
            "{:?} of {} elements, {bytes} bytes",
            self.kind, self.count
        )
    }
}

/// Sizes and meaning of `ncclDataType_t`.
pub fn bytes_of(ty: i32) -> Option<usize> {
    Some(match ty {
        0 | 1 | 10 | 11 => 1,
        6 | 9 => 2,
        2 | 3 | 7 => 4,
        4 | 5 | 8 => 8,
        _ => return None,
    })
}

fn float_of(ty: i32) -> Option<Data> {
    Some(match ty {
        6 => Data::F16,
        7 => Data::F32,
        8 => Data::F64,
        9 => Data::Bf16,
        10 => Data::E4m3,
        11 => Data::E5m2,
        _ => return None,
    })
}

pub const SUM: i32 = 0;
const PRODUCT: i32 = 1;
const MAX: i32 = 2;
const MIN: i32 = 3;
pub const AVERAGE: i32 = 4;

fn combine(ty: i32, operation: i32, into: &mut [u8], other: &[u8]) {
    if let Some(data) = float_of(ty) {
        let (a, b) = (data.read(into), data.read(other));
        let value = match operation {
            PRODUCT => a * b,
            MAX => a.max(b),
            MIN => a.min(b),
            _ => a + b,
        };
        return data.write(value, into);
    }
    let signed = matches!(ty, 0 | 2 | 4);
    let read = |bytes: &[u8]| {
        let mut all = [if signed && bytes[bytes.len() - 1] & 0x80 != 0 {
            0xff
        } else {
            0
        }; 16];
        all[..bytes.len()].copy_from_slice(bytes);
        i128::from_le_bytes(all)
    };
    let (a, b) = (read(into), read(other));
    let value = match operation {
        PRODUCT => a.wrapping_mul(b),
        MAX => a.max(b),
        MIN => a.min(b),
        _ => a.wrapping_add(b),
    };
    let size = into.len();
    into.copy_from_slice(&value.to_le_bytes()[..size]);
}

/// All ranks' buffers, combined element by element in rank order.
fn reduced(call: &Call, size: usize, buffers: &[Vec<u8>]) -> Vec<u8> {
    let mut out = buffers[0].clone();
    // Half floats are summed in f32 and rounded once.
    if let (Some(data @ (Data::F16 | Data::Bf16)), SUM | AVERAGE) =
        (float_of(call.ty), call.operation)
    {
        for (at, value) in out.chunks_mut(size).enumerate() {
            let sum: f32 = buffers
                .iter()
                .map(|b| data.read(&b[at * size..]) as f32)
                .sum();
            let scale = if call.operation == AVERAGE {
                buffers.len() as f32
            } else {
                1.0
            };
            data.write((sum / scale).into(), value);
        }
        return out;
    }
    for other in &buffers[1..] {
        for (a, b) in out.chunks_mut(size).zip(other.chunks(size)) {
            combine(call.ty, call.operation, a, b);
        }
    }
    if let (Some(data), AVERAGE) = (float_of(call.ty), call.operation) {
        for value in out.chunks_mut(size) {
            data.write(data.read(value) / buffers.len() as f64, value);
        }
    }
    out
}

/// Each rank's result from all ranks' buffers; `None` for a rank that gets none.
pub fn compute(call: &Call, mut buffers: Vec<Vec<u8>>) -> Vec<Option<Vec<u8>>> {
    let size = bytes_of(call.ty).unwrap_or(1);
    let count = call.count as usize * size;
    let ranks = buffers.len();
    match call.kind {
        Kind::AllReduce => vec![Some(reduced(call, size, &buffers)); ranks],
        Kind::Reduce(root) => {
            let sum = reduced(call, size, &buffers);
            (0..ranks)
                .map(|r| (r == root).then(|| sum.clone()))
                .collect()
        }
        Kind::AllGather => vec![Some(buffers.concat()); ranks],
        Kind::ReduceScatter => {
            let sum = reduced(call, size, &buffers);
            (0..ranks)
                .map(|r| Some(sum[r * count..(r + 1) * count].to_vec()))
                .collect()
        }
        Kind::Broadcast(root) => vec![Some(buffers.swap_remove(root)); ranks],
    }
}

impl Call {
    /// Bytes that a rank of so many brings.
    pub fn given(&self, rank: usize, ranks: usize) -> usize {
        let count = self.count as usize * bytes_of(self.ty).unwrap_or(1);
        match self.kind {
            Kind::ReduceScatter => count * ranks,
            Kind::Broadcast(root) if root != rank => 0,
            _ => count,
        }
    }
}

pub fn perform(view: &mut View, call: &Call, parts: &[Part]) -> Result<(), Fault> {
    let mut buffers = Vec::new();
    for (rank, part) in parts.iter().enumerate() {
        let mut bytes = vec![0; call.given(rank, parts.len())];
        view.copy_out(part.send, &mut bytes)?;
        buffers.push(bytes);
    }
    for (part, result) in parts.iter().zip(compute(call, buffers)) {
        if let Some(bytes) = result {
            view.copy_in(part.receive, &bytes)?;
        }
    }
    Ok(())
}
