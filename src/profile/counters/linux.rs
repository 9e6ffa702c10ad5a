//! The kernel's event counters, where it has them and lets us.

use std::io;

use perf_event::events::{Event, Hardware, Software};
use perf_event::{Builder, CountAndTime, Counter};

use super::{Counts, EVENTS};

/// One counter an event, or why there is none.
pub struct Counters(Vec<(&'static str, Result<Open, String>)>);

struct Open {
    counter: Counter,
    /// Where it stood at `start`.
    before: CountAndTime,
}

impl Counters {
    /// For the calling thread and every thread that is started after this: to be called before the ranks
    /// are.
    pub fn open() -> Self {
        let open = |name| (name, Open::new(name).map_err(|e| reason(&e)));
        Self(EVENTS.into_iter().map(open).collect())
    }

    pub fn start(&mut self) {
        for (_, open) in &mut self.0 {
            if let Ok(Err(error)) = open.as_mut().map(Open::start) {
                *open = Err(reason(&error));
            }
        }
    }

    /// Counts since `start`.
    pub fn stop(&mut self) -> Counts {
        let counters = self.0.iter_mut().map(|(name, open)| {
            let counted = match open {
                Ok(open) => open.stop(),
                Err(reason) => Err(reason.clone()),
            };
            (*name, counted)
        });
        Counts(counters.collect())
    }
}

impl Open {
    fn new(name: &str) -> io::Result<Self> {
        let mut counter = counter(name)?;
        let before = counter.read_count_and_time()?;
        Ok(Self { counter, before })
    }

    fn start(&mut self) -> io::Result<()> {
        self.counter.enable()?;
        self.before = self.counter.read_count_and_time()?;
        Ok(())
    }

    /// Scaled up where the counter had to share the processor's few with others.
    fn stop(&mut self) -> Result<f64, String> {
        let now = self.counter.read_count_and_time();
        let now = now.map_err(|e| reason(&e))?;
        self.counter.disable().map_err(|e| reason(&e))?;
        let enabled = now.time_enabled.saturating_sub(self.before.time_enabled);
        let running = now.time_running.saturating_sub(self.before.time_running);
        if enabled > 0 && running == 0 {
            return Err("the processor's counters were taken by others".to_owned());
        }
        let count = now.count.saturating_sub(self.before.count) as f64;
        Ok(match running {
            0 => count,
            running => count * enabled as f64 / running as f64,
        })
    }
}

fn counter(name: &str) -> io::Result<Counter> {
    match name {
        "cycles" => hardware(Hardware::CPU_CYCLES),
        "instructions" => hardware(Hardware::INSTRUCTIONS),
        "cache_references" => hardware(Hardware::CACHE_REFERENCES),
        "cache_misses" => hardware(Hardware::CACHE_MISSES),
        "branch_misses" => hardware(Hardware::BRANCH_MISSES),
        "context_switches" => software(Software::CONTEXT_SWITCHES),
        "cpu_migrations" => software(Software::CPU_MIGRATIONS),
        _ => software(Software::PAGE_FAULTS),
    }
}

fn hardware(event: impl Event) -> io::Result<Counter> {
    Builder::new(event).inherit(true).build()
}

/// The kernel's own doing, so that leaving it out would count nothing.
fn software(event: impl Event) -> io::Result<Counter> {
    Builder::new(event).include_kernel().inherit(true).build()
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "this processor offers no such counter, as in most virtual machines".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "the kernel forbids it: lower kernel.perf_event_paranoid to 1".to_owned()
        }
        _ => format!("the kernel refuses it: {error}"),
    }
}
