//! Engines that come and go in one process.

use candle_core::DType;

use super::asked;
use super::process::Process;
use crate::common::{Backend, Model, Session, Setup, fixture};

/// Starts after which everything has been used once.
const WARM: usize = 20;
/// MiB that an allocator may keep.
const SLACK: usize = 12;

#[test]
fn engines_come_and_go_without_a_trace() {
    let starts = asked("CANDLEPOWER_LOAD_STARTS", 200);
    let model = Model::open(&fixture("llama-tiny"));
    let setup = |start: usize| Setup {
        backend: Backend::Cpu,
        kv: DType::BF16,
        tp: 1 + start % 2,
        threads: 2,
        ..Setup::default()
    };
    let mut warm = None;
    for start in 0..starts {
        let mut session = Session::start(&model, &setup(start));
        // One in three is used.
        if start % 3 == 0 {
            let answers = session.together(&[vec![1, 2, 3]], 3);
            assert_eq!(answers[0].len(), 3);
        }
        if start == WARM {
            warm = Some(Process::now());
        }
    }
    let (warm, now) = (warm.unwrap(), Process::now());
    println!("{starts} starts; {warm:?}, then {now:?}");
    // At the first look an engine was there, with its threads.
    assert!(now.threads <= warm.threads, "{warm:?}, then {now:?}");
    assert!(now.files <= warm.files, "{warm:?}, then {now:?}");
    assert!(
        now.resident_mib <= warm.resident_mib + SLACK,
        "{warm:?}, then {now:?}"
    );
}
