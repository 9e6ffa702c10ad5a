//! Threads that live as long as their rank and meet at a barrier many times a step.
//!
//! A decode step has some two hundred parallel regions, many of a few microseconds: forking and
//! joining through a work-stealing pool costs about as much as the region. Here a region is one
//! counter that waiting threads spin on for a while before they park, and a static split.

use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;

use super::sync::thread::{self, JoinHandle, Thread};
use super::sync::{Arc, AtomicBool, AtomicUsize, spin_loop, thread_local};

/// Looks at a counter before a thread parks: some tens of microseconds, the length of the gaps
/// between the regions of a step. Longer only takes cores from other programs.
const SPINS: usize = 2_000;

/// A region's code: called once for each thread, with the thread's number.
type Region = dyn Fn(usize) + Sync;

struct Shared {
    /// Counts regions; a change is the signal to run.
    epoch: AtomicUsize,
    /// The region of the current epoch. Valid from the change of `epoch` until `running` is 0.
    region: UnsafeCell<Option<*const Region>>,
    /// Workers that have not finished the region.
    running: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
    spins: usize,
    /// One a worker: it is about to park, or parked.
    parked: Vec<AtomicBool>,
    /// The caller, where it waits for the last worker without spinning.
    caller: UnsafeCell<Option<Thread>>,
    caller_parked: AtomicBool,
}

// SAFETY: `region` and `caller` are written only by the caller while no worker runs (`running` is 0
// and the epoch is unchanged), and read by workers only between the change of `epoch` and their
// decrement of `running`; both are sequentially consistent atomics, so the accesses never overlap.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `region` is to code that is `Sync`; see above for when it is used.
unsafe impl Send for Shared {}

/// The threads of one rank: the caller and `threads - 1` workers.
pub struct Workers {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
}

thread_local! {
    /// The pool of the thread that called `install`; null elsewhere, workers included.
    static CURRENT: Cell<*const Workers> = const { Cell::new(std::ptr::null()) };
}

