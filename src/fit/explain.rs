//! The arithmetic line by line.

use super::ask::{Ask, GIB};
use super::ledger::Ledger;
use super::reason::counted;
use super::terms::Item;
use super::verdict::Judged;

/// Empty where nothing was counted.
pub(super) fn explain(ask: &Ask, judged: &Judged) -> Vec<String> {
    let Some(ledger) = &judged.ledger else {
        return Vec::new();
    };
    let (terms, settings) = (&ledger.terms, judged.settings);
    let term = |name: &str, gib: f64, how: &str| format!("{name:<12} {gib:>8.2} GiB  {how}");
    let item = |name: &str, item: &Item| term(name, item.gib(), &item.how);
    let mut lines = Vec::new();
    if ask.pp > 1 {
        let layers = &ledger.layers;
        lines.push(format!(
            "stage {} of {}: layers {} to {}, the one with the least room",
            ledger.stage + 1,
            ask.pp,
            layers.start,
            layers.end - 1
        ));
    }
    lines.push(term("memory", ask.card.memory_gib, "as CUDA reports it"));
    lines.push(term(
        "budget",
        ledger.budget as f64 / GIB,
        &format!("{} of it", settings.utilization),
    ));
    lines.push(item("weights", &terms.weights));
    lines.push(item("activations", &terms.activations));
    lines.push(item("overhead", &terms.overhead));
    lines.push(item("graphs", &terms.graphs));
    let graphs = match terms.graphs_in_budget {
        true => " - graphs",
        false => "",
    };
    lines.push(term(
        "KV cache",
        ledger.kv_bytes as f64 / GIB,
        &format!("budget - weights - activations - overhead{graphs}"),
    ));
    let per_token = counted(ledger.kv_bytes_per_token);
    lines.push(match ledger.pool.of_requests {
        true => format!("a token takes {per_token} B of it: a block of compressed rows, of all layers, by its tokens"),
        false => format!("a token takes {per_token} B of it: {}", kv_product(ask, ledger)),
    });
    if ledger.pool.padding() > 0 {
        lines.push(format!(
            "and {} layers more that fill up groups of equal size",
            ledger.pool.padding()
        ));
    }
    lines.push(format!(
        "{} tokens: {} blocks of {}; a request of {} tokens takes {} of them",
        counted(ledger.tokens),
        counted(ledger.blocks),
        ledger.pool.block_tokens(ask.block_size),
        counted(settings.max_model_len as u64),
        counted(ledger.pool.blocks(settings.max_model_len))
    ));
    if let (Some(load), Some(capacity)) = (ask.load, judged.capacity) {
        lines.push(format!(
            "load: {} requests of {} + {} = {} tokens; the KV cache holds {}, max_num_seqs lets {} in",
            counted(load.concurrency as u64),
            load.input_len,
            load.output_len,
            capacity.tokens,
            counted(capacity.kv as u64),
            counted(capacity.seqs as u64)
        ));
    }
    lines
}

/// Of a rank: a product for each kind of layer.
fn kv_product(ask: &Ask, ledger: &Ledger) -> String {
    let mut kinds: Vec<(String, String, usize)> = Vec::new();
    for layer in &ask.shape.layers[ledger.layers.clone()] {
        let kept = ask.kept(layer);
        let Some((before, behind)) = kept.factors(ask.split.tp) else {
            continue;
        };
        let index = kept.index_bytes_per_token();
        let own = ask.token_bytes(layer) - index as u64;
        let plain = own as usize == kept.elements_per_token(ask.split.tp) * ask.kv_bytes();
        let (before, mut behind) = match plain {
            true => (before, format!("{behind} x {} B", ask.kv_bytes())),
            // Of what is quantised, with its scales: keys and values together.
            false => ("1", format!("{own} B")),
        };
        if index > 0 {
            behind = format!("({behind} + {index} B of the indexer's key)");
        }
        match kinds
            .iter_mut()
            .find(|known| (&*known.0, &known.1) == (before, &behind))
        {
            Some((.., layers)) => *layers += 1,
            None => kinds.push((before.to_owned(), behind, 1)),
        }
    }
    let products = kinds
        .into_iter()
        .map(|(before, behind, layers)| format!("{before} x {layers} layers x {behind}"));
    products.collect::<Vec<_>>().join(" + ")
}
