//! Ranks as threads give what one rank gives: golden tokens, logits, samples, at every legal split.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::golden::{Golden, greedy_is_golden, largest_of_all};
use crate::common::probe::{Chunk, Probe, rows};
use crate::common::random::Random;
use crate::common::slice::{self, LIMITS};
use crate::common::{
    Backend, DENSE, Model, Session, Setup, fixture, largest_difference, random_model,
};
use candle_core::DType;
use candlepower::exec::{ExecError, Executor, KvLayout, Rank, Ranks, StepOutput, StepPlan};
use candlepower::ground::recorder::Traffic;
use candlepower::ground::{EventKind, Request, Sampling, StopRule, TokenLogprobs};
use candlepower::hub::cards;
use candlepower::model::{Decoder, ModelSpec, Share};
use candlepower::ops::{Buffer, Pick, cpu::Cpu};
use candlepower::parallel::{Collective, ShardPlan};
use serde_json::json;

const SPLITS: [usize; 4] = [2, 3, 4, 8];
/// Partial sums meet in another order.
const TOLERANCE: f32 = 1e-3;

/// Every fixture at every split that its heads allow, one rank left out.
fn splits(names: &[&'static str]) -> Vec<(&'static str, Model, usize)> {
    let all = names.iter().flat_map(|&name| {
        let spec = Model::open(&fixture(name)).spec;
        let legal = SPLITS
            .into_iter()
            .filter(move |&tp| ShardPlan::new(&spec.shape(), tp).is_ok());
        legal.map(move |tp| (name, Model::open(&fixture(name)), tp))
    });
    all.collect()
}

#[test]
fn every_split_of_the_fixtures_is_tried() {
    let tried: Vec<(&str, usize)> = splits(&DENSE).iter().map(|&(n, _, tp)| (n, tp)).collect();
    // 8 over 2 KV heads: with replication; 3 of 9 heads; 7 heads over 304 features: one rank only.
    let expected = [
        ("qwen2-tiny", 2),
        ("qwen2-tiny", 4),
        ("qwen2-tiny", 8),
        ("llama-tiny", 2),
        ("llama-tiny", 4),
        ("llama-tiny", 8),
        ("llama-tied-tiny", 3),
        ("qwen3-tiny", 2),
        ("qwen3-tiny", 4),
    ];
    assert_eq!(tried, expected);
}

#[test]
fn greedy_tokens_are_golden_on_every_split() {
    for (name, model, tp) in splits(&DENSE) {
        let alone = [Backend::Cpu, Backend::Reference];
        greedy_is_golden(name, &model, tp.into(), &alone);
    }
}

#[test]
fn logits_are_those_of_one_rank_and_the_same_bits_each_time() {
    for (name, model, tp) in splits(&DENSE) {
        let golden = Golden::read(name);
        let logits = |tp, chunk: usize| {
            Probe::split(&model, Backend::Cpu, DType::F32, 16, tp)
                .logits(&golden.prompts, |_| chunk)
        };
        for chunk in [512, 7] {
            let (one, split, again) = (logits(1, chunk), logits(tp, chunk), logits(tp, chunk));
            assert_eq!(split, again, "{name}, tp {tp}: not the same bits");
            let worst = largest_of_all(&split, &one);
            println!("{name}, tp {tp}, chunk {chunk}: {worst:.2e}");
            assert!(worst < TOLERANCE, "{name}, tp {tp}: {worst}");
        }
    }
}

/// Other shapes than the fixtures': odd vocabularies, biases, windows, head sizes, 1 to 8 KV heads.
#[test]
fn random_models_split_as_they_may() {
    let mut tried = 0;
    for seed in 0..40 {
        let mut random = Random(seed);
        let tp = random.within(2..7);
        let kv = random.pick(&[1, tp, 2 * tp]);
        let heads = match kv {
            1 => tp * random.within(1..4),
            kv => kv * random.within(1..3),
        };
        let family = random.pick(&["Llama", "Qwen2", "Qwen3"]);
        let config = json!({
            "architectures": [format!("{family}ForCausalLM")],
            "model_type": family.to_lowercase(),
            "hidden_size": 4 * random.within(3..30),
            "intermediate_size": tp * random.within(1..60),
            "num_hidden_layers": random.within(1..4),
            "num_attention_heads": heads,
            "num_key_value_heads": kv,
            "head_dim": 2 * random.within(2..30),
            "vocab_size": random.within(3..400),
            "max_position_embeddings": 128,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1e4,
            "attention_bias": random.flip(),
            "mlp_bias": random.flip(),
            "tie_word_embeddings": random.flip(),
            "hidden_act": "silu",
        });
        let dir = tempfile::tempdir().unwrap();
        let dtype = random.pick(&[DType::F32, DType::BF16, DType::F16]);
        random_model::write(dir.path(), &config, dtype, &mut random);
        let model = Model::open(dir.path());
        let prompts: Vec<Vec<u32>> = (0..3)
            .map(|_| {
                let length = random.within(1..40);
                random.tokens(length, model.spec.vocab_size)
            })
            .collect();
        let logits = |tp| {
            Probe::split(&model, Backend::Cpu, DType::F32, 5, tp)
                .logits(&prompts, |step| 1 + 9 * step)
        };
        let (one, split) = (logits(1), logits(tp));
        let size = one
            .iter()
            .flatten()
            .fold(1.0_f32, |size, v| size.max(v.abs()));
        let worst = largest_of_all(&split, &one) / size;
        assert!(worst < 1e-4, "seed {seed}, tp {tp}: {worst}, {config}");
        tried += 1;
    }
    assert_eq!(tried, 40);
}

/// Tokens and log-probabilities of sampled requests, however the vocabulary is split.
#[test]
fn samples_are_those_of_one_rank() {
    let rules = [
        Sampling {
            temperature: 1.0,
            ..Sampling::GREEDY
        },
        Sampling {
            temperature: 0.7,
            top_k: 20,
            logprobs: Some(0),
            ..Sampling::GREEDY
        },
        Sampling {
            temperature: 1.3,
            top_p: 0.9,
            logprobs: Some(4),
            ..Sampling::GREEDY
        },
        Sampling {
            temperature: 5.0,
            top_p: 0.9999,
            seed: 3,
            ..Sampling::GREEDY
        },
        Sampling {
            logprobs: Some(3),
            ..Sampling::GREEDY
        },
    ];
    for name in ["qwen2-tiny", "llama-tied-tiny", "qwen3-tiny"] {
        let expected = sampled(name, 1, &rules);
        for (_, _, tp) in splits(&[name]) {
            let found = sampled(name, tp, &rules);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.0, expected.0, "{name}, tp {tp}");
                assert_eq!(found.1.len(), expected.1.len());
                for (f, e) in found.1.iter().zip(&expected.1) {
                    // Two that are nearly equal may change places.
                    let values = |p: &TokenLogprobs| {
                        let top = p.top.iter().map(|t| t.1);
                        top.chain([p.logprob]).collect::<Vec<_>>()
                    };
                    let apart = largest_difference(&values(f), &values(e));
                    assert!(apart < TOLERANCE, "{name}, tp {tp}: {apart}");
                }
            }
        }
    }
}

