//! The shard plan: slices of all ranks make up every tensor, at every legal number of ranks.

use std::collections::HashMap;

use crate::common::random::Random;
use candlepower::hub::{CARDS, cards};
use candlepower::model::ModelSpec;
use candlepower::model::tensors::{EMBEDDING, HEAD, expected};
use candlepower::parallel::ShardPlan;
use candlepower::parallel::shard::{Cut, VOCAB_MULTIPLE};
use candlepower::shape::Role;
use serde_json::json;

fn card(name: &str) -> ModelSpec {
    let card = cards::find(name).unwrap();
    ModelSpec::from_json(card.config_json, name).unwrap()
}

fn dense() -> Vec<ModelSpec> {
    let specs = CARDS
        .iter()
        .map(|card| ModelSpec::from_json(card.config_json, card.name).unwrap());
    specs
        .filter(|spec| spec.experts.is_none() && spec.quantization.is_none())
        .collect()
}

fn legal(spec: &ModelSpec) -> Vec<usize> {
    let all = 1..=spec.num_attention_heads;
    let shape = spec.shape();
    all.filter(|&tp| ShardPlan::new(&shape, tp).is_ok())
        .collect()
}

/// Every element of every tensor is on the ranks as often as the plan says, and nothing else is but zeros.
fn check_cover(plan: &ShardPlan, spec: &ModelSpec) {
    let tp = plan.tp();
    assert_eq!(plan.tensors().len(), expected(spec).len());
    for tensor in plan.tensors() {
        let shape = &tensor.tensor.shape;
        let name = &tensor.tensor.name;
        let slices: Vec<_> = (0..tp).filter_map(|rank| tensor.slice(rank)).collect();
        let axis = slices[0].axis;
        let mut held = vec![0; shape[axis]];
        for slice in &slices {
            assert_eq!(slice.axis, axis);
            held[slice.range.clone()].iter_mut().for_each(|h| *h += 1);
        }
        let copies = tensor.replicas();
        assert!(held.iter().all(|&h| h == copies), "{name} at tp {tp}");
        let padding: usize = slices.iter().map(|slice| slice.padding).sum();
        if !matches!(tensor.tensor.role, Role::Embedding | Role::Head) || tp == 1 {
            assert_eq!(padding, 0, "{name}");
        }
        let elements: u64 = (0..tp).map(|rank| tensor.elements(rank)).sum();
        let one: usize = shape.iter().product();
        let other: usize = one / shape[axis];
        assert_eq!(elements as usize, copies * one + padding * other, "{name}");
    }
}

#[test]
fn slices_make_up_every_tensor_of_every_card() {
    for spec in dense() {
        let legal = legal(&spec);
        assert!(legal.contains(&1) && legal.len() > 1);
        for &tp in &legal {
            check_cover(&ShardPlan::new(&spec.shape(), tp).unwrap(), &spec);
        }
    }
}

#[test]
fn slices_make_up_every_tensor_of_random_models() {
    let mut random = Random(4);
    for _ in 0..200 {
        let kv = random.within(1..9);
        let config = json!({
            "architectures": [random.pick(&["LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"])],
            "hidden_size": 8 * random.within(1..20),
            "intermediate_size": random.within(1..30) * random.pick(&[1, 8, 12]),
            "num_hidden_layers": random.within(1..4),
            "num_attention_heads": kv * random.within(1..9),
            "num_key_value_heads": kv,
            "head_dim": 2 * random.within(1..70),
            "vocab_size": random.within(1..3000),
            "max_position_embeddings": 64,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1e4,
            "attention_bias": random.flip(),
            "mlp_bias": random.flip(),
            "tie_word_embeddings": random.flip(),
            "hidden_act": "silu",
        });
        let spec = ModelSpec::from_json(&config.to_string(), "config.json").unwrap();
        for tp in 1..=spec.num_attention_heads + 1 {
            match ShardPlan::new(&spec.shape(), tp) {
                Ok(plan) => {
                    check_cover(&plan, &spec);
                    check_shapes(&plan, &spec);
                }
                Err(error) => {
                    assert_eq!(error.legal, legal(&spec));
                    assert!(!error.legal.contains(&tp));
                }
            }
        }
    }
}

