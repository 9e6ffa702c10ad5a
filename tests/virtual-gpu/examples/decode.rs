//! Reads PTX files and decodes every kernel in them: `decode FILE...`. Names what it does not know.

use std::collections::HashMap;

use virtual_gpu::ptx::Module;

fn main() {
    let mut failed = false;
    for path in std::env::args().skip(1) {
        let started = std::time::Instant::now();
        let text = std::fs::read_to_string(&path).unwrap();
        let module = Module::parse(&text).unwrap();
        let addresses: HashMap<String, u64> = module
            .variables
            .iter()
            .map(|v| (v.name.clone(), 0))
            .collect();
        let (mut kernels, mut instructions) = (0, 0);
        for function in module.functions.values().filter(|f| f.entry) {
            match virtual_gpu::decode::lower(&module, &function.name, &addresses) {
                Ok(kernel) => {
                    kernels += 1;
                    instructions += kernel.code.len();
                }
                Err(error) => {
                    failed = true;
                    println!("{path}: {}: {error}", function.name);
                }
            }
        }
        println!(
            "{path}: {kernels} kernels, {instructions} instructions, {} ms",
            started.elapsed().as_millis()
        );
    }
    std::process::exit(failed.into());
}