/// Tokens of two requests of each rule, and what they said of log-probabilities.
fn sampled(name: &str, tp: usize, rules: &[Sampling]) -> Vec<(Vec<u32>, Vec<TokenLogprobs>)> {
    let model = Model::open(&fixture(name));
    let setup = Setup {
        tp,
        threads: 2,
        ..Setup::default()
    };
    let mut engine = Session::start(&model, &setup).engine;
    let mut events = Vec::new();
    let rules = [rules, rules].concat();
    for (id, &sampling) in rules.iter().enumerate() {
        let request = Request {
            id: id as u64,
            prompt: vec![id as u32 + 1; 9].into(),
            stop: StopRule {
                max_tokens: 40,
                end_tokens: Arc::default(),
            },
            sampling,
            arrival: Duration::ZERO,
        };
        engine.submit(request, &mut events);
    }
    while !engine.is_idle() {
        engine.step(&mut events).unwrap();
    }
    let mut found = vec![(Vec::new(), Vec::new()); rules.len()];
    for event in events {
        if let EventKind::Token { token, logprobs } = event.kind {
            let of_request = &mut found[event.request as usize];
            of_request.0.push(token);
            of_request.1.extend(logprobs.map(|boxed| *boxed));
        }
    }
    assert!(found.iter().all(|(tokens, _)| tokens.len() == 40));
    found
}

/// Tokens of a slice whose layers are what matters.
const SHORT_VOCABULARY: usize = 8192;

/// One layer of each dense model of the source report, at its real width; one of them with its real vocabulary.
#[test]
fn layers_of_the_reports_models_at_eight_ranks() {
    for (name, whole) in [
        ("DeepSeek-R1-Distill-Qwen-14B", true),
        ("DeepSeek-R1-Distill-Qwen-32B", false),
        ("QwQ-32B", false),
        ("DeepSeek-R1-Distill-Llama-70B", false),
    ] {
        let card = cards::find(name).unwrap();
        let mut spec = ModelSpec::from_json(card.config_json, name).unwrap();
        spec.truncate_layers(1);
        if !whole {
            spec.vocab_size = SHORT_VOCABULARY;
        }
        let step = slice::step(601);
        let logits = |tp: usize| slice::logits(&mut slice::dummy(&spec, tp.into()), &step);
        let (one, eight) = (logits(1), logits(8));
        let size = slice::size(&one);
        let worst = largest_of_all(&eight, &one);
        println!("{name}: {worst:.2e} of {size:.2}");
        assert!(one[0].len() == spec.vocab_size && size > 0.1);
        assert!(worst < 1e-4 * size, "{name}: {worst} of {size}");
    }
}

