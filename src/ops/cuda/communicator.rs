//! NCCL's view of a rank's peers. Its calls return at once, and it can be given up while its GPU waits in it.

use std::ffi::{c_char, c_void};
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use candle_core::cuda::cudarc::driver::DevicePtrMut;
use candle_core::cuda::cudarc::nccl::result::{self, NcclError, NcclStatus};
use candle_core::cuda::cudarc::nccl::{Id, NcclType, sys};
use candle_core::{Error, Result, bail};

use super::device::Gpu;

/// What `ncclConfig_t` begins with since NCCL 2.14, as which it presents itself: later fields are taken as not set.
#[repr(C)]
struct Config {
    size: usize,
    magic: u32,
    version: u32,
    blocking: i32,
}

/// How launches name a reduction: the kernel is NCCL's choice.
const CALL: &str = "ncclAllReduce";
const MAGIC: u32 = 0xcafe_beef;
const VERSION: u32 = 21_400;
/// How long an abort under way is waited for: with a GPU that hangs it has no end.
const ABORT: Duration = Duration::from_secs(1);

/// What elements of all ranks become.
#[derive(Debug, Clone, Copy)]
pub enum Reduction {
    Sum,
    Highest,
}

pub struct Communicator {
    gpu: Gpu,
    state: Mutex<State>,
}

enum State {
    Connected(Handle),
    /// With the thread that aborts it.
    GivenUp(Option<JoinHandle<()>>),
}

/// Used by one thread at a time.
struct Handle(sys::ncclComm_t);

// SAFETY: NCCL allows a communicator to change threads.
unsafe impl Send for Handle {}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Communicator").finish_non_exhaustive()
    }
}

impl Communicator {
    /// Connects one of `size` ranks to the others; asks `failure` meanwhile why one of them will not come.
    ///
    /// # Errors
    /// NCCL refuses, or a rank will not come.
    pub fn connect(
        gpu: &Gpu,
        (rank, size): (usize, usize),
        id: Id,
        failure: &dyn Fn() -> Option<String>,
    ) -> Result<Self> {
        gpu.bind()?;
        let mut comm = MaybeUninit::uninit();
        let mut config = Config {
            size: size_of::<Config>(),
            magic: MAGIC,
            version: VERSION,
            blocking: 0,
        };
        let internal: [c_char; 128] = *id.internal();
        // SAFETY: the out-parameter and the configuration, which says its own size, live through the call, and it
        // copies both.
        let started = unsafe {
            result::comm_init_rank_config(
                comm.as_mut_ptr(),
                size as i32,
                sys::ncclUniqueId { internal },
                rank as i32,
                (&raw mut config).cast(),
            )
        };
        started.map_err(refused)?;
        // SAFETY: the call has succeeded, and so written it.
        let handle = Handle(unsafe { comm.assume_init() });
        let outcome = settle(&handle, failure);
        let communicator = Self {
            gpu: gpu.clone(),
            state: Mutex::new(State::Connected(handle)),
        };
        outcome.map(|()| communicator)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What NCCL says against its peers; nothing once it is given up.
    pub fn failure(&self) -> Option<String> {
        let State::Connected(handle) = &*self.state() else {
            return None;
        };
        match last_call(handle) {
            sys::ncclResult_t::ncclSuccess | sys::ncclResult_t::ncclInProgress => None,
            error => Some(format!("NCCL has lost a rank: {error:?}")),
        }
    }

    /// Lets the GPU leave what it waits for others in. Does not wait: the call that does so frees the communicator too,
    /// for which it waits for the rank's graphs to be dropped.
    pub fn give_up(&self) {
        let mut state = self.state();
        if let State::Connected(handle) = std::mem::replace(&mut *state, State::GivenUp(None)) {
            let abort = std::thread::Builder::new().spawn(move || handle.abort());
            // Without a thread the GPU stays where it is, and is told of as one that hangs.
            *state = State::GivenUp(abort.ok());
        }
    }

    /// Queues the reduction of `values` over all ranks, in place; asks `failure` as [`Self::connect`] does.
    ///
    /// # Errors
    /// NCCL refuses, the other ranks were given up, or one will not come.
    pub fn all_reduce<T: NcclType>(
        &self,
        values: &mut impl DevicePtrMut<T>,
        reduction: Reduction,
        failure: &dyn Fn() -> Option<String>,
    ) -> Result<()> {
        let state = self.state();
        let State::Connected(handle) = &*state else {
            bail!("the other ranks were given up");
        };
        let count = values.len();
        let (at, _recorded) = values.device_ptr_mut(&self.gpu.stream);
        let operation = match reduction {
            Reduction::Sum => sys::ncclRedOp_t::ncclSum,
            Reduction::Highest => sys::ncclRedOp_t::ncclMax,
        };
        let stream = self.gpu.stream.cu_stream();
        self.gpu.launches.library(CALL, || {
            // SAFETY: the buffer holds `count` values and belongs to this rank's stream, on which the reduction is queued.
            let queued = unsafe {
                result::all_reduce(
                    at as *const c_void,
                    at as *mut c_void,
                    count,
                    T::as_nccl_type(),
                    operation,
                    handle.0,
                    stream.cast(),
                )
            };
            match queued.map_err(refused)? {
                NcclStatus::InProgress => settle(handle, failure),
                _ => Ok(()),
            }
        })
    }
}

/// Until NCCL has done what it was last asked.
fn settle(handle: &Handle, failure: &dyn Fn() -> Option<String>) -> Result<()> {
    loop {
        match last_call(handle) {
            sys::ncclResult_t::ncclSuccess => return Ok(()),
            sys::ncclResult_t::ncclInProgress => {}
            error => return Err(refused(NcclError(error))),
        }
        if let Some(failure) = failure() {
            bail!("{failure}");
        }
        std::thread::yield_now();
    }
}

/// How far NCCL is with what it was asked.
fn last_call(handle: &Handle) -> sys::ncclResult_t {
    let mut state = sys::ncclResult_t::ncclSuccess;
    // SAFETY: whoever holds the handle has not given it up; the out-parameter lives through the call.
    match unsafe { sys::ncclCommGetAsyncError(handle.0, &mut state) } {
        sys::ncclResult_t::ncclSuccess => state,
        error => error,
    }
}

impl Handle {
    fn abort(self) {
        // SAFETY: nobody else has the communicator any more.
        let _ = unsafe { result::comm_abort(self.0) };
    }
}

impl Drop for Communicator {
    /// The rank's graphs are gone by now.
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.state(), State::GivenUp(None));
        match state {
            State::Connected(handle) => handle.abort(),
            State::GivenUp(None) => {}
            State::GivenUp(Some(abort)) => {
                let start = Instant::now();
                while !abort.is_finished() && start.elapsed() < ABORT {
                    std::thread::yield_now();
                }
            }
        }
    }
}

fn refused(error: NcclError) -> Error {
    Error::Msg(format!("NCCL refuses: {:?}", error.0))
}
