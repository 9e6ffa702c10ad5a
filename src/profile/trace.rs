//! Timelines as a Chrome trace, which Perfetto opens: a track a rank, on it steps, layers, operations and kernels
//! within each other, and counters beside them.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::GIGA;
use super::steps::Step;
use crate::ground::recorder::OpRecord;

/// Process of the engine in a trace; rank `r` is the process `r + 1`.
const ENGINE: usize = 0;
/// The one stream of a rank, and the engine's loop.
const STREAM: usize = 0;
const NANOS_PER_MICRO: f64 = 1e3;

/// One step as the engine saw it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TraceStep {
    /// Such as `decode 8 x 512`, or a step's number.
    pub name: String,
    /// On the timelines' clock; a step's operations start between them.
    pub start: Duration,
    pub end: Duration,
    /// Sequences that took part.
    pub batch: usize,
    /// Tokens computed.
    pub rows: usize,
    pub kv_blocks: usize,
}

/// Steps in order, with the operations of each rank.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// Words for the model and the machine.
    pub title: String,
    /// And for each rank.
    pub ranks: Vec<String>,
    pub steps: Vec<TraceStep>,
    pub timelines: Vec<Vec<OpRecord>>,
}

/// One line of the file. Times are microseconds, whole nanoseconds.
#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    cat: &'static str,
    ph: &'static str,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    pid: usize,
    tid: usize,
    args: Value,
}

impl Trace {
    /// Adds what another load showed, later on the same clock.
    pub fn append(&mut self, later: Self) {
        self.steps.extend(later.steps);
        self.timelines
            .resize_with(later.timelines.len().max(self.timelines.len()), Vec::new);
        for (timeline, later) in self.timelines.iter_mut().zip(later.timelines) {
            timeline.extend(later);
        }
    }

    /// Writes one JSON object with an event a line.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let title = Value::from(self.title.as_str());
        write!(
            out,
            "{{\"displayTimeUnit\":\"ms\",\"otherData\":{{\"title\":{title}}},\"traceEvents\":["
        )?;
        let mut events = Events { out, first: true };
        events.names(&self.ranks)?;
        let spans: Vec<_> = self
            .steps
            .iter()
            .map(|step| (step.start, step.end))
            .collect();
        let cut = Step::cut(&spans, &self.timelines);
        for (step, cut) in self.steps.iter().zip(&cut) {
            events.engine_step(step, cut)?;
            for (rank, ops) in cut.ops.iter().enumerate() {
                events.rank_step(rank + 1, &step.name, ops)?;
            }
        }
        if let Some(last) = self.steps.last() {
            events.end(last, self.timelines.len())?;
        }
        writeln!(out, "\n]}}")
    }
}

struct Events<'a, W> {
    out: &'a mut W,
    first: bool,
}

