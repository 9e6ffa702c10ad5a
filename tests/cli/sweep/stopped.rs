//! A sweep that is stopped after every number of points that there is, and goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use candlepower::capacity::{self, Point, Store, Sweep};
use candlepower::ground::Progress;
use candlepower::{EngineOptions, LoadOptions};
use serde_json::{Map, Value};

use super::files;

/// Told to stop once so many points are done.
struct Until {
    most: usize,
    done: AtomicUsize,
    stop: AtomicBool,
}

impl Progress for Until {
    fn advance(&self, units: u64) {
        let before = self.done.fetch_add(units as usize, Ordering::Relaxed);
        if before + units as usize >= self.most {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn stop(&self) -> &AtomicBool {
        &self.stop
    }
}

fn points() -> Vec<Point> {
    let point = |(tp, concurrency): (usize, usize)| Point {
        settings: Map::from_iter([
            ("tp".to_owned(), Value::from(tp)),
            ("concurrency".to_owned(), Value::from(concurrency)),
        ]),
        options: EngineOptions::new("Qwen2.5-0.5B")
            .device("sim:h100-sxm")
            .tp(tp),
        load: LoadOptions::default()
            .concurrency([concurrency])
            .requests([4])
            .output_len(4),
    };
    let grid = [1, 2, 3].into_iter();
    // Three do not divide its heads: these points fail.
    grid.flat_map(|tp| [1, 2, 4, 8].map(|c| (tp, c)))
        .map(point)
        .collect()
}

fn swept(dir: &Path, most: usize) -> Sweep {
    let until: Arc<dyn Progress> = Arc::new(Until {
        most,
        done: AtomicUsize::default(),
        stop: AtomicBool::new(most == 0),
    });
    let store = Store::open(dir, false).unwrap();
    capacity::sweep(&points(), &store, &until).unwrap()
}

#[test]
fn wherever_it_stops_no_point_is_lost_or_played_twice() {
    let all = points().len();
    for first in 0..=all {
        for second in [0, 1, 3] {
            let dir = tempfile::tempdir().unwrap();
            let one = swept(dir.path(), first);
            let before = files(dir.path());
            assert_eq!(one.points.len(), before.len());
            assert_eq!(one.partial, before.len() < all);
            swept(dir.path(), second);
            let between = files(dir.path());
            let last = swept(dir.path(), usize::MAX);
            let after = files(dir.path());
            assert_eq!(
                (after.len(), last.points.len(), last.partial),
                (all, all, false)
            );
            for earlier in [&before, &between] {
                for (name, point) in earlier {
                    assert_eq!(after.get(name), Some(point), "{name} was played again");
                }
            }
            let asked: Vec<_> = points().into_iter().map(|point| point.settings).collect();
            let rows: Vec<_> = last.points.into_iter().map(|row| row.settings).collect();
            assert_eq!(rows, asked, "in the order asked for, each once");
        }
    }
}
