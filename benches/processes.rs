//! One process with a thread for every core beside as many pinned processes with one thread each, in turns: what the
//! threads' meetings cost. `cargo bench --bench processes [-- CARD [LAYERS]]`.

mod activations;
mod steps;

use std::io::{BufRead, BufReader, Lines, Write, stdin};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use candlepower::exec::StepOutput;
use candlepower::ops::cpu::pin;

/// `(sequences, rows of each, context of each)`.
const LOADS: [(usize, usize, usize); 2] = [(8, 1, 132), (1, 256, 256)];
/// A turn is long against a step and short against what a neighbour does.
const TURN: Duration = Duration::from_millis(500);
const ROUNDS: usize = 24;
const LAYERS: &str = "8";
/// How this program calls itself: `CARD LAYERS serve THREADS FIRST_CPU|any`.
const SERVE: &str = "serve";
const ANYWHERE: &str = "any";

fn main() {
    let arguments = steps::arguments();
    let card = arguments.first().map_or(steps::CARD, String::as_str);
    let layers = arguments.get(1).map_or(LAYERS, String::as_str);
    match arguments.get(2..) {
        Some([role, threads, place]) if role == SERVE => serve(threads, place),
        _ => compare(card, layers),
    }
}

fn compare(card: &str, layers: &str) {
    let cpus = pin::cpus().expect("the CPUs of this process").len();
    let mut whole = Server::start(card, layers, cpus, ANYWHERE);
    let mut pinned = Server::start(card, layers, cpus, "0");
    let mut single: Vec<Server> = (0..cpus)
        .map(|cpu| Server::start(card, layers, 1, &cpu.to_string()))
        .collect();
    println!(
        "{card}, {layers} layers: steps a second of one process with {cpus} threads, of the same pinned, and of {cpus} pinned processes with one"
    );
    for (index, (sequences, rows, context)) in LOADS.into_iter().enumerate() {
        let mut rates: [Vec<f64>; 3] = Default::default();
        for _ in 0..ROUNDS {
            rates[0].push(turn(std::slice::from_mut(&mut whole), index));
            rates[1].push(turn(std::slice::from_mut(&mut pinned), index));
            rates[2].push(turn(&mut single, index));
        }
        let to_single = |rates_of: &[f64]| {
            let neighbours = rates_of.iter().zip(&rates[2]);
            let mut ratios: Vec<f64> = neighbours.map(|(one, single)| one / single).collect();
            ratios.sort_by(f64::total_cmp);
            ratios
        };
        let (free, bound) = (to_single(&rates[0]), to_single(&rates[1]));
        let middle = |values: &[f64]| {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted[ROUNDS / 2]
        };
        println!(
            "  {sequences:3} x {rows:3} rows, context {context}: {:7.1} {:7.1} {:7.1}; to the last {:.3} ({:.3} to {:.3}), pinned {:.3} ({:.3} to {:.3}): median and middle half of {ROUNDS} rounds",
            middle(&rates[0]),
            middle(&rates[1]),
            middle(&rates[2]),
            free[ROUNDS / 2],
            free[ROUNDS / 4],
            free[ROUNDS - 1 - ROUNDS / 4],
            bound[ROUNDS / 2],
            bound[ROUNDS / 4],
            bound[ROUNDS - 1 - ROUNDS / 4],
        );
    }
}

/// Steps a second of all of `servers` at once.
fn turn(servers: &mut [Server], load: usize) -> f64 {
    servers.iter_mut().for_each(|server| server.ask(load));
    servers.iter_mut().map(Server::rate).sum()
}

/// Another process of this program, which holds a model and runs it when asked.
struct Server {
    process: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn start(card: &str, layers: &str, threads: usize, place: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut process = Command::new(program)
            .args([card, layers, SERVE, &threads.to_string(), place])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program, once more");
        let questions = process.stdin.take().expect("a pipe");
        let answers = process.stdout.take().expect("a pipe");
        let mut answers = BufReader::new(answers).lines();
        answers.next();
        Self {
            process,
            questions,
            answers,
        }
    }

    fn ask(&mut self, load: usize) {
        writeln!(self.questions, "{load}").expect("a server that listens");
    }

    fn rate(&mut self) -> f64 {
        let line = self.answers.next().expect("an answer").expect("a line");
        line.parse().expect("steps a second")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Answers each number of a load with the steps a second that it runs at.
fn serve(threads: &str, place: &str) {
    let (_, spec) = steps::model_of_arguments();
    let mut ranks = steps::load(&spec, 1, threads.parse().expect("a number of threads"));
    if let Ok(first) = place.parse() {
        ranks.with_first(|_| pin::pin_workers(first).expect("a CPU a thread"));
    }
    let plans =
        LOADS.map(|(sequences, rows, context)| steps::plan(&spec, sequences, rows, context));
    let mut output = StepOutput::default();
    let mut step = |plan| {
        ranks.with_first(|rank| rank.step(plan, &mut output).expect("a step"));
    };
    plans.iter().for_each(&mut step);
    println!("ready");
    for line in stdin().lines() {
        let plan = &plans[line.expect("a question").parse::<usize>().expect("a load")];
        let (start, mut count) = (Instant::now(), 0_u32);
        while start.elapsed() < TURN {
            step(plan);
            count += 1;
        }
        println!("{}", f64::from(count) / start.elapsed().as_secs_f64());
    }
}