impl Workers {
    /// `spin`: whether there is a core for every thread, those of other ranks included. Without, a thread
    /// that spins keeps another from its work.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn new(threads: usize, spin: bool) -> std::io::Result<Self> {
        let others = threads.saturating_sub(1);
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            region: UnsafeCell::new(None),
            running: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            spins: if spin { SPINS } else { 0 },
            parked: (0..others).map(|_| AtomicBool::new(false)).collect(),
            caller: UnsafeCell::new(None),
            caller_parked: AtomicBool::new(false),
        });
        let mut workers = Self {
            shared,
            handles: Vec::with_capacity(others),
        };
        for index in 0..others {
            let shared = workers.shared.clone();
            let handle = thread::Builder::new()
                .name(format!("candlepower-{}", index + 1))
                .spawn(move || shared.serve(index))?;
            workers.handles.push(handle);
        }
        Ok(workers)
    }

    pub fn threads(&self) -> usize {
        self.handles.len() + 1
    }

    /// Runs `f` here, with this pool behind every [`each`] in it.
    pub fn install<R>(&mut self, f: impl FnOnce() -> R) -> R {
        /// Restores what was there, also when `f` panics.
        struct Restore(*const Workers);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.with(|current| current.set(self.0));
            }
        }
        let _restore = Restore(CURRENT.with(|current| current.replace(self)));
        f()
    }

    /// Calls `region(t)` on every thread `t` and returns when all have.
    fn run(&self, region: &(dyn Fn(usize) + Sync + '_)) {
        let shared = &*self.shared;
        let others = self.handles.len();
        // SAFETY: no worker runs now: the last region ended before its `run` returned. The lifetime is
        // dropped from the pointer's type only; this call does not return before the last use.
        unsafe {
            let region =
                std::mem::transmute::<&(dyn Fn(usize) + Sync + '_), &'static Region>(region);
            *shared.region.get() = Some(region);
            *shared.caller.get() = Some(thread::current());
        }
        shared.running.store(others, Ordering::SeqCst);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        for (parked, handle) in shared.parked.iter().zip(&self.handles) {
            if parked.swap(false, Ordering::SeqCst) {
                handle.thread().unpark();
            }
        }
        let own = catch_unwind(AssertUnwindSafe(|| region(0)));
        shared.wait_for_workers();
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        assert!(
            !shared.panicked.swap(false, Ordering::SeqCst),
            "a worker thread panicked; its message is above"
        );
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        for handle in self.handles.drain(..) {
            handle.thread().unpark();
            // A worker catches its own panics: joining can only succeed.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// The life of worker `index`.
    fn serve(&self, index: usize) {
        let mut seen = 0;
        loop {
            seen = self.next_epoch(index, seen);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: the epoch has changed and this worker counts in `running`: the region is alive.
            let region = unsafe { (*self.region.get()).map(|region| &*region) };
            if let Some(region) = region {
                // A panic must still be counted, or the caller would wait for ever.
                if catch_unwind(AssertUnwindSafe(|| region(index + 1))).is_err() {
                    self.panicked.store(true, Ordering::SeqCst);
                }
            }
            // Before the decrement: afterwards the caller may go on, and change it.
            // SAFETY: as for `region`.
            let caller = unsafe { (*self.caller.get()).clone() };
            if self.running.fetch_sub(1, Ordering::SeqCst) == 1
                && self.caller_parked.load(Ordering::SeqCst)
                && let Some(caller) = caller
            {
                caller.unpark();
            }
        }
    }

    /// Spins, then parks, until the epoch is not `seen`.
    fn next_epoch(&self, index: usize, seen: usize) -> usize {
        let mut spins = 0;
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            if epoch != seen {
                self.parked[index].store(false, Ordering::SeqCst);
                return epoch;
            }
            if spins < self.spins {
                spins += 1;
                spin_loop();
                continue;
            }
            self.parked[index].store(true, Ordering::SeqCst);
            // The region may have started between the look and the flag: then nobody unparks.
            if self.epoch.load(Ordering::SeqCst) == seen {
                thread::park();
            }
        }
    }

    fn wait_for_workers(&self) {
        let mut spins = 0;
        while self.running.load(Ordering::SeqCst) != 0 {
            if spins < self.spins {
                spins += 1;
                spin_loop();
                continue;
            }
            self.caller_parked.store(true, Ordering::SeqCst);
            if self.running.load(Ordering::SeqCst) != 0 {
                thread::park();
            }
            self.caller_parked.store(false, Ordering::SeqCst);
        }
    }
}

/// Threads behind [`each`] here: 1 outside [`Workers::install`].
pub fn threads() -> usize {
    let current = CURRENT.with(Cell::get);
    if current.is_null() {
        return 1;
    }
    // SAFETY: `install` sets the pointer, borrows the pool for as long, and takes it away again.
    unsafe { (*current).threads() }
}

/// Calls `f(i)` for `i` in `0..parts`: each thread takes one run of neighbouring parts.
pub fn each(parts: usize, f: impl Fn(usize) + Sync) {
    let current = CURRENT.with(Cell::get);
    if parts <= 1 || current.is_null() {
        return (0..parts).for_each(f);
    }
    // SAFETY: as in `threads`.
    let workers = unsafe { &*current };
    let threads = workers.threads();
    // Regions do not nest: what a part starts runs on its own thread.
    CURRENT.with(|current| current.set(std::ptr::null()));
    let result = catch_unwind(AssertUnwindSafe(|| {
        workers.run(&|thread| {
            (thread * parts / threads..(thread + 1) * parts / threads).for_each(&f);
        });
    }));
    CURRENT.with(|cell| cell.set(current));
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

/// Calls `f(i)` for `i` in `0..parts`, each part by the first thread that is free: for parts that
/// differ in length.
pub fn each_when_free(parts: usize, f: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    each(threads().min(parts), |_| {
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                break;
            }
            f(part);
        }
    });
}

/// Calls `f(i, chunk)` for each whole chunk of `len` elements: each thread takes one run of them.
pub fn each_chunk<T: Send>(values: &mut [T], len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let chunks = Chunks::of(values, len);
    // SAFETY: `each` gives each index to one thread, and `values` is borrowed meanwhile.
    each(chunks.count, |i| f(i, unsafe { chunks.get(i) }));
}

/// [`each_chunk`], each chunk by the first thread that is free.
pub fn each_chunk_when_free<T: Send>(
    values: &mut [T],
    len: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    let chunks = Chunks::of(values, len);
    // SAFETY: `each_when_free` gives each index to one thread, and `values` is borrowed meanwhile.
    each_when_free(chunks.count, |i| f(i, unsafe { chunks.get(i) }));
}

/// A slice as the address of its whole chunks, which are handed out once each.
struct Chunks<T> {
    start: *mut T,
    len: usize,
    count: usize,
}

// SAFETY: threads use disjoint chunks of a slice that is borrowed mutably throughout.
unsafe impl<T: Send> Sync for Chunks<T> {}

impl<T> Chunks<T> {
    fn of(values: &mut [T], len: usize) -> Self {
        Self {
            start: values.as_mut_ptr(),
            len,
            count: values.len() / len.max(1),
        }
    }

    /// # Safety
    /// The slice is still borrowed, and nobody else has chunk `i`.
    #[allow(clippy::mut_from_ref)]
    unsafe fn get(&self, i: usize) -> &mut [T] {
        assert!(i < self.count);
        // SAFETY: within the slice by the line above; the caller answers for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(i * self.len), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once() {
        for threads in [1, 2, 3, 5] {
            let mut workers = Workers::new(threads, true).unwrap();
            workers.install(|| {
                assert_eq!(super::threads(), threads);
                for parts in [0, 1, 2, 7, 100] {
                    let counts: Vec<AtomicUsize> =
                        (0..parts).map(|_| AtomicUsize::new(0)).collect();
                    each(parts, |i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                    each_when_free(parts, |i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 2));
                }
            });
            assert_eq!(super::threads(), 1);
        }
    }

    #[test]
    fn many_regions_in_a_row_all_end() {
        let mut workers = Workers::new(2, true).unwrap();
        let total = AtomicUsize::new(0);
        workers.install(|| {
            for round in 0..20_000 {
                each(2, |i| {
                    total.fetch_add(i + 1, Ordering::Relaxed);
                });
                if round % 5_000 == 0 {
                    // Long enough that the others park.
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 60_000);
    }

    #[test]
    fn chunks_are_written_in_place_and_nested_regions_run_inline() {
        let mut workers = Workers::new(3, false).unwrap();
        let mut values = vec![0; 32];
        workers.install(|| {
            each_chunk(&mut values, 5, |i, chunk| {
                each(chunk.len(), |_| assert_eq!(super::threads(), 1));
                chunk.fill(i + 1);
            });
        });
        assert_eq!(values[..5], [1; 5]);
        assert_eq!(values[25..], [6, 6, 6, 6, 6, 0, 0]);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
        let mut workers = Workers::new(2, true).unwrap();
        for bad in [0, 1] {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                workers.install(|| each(2, |i| assert_ne!(i, bad)));
            }));
            assert!(outcome.is_err());
            let done = AtomicUsize::new(0);
            workers.install(|| {
                each(2, |_| {
                    done.fetch_add(1, Ordering::Relaxed);
                });
            });
            assert_eq!(done.load(Ordering::Relaxed), 2);
        }
    }
}
