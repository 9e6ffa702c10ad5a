//! Will a model run on some cards, and if not, what would? No GPU and no weights are needed:
//!
//! ```console
//! cargo run --release --example will_it_fit -- QwQ-32B rtx4090-24g 2
//! ```

use candlepower::{Error, Question};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or("QwQ-32B".to_owned());
    let gpu = arguments.next().unwrap_or("rtx4090-24g".to_owned());
    let gpus = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2);
    let answer = Question::new(model).gpu(gpu).gpus([gpus]).answer()?;
    println!(
        "{} on {} x {}: {}",
        answer.model, answer.gpus, answer.gpu, answer.reason
    );
    for fix in &answer.fixes {
        println!("  with {}: {}", fix.change, fix.verdict.name());
    }
    Ok(())
}
