//! The life of a rank that is not the first.

use std::rc::Rc;
use std::str::FromStr;

use candle_core::DType;

use super::post::Post;
use super::{Command, Hello, Load, Ready, own_roofs};
use crate::exec::guard::caught;
use crate::exec::{ExecError, KvLayout, StepOutput};
use crate::parallel::mpi::Link;

/// Does what rank 0 tells, until that ends.
///
/// # Errors
/// A step failed: the job must end, as the others wait for this rank.
pub fn serve(load: Load) -> Result<(), ExecError> {
    let (mut workers, mut rank) = match load.build() {
        Ok(built) => built,
        Err(error) => decline(&load.link, &error.to_string()),
    };
    let mut post = Post::new(load.link);
    post.answer(&Ready::Ok(Hello {
        identity: load.identity,
        threads: load.seat.threads,
    }));
    let mut output = StepOutput::default();
    loop {
        match post.await_command::<Command>() {
            Command::End => return Ok(()),
            Command::Memory => post.answer(&rank.memory()),
            Command::Roofs => post.answer(&own_roofs(&mut workers)),
            Command::AllocateKv {
                num_blocks,
                block_size,
                dtype,
            } => {
                let allocated = DType::from_str(&dtype).map_err(|e| e.to_string());
                let allocated = allocated.and_then(|dtype| {
                    let layout = KvLayout {
                        num_blocks,
                        block_size,
                        dtype,
                    };
                    let checked = load.kv_bound.check(&layout);
                    let allocated = checked.and_then(|()| rank.allocate_kv(&layout));
                    allocated.map_err(|e| e.to_string())
                });
                post.answer(&allocated);
            }
            Command::Step(plan) => {
                let number = rank.number();
                let step = || caught(number, || rank.step(&plan, &mut output));
                workers.install(step)?;
                post.answer(&output.cost);
            }
        }
    }
}

/// Tells rank 0 why this one cannot serve, and waits for it to end the job.
pub fn decline(link: &Rc<Link>, reason: &str) -> ! {
    let mut post = Post::new(link.clone());
    post.answer(&Ready::Err(reason.to_owned()));
    loop {
        let _ = post.await_command::<Command>();
    }
}
