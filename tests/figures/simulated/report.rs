//! The report's own rows at one request at a time.

use candlepower::exec::Server;
use candlepower::reference;

use super::setup::{Asked, card, gpu, ms_per_token, run, simulation};

/// Relative error of each row.
const ROW_ERROR: f64 = 0.04;
/// The same under load, where most of a step is sums between the ranks.
const LOADED_ROW_ERROR: f64 = 0.45;

/// Tensor-parallel ranks of the report's machines, by the end of their names.
fn ranks(hardware: &str) -> usize {
    hardware.rsplit("-x").next().unwrap().parse().unwrap()
}

#[test]
fn rows_of_one_request_at_a_time_are_near() {
    let rows = reference::library().unwrap();
    let rows = rows.iter().filter(|row| {
        let seen = row.concurrency == Some(1) && row.failure.is_none();
        seen && row.hardware.name.starts_with("rtx4090-48g")
    });
    let mut count = 0;
    for row in rows {
        let name = reference::short_name(&row.model);
        let tp = ranks(&row.hardware.name);
        let asked = Asked {
            output_len: row.tokens_per_request.unwrap().round() as usize,
            ..Asked::report(1, 10)
        };
        let predict = |server| {
            let simulation = simulation(card(name), gpu("rtx4090-48g"), tp, server);
            ms_per_token(&run(&simulation, &asked))
        };
        let (raw, served) = (predict(None), predict(Some(Server::VLLM)));
        let published = 1e3 / row.metrics.output_tokens_per_sec.unwrap();
        let error = served / published - 1.0;
        println!(
            "{name} tp {tp}: {raw:.2} ms raw, {served:.2} ms served, {published:.2} ms published: {:+.1} %",
            100.0 * error
        );
        assert!(error.abs() <= ROW_ERROR, "{name}: {error}");
        assert!(raw < published, "{name}: a server costs something");
        count += 1;
    }
    assert_eq!(count, 4);
}

#[test]
fn rows_under_load_are_not_far() {
    let mut count = 0;
    for row in reference::library().unwrap() {
        let requests = match row.concurrency {
            Some(50) => 200,
            Some(300) => 1500,
            _ => continue,
        };
        if row.failure.is_some() || !row.hardware.name.starts_with("rtx4090-48g") {
            continue;
        }
        let name = reference::short_name(&row.model);
        let tp = ranks(&row.hardware.name);
        let concurrency = row.concurrency.unwrap();
        let asked = Asked::report(concurrency, requests);
        let simulation = simulation(card(name), gpu("rtx4090-48g"), tp, Some(Server::VLLM));
        let predicted = run(&simulation, &asked).metrics.output_tokens_per_sec;
        let published = row.metrics.output_tokens_per_sec.unwrap();
        let error = predicted.unwrap() / published - 1.0;
        println!(
            "{name} tp {tp}, {concurrency} at a time: {published:.0} tok/s published: {:+.1} %",
            100.0 * error
        );
        assert!(error.abs() <= LOADED_ROW_ERROR, "{name}: {error}");
        count += 1;
    }
    assert_eq!(count, 8);
}
