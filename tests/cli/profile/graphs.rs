//! Operations of a graph: captured once, timed at each replay.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use candlepower::ground::launch::Launch;
use candlepower::ground::recorder::{Cost, Recorder, Timer};
use candlepower::ground::{Clock, VirtualClock};

const COST: Cost = Cost { bytes: 3, flops: 5 };

/// A device on which what was launched before a mark takes one microsecond each.
struct Marks {
    /// Launched since the last mark.
    pending: Rc<RefCell<Vec<Launch>>>,
    marks: Vec<Vec<Launch>>,
}

impl Timer for Marks {
    fn mark(&mut self) -> Result<(), String> {
        self.marks.push(self.pending.take());
        Ok(())
    }

    fn times(&mut self) -> Result<Vec<Duration>, String> {
        let mut now = Duration::ZERO;
        let times = self.marks.iter().map(|launches| {
            now += Duration::from_micros(launches.len() as u64);
            now
        });
        Ok(times.collect())
    }

    fn launches(&mut self) -> Result<Option<Vec<Vec<Launch>>>, String> {
        Ok(Some(std::mem::take(&mut self.marks)))
    }

    fn sees_replays(&self) -> bool {
        true
    }

    fn take_back(&mut self, marks: usize) -> Vec<Vec<Launch>> {
        self.marks.split_off(self.marks.len() - marks)
    }

    fn replayed(&mut self, marks: &[Vec<Launch>]) {
        self.marks.extend_from_slice(marks);
    }
}

fn launch(kernel: &str) -> Launch {
    Launch {
        kernel: kernel.into(),
        shape: None,
        gap: Duration::ZERO,
        time: Duration::ZERO,
        bytes: None,
    }
}

#[test]
fn operations_of_a_graph_are_those_of_its_replays() {
    let pending = Rc::new(RefCell::new(Vec::new()));
    let recorder = Recorder::default();
    assert!(!recorder.sees_replays());
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::default());
    let timer = Marks {
        pending: pending.clone(),
        marks: Vec::new(),
    };
    recorder.start_timeline(clock, Some(Box::new(timer)));
    assert!(recorder.sees_replays());
    let run = |name, kernels: &[&str]| {
        let operation = || -> Result<(), ()> {
            pending
                .borrow_mut()
                .extend(kernels.iter().map(|k| launch(k)));
            Ok(())
        };
        recorder.run(name, None, COST, operation).unwrap();
    };
    run("before", &["a"]);
    let ((), graph) = recorder.captured(|| {
        run("one", &["b", "c"]);
        run("none", &[]);
    });
    // What was captured did not run.
    assert_eq!(recorder.take_total(), COST);
    recorder.replayed(&graph);
    run("between", &["d"]);
    recorder.replayed(&graph);
    let total = recorder.take_total();
    assert_eq!((total.bytes, total.flops), (5 * 3, 5 * 5));
    let records = recorder.take_timeline().unwrap();
    let seen: Vec<_> = records
        .iter()
        .map(|record| {
            let launches = record.launches.as_ref().unwrap().iter();
            let kernels: String = launches.map(|launch| &*launch.kernel).collect();
            (record.name, record.time.as_micros(), kernels)
        })
        .collect();
    let row = |name, time, kernels: &str| (name, time, kernels.to_owned());
    assert_eq!(
        seen,
        [
            row("before", 1, "a"),
            row("one", 2, "bc"),
            row("none", 0, ""),
            row("between", 1, "d"),
            row("one", 2, "bc"),
            row("none", 0, ""),
        ]
    );
}
