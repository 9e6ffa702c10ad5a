//! Which record is of which launch: a stream runs kernels in the order in which they were launched, and a graph in that of
//! its capture.

use std::ops::Range;

use super::records::Record;
use crate::ground::launch::Launch;

/// For each of `launched`, its part of `seen`: one record of an own kernel, which has its name; of a library's call those
/// up to the next launch.
///
/// # Errors
/// How they do not go together, as a sentence.
pub fn matched(launched: &[&Launch], seen: &[Record]) -> Result<Vec<Range<usize>>, String> {
    let mut at = 0;
    let mut parts = Vec::new();
    for (index, launch) in launched.iter().enumerate() {
        let rest = &seen[at..];
        let count = match launch.shape {
            Some(_) => own(launch, rest)?,
            None => library(launch, launched.get(index + 1).copied(), rest)?,
        };
        parts.push(at..at + count);
        at += count;
    }
    match seen.get(at) {
        None => Ok(parts),
        Some(behind) => Err(format!(
            "CUPTI tells of {} behind the last of {} launches",
            behind.name,
            launched.len()
        )),
    }
}

fn own(launch: &Launch, rest: &[Record]) -> Result<usize, String> {
    let kernel = &launch.kernel;
    match rest.first() {
        Some(record) if record.name == *kernel => Ok(1),
        Some(record) => Err(format!(
            "CUPTI tells of {} where {kernel} was launched",
            record.name
        )),
        None => Err(format!("CUPTI does not tell of {kernel}")),
    }
}

/// A call may launch several.
fn library(launch: &Launch, next: Option<&Launch>, rest: &[Record]) -> Result<usize, String> {
    let call = &launch.kernel;
    let is_own = |record: &&Record| match next {
        None => true,
        Some(next) if next.shape.is_some() => record.name != next.kernel,
        Some(_) => is_nccl(&record.name) == is_nccl(call),
    };
    if let Some(next) = next.filter(|next| next.shape.is_none())
        && is_nccl(&next.kernel) == is_nccl(call)
    {
        return Err(format!(
            "{call} and {} follow each other: nobody tells their kernels apart",
            next.kernel
        ));
    }
    match rest.iter().take_while(is_own).count() {
        0 => Err(format!("CUPTI does not tell of {call}'s kernels")),
        count => Ok(count),
    }
}

/// Of a call, or of a kernel as the linker knows it.
fn is_nccl(name: &str) -> bool {
    name.contains("nccl")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ground::launch::LaunchShape;

    const SHAPE: LaunchShape = LaunchShape {
        grid: [1; 3],
        block: 32,
        registers: None,
        shared_bytes: 0,
        occupancy: None,
    };

    fn launch(kernel: &str) -> Launch {
        let is_library = ["cublas", "nccl"].iter().any(|l| kernel.starts_with(l));
        Launch {
            kernel: kernel.into(),
            shape: (!is_library).then_some(SHAPE),
            gap: Duration::ZERO,
            time: Duration::ZERO,
            bytes: None,
        }
    }

    fn record(name: &str) -> Record {
        Record {
            name: name.into(),
            start: 1,
            end: 2,
            shape: SHAPE,
            bytes: None,
        }
    }

    fn of(launched: &str, seen: &str) -> Result<Vec<Range<usize>>, String> {
        let launched: Vec<Launch> = launched.split_whitespace().map(launch).collect();
        let seen: Vec<Record> = seen.split_whitespace().map(record).collect();
        matched(&launched.iter().collect::<Vec<_>>(), &seen)
    }

    #[test]
    fn own_kernels_have_one_record_each_and_calls_of_libraries_all_up_to_the_next() {
        assert_eq!(of("norm gemv", "norm gemv").unwrap(), [0..1, 1..2]);
        assert_eq!(
            of("norm cublasLtMatmul norm", "norm gemm splitk norm").unwrap(),
            [0..1, 1..3, 3..4]
        );
        assert_eq!(
            of(
                "cublasLtMatmul ncclAllReduce norm",
                "gemm splitk _Z1ncclDevKernel norm"
            )
            .unwrap(),
            [0..2, 2..3, 3..4]
        );
        assert_eq!(of("norm cublasLtMatmul", "norm a b").unwrap(), [0..1, 1..3]);
        assert!(of("", "").unwrap().is_empty());
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        for (launched, seen, named) in [
            ("norm gemv", "norm stranger gemv", "stranger where gemv"),
            ("norm gemv", "norm", "not tell of gemv"),
            ("norm", "norm gemv", "gemv behind the last of 1"),
            ("cublasLtMatmul norm", "norm", "cublasLtMatmul's kernels"),
            ("cublasLtMatmul ncclAllReduce", "gemm", "ncclAllReduce's"),
            ("cublasLtMatmul cublasLtMatmul", "a b", "follow each other"),
        ] {
            let said = of(launched, seen).unwrap_err();
            assert!(said.contains(named), "{said}");
        }
    }
}
