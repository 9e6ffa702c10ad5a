//! Text, token by token, as it is drawn:
//!
//! ```console
//! cargo run --release --example generate -- target/smollm2-135m "The capital of France is"
//! ```

use std::io::Write;

use candlepower::{EngineOptions, Error, Generation};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments
        .next()
        .unwrap_or("tests/fixtures/llama-tiny".to_owned());
    let prompt = arguments.next();
    let mut session = EngineOptions::new(model).device("cpu").open()?;
    // A tiny fixture has no tokenizer: it is given ids, and answers with ids.
    let (ids, has_text) = match prompt {
        Some(text) => (session.encode(&text)?, true),
        None => (vec![1, 2, 3], false),
    };
    for token in session.generate(&[Generation::new(ids).max_tokens(16)])? {
        let token = token?;
        match has_text {
            true => print!("{}", token.text),
            false => print!("{} ", token.id),
        }
        // Whoever reads along does not wait for the end of the line.
        let _ = std::io::stdout().flush();
    }
    println!();
    Ok(())
}
