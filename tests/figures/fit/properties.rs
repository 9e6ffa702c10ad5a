//! What must hold of the arithmetic whatever the question.

use candlepower::fit::{
    Answer, Ask, Card, Engine, Extras, KvType, Limits, Load, Release, Verdict, answer,
};
use candlepower::hardware;
use candlepower::hub::CARDS;
use candlepower::model::ModelSpec;
use candlepower::parallel::Split;
use candlepower::shape::{Heads, Kv};
use proptest::prelude::*;

/// Dense and sparse, small enough to be quick.
const MODELS: [&str; 5] = [
    "Qwen2.5-0.5B",
    "Qwen3-0.6B",
    "DeepSeek-R1-Distill-Qwen-14B",
    "QwQ-32B",
    "Qwen3-235B-A22B-FP8",
];
/// Layers that are kept of them, so that they fit on some cards and not on others.
const LAYERS: [usize; 3] = [2, 8, 24];

fn spec(model: usize, layers: usize) -> ModelSpec {
    let card = CARDS
        .iter()
        .find(|card| card.name == MODELS[model])
        .unwrap();
    let mut spec = ModelSpec::from_json(card.config_json, card.name).unwrap();
    spec.truncate_layers(LAYERS[layers]);
    spec
}

/// Of every way to count.
const VERSIONS: [&str; 9] = [
    "0.6.4", "0.7", "0.8.0", "0.8.5", "0.10.2", "0.20", "0.23", "0.27", "0.31",
];

fn engines() -> impl Strategy<Value = Engine> {
    let vllm = |version| Engine::Vllm(Release::named(version).unwrap());
    prop_oneof![
        Just(Engine::Candlepower),
        proptest::sample::select(&VERSIONS[..]).prop_map(vllm),
    ]
}

prop_compose! {
    fn asks()(
        (model, layers) in (0..MODELS.len(), 0..LAYERS.len()),
        memory_gib in 2.0..100.0f64,
        (tp, pp) in (0..4u32, 0..3u32),
        expert_parallel in any::<bool>(),
        engine in engines(),
        utilization in proptest::option::of(0.2..0.97f64),
        (length, tokens, seqs) in (
            proptest::option::of(64..32_768usize),
            proptest::option::of(64..16_384usize),
            proptest::option::of(1..2_048usize),
        ),
        kv_type in proptest::sample::select(&[KvType::Auto, KvType::Fp8, KvType::F32][..]),
        concurrency in proptest::option::of(1..3_000usize),
    ) -> Ask {
        let (tp, pp) = (2usize.pow(tp), 2usize.pow(pp));
        Ask {
            model: MODELS[model].to_owned(),
            shape: spec(model, layers).shape(),
            stored: None,
            card: Card { memory_gib, ..Card::from(&hardware::find("l40s").unwrap()) },
            gpus: tp * pp,
            split: Split { tp, expert_parallel },
            pp,
            engine,
            limits: Limits {
                max_model_len: length,
                utilization,
                max_num_seqs: seqs,
                max_num_batched_tokens: tokens,
            },
            block_size: 16,
            dtype: None,
            kv_type,
            extras: Extras::default(),
            eager: false,
            load: concurrency.map(|concurrency| Load { concurrency, input_len: 32, output_len: 32 }),
        }
    }
}

fn held(answer: &Answer) -> u64 {
    answer.kv_tokens.unwrap_or(0)
}

fn with(ask: &Ask, change: impl FnOnce(&mut Ask)) -> Answer {
    let mut ask = ask.clone();
    change(&mut ask);
    answer(&ask)
}

/// The engine's own choices, fixed: some follow the card's memory.
fn pinned(ask: &Ask) -> Ask {
    let chosen = answer(ask);
    let mut ask = ask.clone();
    ask.limits.max_num_seqs = Some(chosen.max_num_seqs);
    ask.limits.max_num_batched_tokens = Some(chosen.max_num_batched_tokens);
    ask
}