/// A collective that fails, in one way or the other, at its `left`-th sum.
struct Failing {
    inner: Box<dyn Collective>,
    left: Cell<usize>,
    panics: bool,
}

impl Collective for Failing {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn all_reduce(&self, x: &Buffer, rows: usize) -> candle_core::Result<()> {
        if self.left.get() == 0 {
            assert!(!self.panics, "a defect on purpose");
            candle_core::bail!("the link is gone");
        }
        self.left.set(self.left.get() - 1);
        self.inner.all_reduce(x, rows)
    }

    fn all_gather(&self, mine: &[u32], all: &mut Vec<u32>) -> candle_core::Result<()> {
        self.inner.all_gather(mine, all)
    }

    fn take_traffic(&self) -> Traffic {
        self.inner.take_traffic()
    }
}

#[test]
fn a_failed_rank_stops_all_with_its_reason() {
    let model = Model::open(&fixture("llama-tiny"));
    for (culprit, panics) in [(0, false), (2, false), (3, true), (0, true)] {
        for left in [0, 3, 10] {
            let plan = Arc::new(ShardPlan::new(&model.spec.shape(), 4).unwrap());
            let elements = plan.kv_elements_per_token();
            let (spec, source) = (model.spec.clone(), model.source.clone());
            let build = move |inner: Box<dyn Collective>| {
                let rank = inner.rank();
                let share = Share {
                    spec: &spec,
                    plan: &plan,
                    rank,
                };
                let decoder =
                    Decoder::load(share, source.as_ref(), &Cpu::F32, LIMITS, &mut |_| ())?;
                let collective = Failing {
                    left: Cell::new(if rank == culprit { left } else { usize::MAX }),
                    inner,
                    panics,
                };
                Ok(Rank::new(Box::new(Cpu::F32), Box::new(collective), decoder))
            };
            let mut ranks = Ranks::load(4, 2, 1 << 30, elements, Arc::new(build)).unwrap();
            let layout = KvLayout {
                num_blocks: 4,
                block_size: 16,
                dtype: DType::F32,
            };
            ranks.allocate_kv(&layout).unwrap();
            let chunk = Chunk {
                start: 0,
                end: 4,
                table: &[1],
            };
            let step = Arc::new(StepPlan {
                timed: false,
                tokens: vec![1, 2, 3, 4],
                rows: rows(&[chunk], 16),
                logit_rows: vec![3],
                picks: vec![Pick::GREEDY],
            });
            let start = Instant::now();
            let run = |ranks: &mut Ranks| {
                let ticket = ranks.submit(step.clone())?;
                ranks.wait(ticket, &mut StepOutput::default())
            };
            // A step has seven sums: the tenth is in the second step.
            let outcome = run(&mut ranks).and_then(|()| run(&mut ranks));
            let error = outcome.unwrap_err().to_string();
            let reason = if panics {
                "a defect on purpose"
            } else {
                "the link is gone"
            };
            assert!(
                error.contains(&format!("rank {culprit} ")) && error.contains(reason),
                "{error}"
            );
            // The fourth sum: one behind the embedding, and two in each layer.
            if left == 3 && !panics {
                let place = "a step failed at all_reduce of layer 1: ";
                assert!(error.contains(place), "{error}");
            }
            // And it stays so.
            assert!(matches!(run(&mut ranks), Err(ExecError::Stopped(_))));
            drop(ranks);
            assert!(start.elapsed() < Duration::from_secs(10));
        }
    }
}

#[test]
fn a_rank_that_cannot_be_built_is_told() {
    let model = Model::open(&fixture("llama-tiny"));
    for (culprit, panics) in [(0, false), (2, false), (1, true), (0, true)] {
        let plan = Arc::new(ShardPlan::new(&model.spec.shape(), 4).unwrap());
        let (spec, source) = (model.spec.clone(), model.source.clone());
        let build = move |collective: Box<dyn Collective>| {
            let rank = collective.rank();
            match rank == culprit {
                true if panics => panic!("a defect on purpose"),
                true => candle_core::bail!("no memory on this rank"),
                false => {}
            }
            // Others may wait for it by then.
            collective.all_gather(&[1], &mut Vec::new())?;
            let share = Share {
                spec: &spec,
                plan: &plan,
                rank,
            };
            let decoder = Decoder::load(share, source.as_ref(), &Cpu::F32, LIMITS, &mut |_| ())?;
            Ok(Rank::new(Box::new(Cpu::F32), collective, decoder))
        };
        let failed = Ranks::load(4, 4, 1 << 30, 1, Arc::new(build));
        let error = failed.err().unwrap().to_string();
        let reason = match panics {
            true => "a defect on purpose",
            false => "no memory on this rank",
        };
        assert!(error.contains(reason), "{error}");
    }
}