/// The sizes that a rank computes with are those of its slices.
fn check_shapes(plan: &ShardPlan, spec: &ModelSpec) {
    let group = spec.num_attention_heads / spec.num_key_value_heads;
    for rank in 0..plan.tp() {
        let shape = plan.rank_shape(rank);
        let slice = |name: &str| {
            let name = format!("model.layers.0.{name}.weight");
            plan.tensor(&name).unwrap().slice(rank).unwrap()
        };
        let heads = slice("self_attn.q_proj").range;
        let kv = slice("self_attn.k_proj").range;
        assert_eq!(heads.len(), shape.num_heads * spec.head_dim);
        assert_eq!(kv.len(), shape.num_kv_heads * spec.head_dim);
        assert_eq!(slice("self_attn.v_proj").range, kv);
        assert_eq!(slice("self_attn.o_proj").range, heads);
        assert_eq!(slice("mlp.down_proj").range, slice("mlp.up_proj").range);
        assert_eq!(slice("mlp.down_proj").range.len(), shape.intermediate_size);
        // Each query head finds its KV head here.
        for head in heads.step_by(spec.head_dim) {
            let needed = head / spec.head_dim / group * spec.head_dim;
            assert!(kv.contains(&needed), "query head at {head}: {kv:?}");
        }
        let embedding = plan.tensor(EMBEDDING).unwrap().slice(rank).unwrap();
        assert_eq!(embedding.range, shape.vocab);
        assert_eq!(embedding.range.len() + embedding.padding, shape.vocab_rows);
    }
}

#[test]
fn splits_of_the_reports_models() {
    // The figures of the source: 64 heads over 8 KV heads, 28,672 features, 128,256 tokens.
    let plan = ShardPlan::new(&card("DeepSeek-R1-Distill-Llama-70B").shape(), 8).unwrap();
    let shape = plan.rank_shape(7);
    assert_eq!((shape.num_heads, shape.num_kv_heads), (8, 1));
    assert_eq!((shape.intermediate_size, shape.vocab_rows), (3584, 16_032));
    assert_eq!(shape.vocab, 7 * 16_032..128_256);
    let slices: HashMap<&str, usize> = ["q_proj", "k_proj", "o_proj"]
        .into_iter()
        .map(|name| {
            let full = format!("model.layers.3.self_attn.{name}.weight");
            (name, plan.tensor(&full).unwrap().slice(1).unwrap().axis)
        })
        .collect();
    assert_eq!(
        (slices["q_proj"], slices["k_proj"], slices["o_proj"]),
        (0, 0, 1)
    );
    // More ranks than KV heads: two neighbours hold the same one.
    let plan = ShardPlan::new(&card("DeepSeek-R1-Distill-Llama-70B").shape(), 16).unwrap();
    let k = plan
        .tensor("model.layers.0.self_attn.k_proj.weight")
        .unwrap();
    assert_eq!(k.cut, Cut::Even { axis: 0, parts: 8 });
    assert_eq!(k.replicas(), 2);
    assert_eq!(k.slice(4), k.slice(5));
    assert_ne!(k.slice(5), k.slice(6));
    // An eighth of 70,553,706,496 parameters, and seven more eighths of the 161 norms of 8,192.
    let plan = ShardPlan::new(&card("DeepSeek-R1-Distill-Llama-70B").shape(), 8).unwrap();
    let bytes = plan.weight_bytes(3, |_, held| 2 * held);
    assert_eq!(bytes, 2 * (70_553_706_496 + 7 * 161 * 8192) / 8);
}

#[test]
fn illegal_splits_name_the_rule_the_numbers_and_the_way_out() {
    let refuse = |spec: &ModelSpec, tp| ShardPlan::new(&spec.shape(), tp).unwrap_err().to_string();
    let qwen = card("Qwen2.5-0.5B");
    assert_eq!(
        refuse(&qwen, 4),
        "--tp 4: 14 attention heads cannot be shared evenly by 4 ranks (14 % 4 = 2); for this model --tp may be 1, 2"
    );
    // 40 heads allow 5; 8 KV heads do not.
    let qwq = card("QwQ-32B");
    let error = refuse(&qwq, 5);
    assert!(
        error.contains("8 KV heads") && error.contains("8 % 5 = 3"),
        "{error}"
    );
    assert!(error.ends_with("1, 2, 4, 8"), "{error}");
    let mut odd = qwen.clone();
    odd.intermediate_size = 4865;
    let error = refuse(&odd, 2);
    assert!(
        error.contains("4865 intermediate features") && error.ends_with("may be 1"),
        "{error}"
    );
    assert!(refuse(&qwen, 0).contains("at least one rank"));
}

#[test]
fn a_vocabulary_that_does_not_divide_is_filled_up_on_the_last_ranks() {
    let mut spec = card("Qwen2.5-0.5B");
    spec.tie_word_embeddings = false;
    spec.vocab_size = 100;
    spec.intermediate_size = 14 * 100;
    let plan = ShardPlan::new(&spec.shape(), 14).unwrap();
    let rows = 100_usize.next_multiple_of(VOCAB_MULTIPLE).div_ceil(14);
    for name in [EMBEDDING, HEAD] {
        let tensor = plan.tensor(name).unwrap();
        assert_eq!(tensor.cut, Cut::Padded { rows });
        assert_eq!(tensor.slice(0).unwrap().range, 0..rows);
        // Some tokens here, and none there.
        let (some, none) = (tensor.slice(9).unwrap(), tensor.slice(13).unwrap());
        assert_eq!((some.range, some.padding), (90..100, 0));
        assert_eq!((none.range.len(), none.padding), (0, rows));
    }
}