/// Layers whose KV caches differ are counted each by its own rule, and explained so.
#[test]
fn layers_of_two_kinds_are_two_products() {
    let mut shape = spec(0, 1).shape();
    shape.layers[3].kv = Kv::Full(Heads::alike(4, 96));
    let answer = answer(&Ask {
        model: MODELS[0].to_owned(),
        shape,
        stored: None,
        card: Card::from(&hardware::find("l40s").unwrap()),
        gpus: 2,
        split: Split::from(2),
        pp: 1,
        engine: Engine::Candlepower,
        limits: Limits::default(),
        block_size: 16,
        dtype: None,
        kv_type: KvType::Auto,
        extras: Extras::default(),
        eager: false,
        load: None,
    });
    assert_eq!(
        answer.kv_bytes_per_token,
        Some(7 * 2 * 64 * 2 + 2 * 2 * 96 * 2)
    );
    let line = "a token takes 2,560 B of it: 2 (K and V) x 7 layers x 1 KV heads x 64 x 2 B + 2 (K and V) x 1 layers x 2 KV heads x 96 x 2 B";
    assert!(
        answer.explain.iter().any(|l| l == line),
        "{:?}",
        answer.explain
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn more_memory_never_hurts(ask in asks(), more in 0.1..64.0f64) {
        let ask = pinned(&ask);
        let before = answer(&ask);
        let after = with(&ask, |ask| ask.card.memory_gib += more);
        prop_assert!(held(&after) >= held(&before));
        prop_assert!(after.fits || !before.fits, "{before:?} -> {after:?}");
    }

    #[test]
    fn a_larger_share_never_holds_less(ask in asks(), more in 0.0..0.5f64) {
        let before = answer(&ask);
        let share = (before.gpu_memory_utilization + more).min(1.0);
        let after = with(&ask, |ask| ask.limits.utilization = Some(share));
        // vLLM refuses a share that is not free when it starts.
        let refused = after.verdict == Verdict::Unsupported;
        prop_assert!(refused || held(&after) >= held(&before));
    }

    #[test]
    fn smaller_kv_elements_hold_more(ask in asks()) {
        let of = |kv_type| held(&with(&ask, |ask| ask.kv_type = kv_type));
        let (wide, half, fp8) = (of(KvType::F32), of(KvType::Bf16), of(KvType::Fp8));
        prop_assert!(wide <= half && half <= fp8);
    }

    #[test]
    fn the_longest_length_that_fits_does_and_one_block_more_does_not(ask in asks()) {
        let mut ask = pinned(&ask);
        ask.load = None;
        let unlimited = with(&ask, |ask| ask.limits.max_model_len = None);
        let Some(longest) = unlimited.max_model_len_that_fits else { return Ok(()) };
        let at = |length: u64| {
            with(&ask, |ask| ask.limits.max_model_len = Some(length as usize)).verdict
        };
        if longest > 0 {
            let verdict = at(longest);
            prop_assert!(matches!(verdict, Verdict::Fits | Verdict::GraphOom), "{verdict:?}");
        }
        if longest < unlimited.max_model_len as u64 {
            let verdict = at(longest + 16);
            let short = [Verdict::Len, Verdict::NoKv, Verdict::NoWeights];
            prop_assert!(short.contains(&verdict), "{verdict:?}");
        }
    }

    #[test]
    fn more_requests_never_turn_a_queue_into_none(ask in asks(), more in 1..1_000usize) {
        let Some(load) = ask.load else { return Ok(()) };
        let concurrency = load.concurrency + more;
        let after = with(&ask, |ask| ask.load = Some(Load { concurrency, ..load }));
        let before = answer(&ask).verdict;
        prop_assert!(before != Verdict::RunsQueued || after.verdict == before);
    }

    #[test]
    fn an_answer_agrees_with_itself(ask in asks()) {
        let answer = answer(&ask);
        prop_assert_eq!(answer.fits, answer.verdict.fits());
        prop_assert!(!answer.reason.is_empty());
        prop_assert_eq!(answer.per_rank.is_none(), answer.verdict == Verdict::Unsupported);
        prop_assert_eq!(answer.rule.is_some(), answer.verdict == Verdict::Unsupported);
        prop_assert!(answer.fixes.len() <= 3);
        prop_assert!(answer.fixes.iter().all(|fix| fix.verdict.fits()));
        if let Some(rank) = &answer.per_rank {
            let parts = rank.weights_gib + rank.kv_gib + rank.activations_gib + rank.overhead_gib + rank.graphs_gib;
            prop_assert!((parts - rank.total_gib).abs() < 1e-6);
            let fits = answer.fits && rank.total_gib > rank.memory_gib + 1e-6;
            prop_assert!(!fits, "{answer:?}");
        }
    }
}