impl<W: Write> Events<'_, W> {
    fn event(&mut self, event: &impl Serialize) -> io::Result<()> {
        self.out
            .write_all(if self.first { b"\n" } else { b",\n" })?;
        self.first = false;
        serde_json::to_writer(&mut *self.out, event)?;
        Ok(())
    }

    /// What stands in front of the tracks, from the engine down to the last rank.
    fn names(&mut self, ranks: &[String]) -> io::Result<()> {
        let ranks = ranks.iter().map(|rank| (rank.as_str(), "stream 0"));
        let tracks = std::iter::once(("engine", "steps")).chain(ranks);
        for (pid, (process, thread)) in (ENGINE..).zip(tracks) {
            let about = [
                ("process_name", json!({"name": process})),
                ("process_sort_index", json!({"sort_index": pid})),
                ("thread_name", json!({"name": thread})),
            ];
            for (name, args) in about {
                self.event(
                    &json!({"name": name, "ph": "M", "pid": pid, "tid": STREAM, "args": args}),
                )?;
            }
        }
        Ok(())
    }

    fn engine_step(&mut self, step: &TraceStep, cut: &Step) -> io::Result<()> {
        let ops = || cut.ops.iter().flat_map(|ops| ops.iter());
        let bytes: u64 = ops().map(|op| op.cost.bytes).sum();
        let flops: u64 = ops().map(|op| op.cost.flops).sum();
        let about = json!({
            "batch": step.batch, "rows": step.rows, "kv_blocks": step.kv_blocks, "bytes": bytes, "flops": flops,
        });
        self.slice((&step.name, "step"), ENGINE, (step.start, step.end), about)?;
        self.counter(
            "batch",
            ENGINE,
            step.start,
            json!({"sequences": step.batch}),
        )?;
        self.counter("rows", ENGINE, step.start, json!({"tokens": step.rows}))?;
        self.counter("KV", ENGINE, step.start, json!({"blocks": step.kv_blocks}))?;
        self.counter(
            "bytes",
            ENGINE,
            step.start,
            json!({"bytes of the step": bytes}),
        )
    }

    /// A slice around all operations, one around those of each layer, and theirs.
    fn rank_step(&mut self, pid: usize, name: &str, ops: &[OpRecord]) -> io::Result<()> {
        let Some(span) = span(ops) else {
            return Ok(());
        };
        self.slice((name, "step"), pid, span, json!({"operations": ops.len()}))?;
        for part in ops.chunk_by(|a, b| a.layer == b.layer) {
            if let (Some(layer), Some(span)) = (part[0].layer, self::span(part)) {
                let name = format!("layer {layer}");
                self.slice((&name, "layer"), pid, span, json!({"layer": layer}))?;
            }
            for op in part {
                self.operation(pid, op)?;
            }
        }
        Ok(())
    }

    fn operation(&mut self, pid: usize, op: &OpRecord) -> io::Result<()> {
        let rate =
            |amount: u64| amount as f64 / op.time.as_secs_f64().max(f64::MIN_POSITIVE) / GIGA;
        let (gb_s, gflop_s) = (rate(op.cost.bytes), rate(op.cost.flops));
        let about = json!({
            "bytes": op.cost.bytes, "flops": op.cost.flops, "gb_s": gb_s, "gflop_s": gflop_s,
        });
        self.slice((op.name, "op"), pid, (op.start, op.end()), about)?;
        self.kernels(pid, op)?;
        self.counter("GB/s", pid, op.start, json!({"GB/s": gb_s}))?;
        self.counter("GFLOP/s", pid, op.start, json!({"GFLOP/s": gflop_s}))
    }

    /// One behind the other, as they were timed.
    fn kernels(&mut self, pid: usize, op: &OpRecord) -> io::Result<()> {
        let mut start = op.start;
        for launch in op.launches.iter().flatten() {
            start = start.saturating_add(launch.gap);
            let end = start.saturating_add(launch.time).min(op.end());
            let about = match launch.shape {
                Some(shape) => json!({
                    "grid": shape.grid, "block": shape.block, "registers": shape.registers,
                    "shared_bytes": shape.shared_bytes, "occupancy": shape.occupancy, "bytes": launch.bytes,
                }),
                None => json!({}),
            };
            self.slice((&launch.kernel, "kernel"), pid, (start, end), about)?;
            start = end;
        }
        Ok(())
    }

    /// Lets every counter fall to nothing behind the last step.
    fn end(&mut self, last: &TraceStep, ranks: usize) -> io::Result<()> {
        self.counter("batch", ENGINE, last.end, json!({"sequences": 0}))?;
        self.counter("rows", ENGINE, last.end, json!({"tokens": 0}))?;
        self.counter("KV", ENGINE, last.end, json!({"blocks": last.kv_blocks}))?;
        self.counter("bytes", ENGINE, last.end, json!({"bytes of the step": 0}))?;
        for pid in ENGINE + 1..=ranks {
            self.counter("GB/s", pid, last.end, json!({"GB/s": 0}))?;
            self.counter("GFLOP/s", pid, last.end, json!({"GFLOP/s": 0}))?;
        }
        Ok(())
    }

    fn slice(
        &mut self,
        (name, cat): (&str, &'static str),
        pid: usize,
        (start, end): (Duration, Duration),
        args: Value,
    ) -> io::Result<()> {
        self.event(&Event {
            name,
            cat,
            ph: "X",
            ts: micros(start),
            dur: Some(micros(end.saturating_sub(start))),
            pid,
            tid: STREAM,
            args,
        })
    }

    fn counter(&mut self, name: &str, pid: usize, at: Duration, args: Value) -> io::Result<()> {
        self.event(&Event {
            name,
            cat: "counter",
            ph: "C",
            ts: micros(at),
            dur: None,
            pid,
            tid: STREAM,
            args,
        })
    }
}

/// From the first start to the last end.
fn span(ops: &[OpRecord]) -> Option<(Duration, Duration)> {
    let end = ops.iter().map(OpRecord::end).max()?;
    Some((ops.first()?.start, end))
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / NANOS_PER_MICRO
}
