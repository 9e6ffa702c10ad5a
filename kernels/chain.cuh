// Kernels that begin before the one in front has ended (programmatic dependent launch), on GPUs from 9.0 on; nothing on
// others.
//
// All kernels of a file that includes this take part. Each lets the next one begin at once, and each of its threads waits
// before it touches what a kernel of a step writes, or writes what one reads. The wait is for the end of the kernel in
// front, and that one's for the end of those before it: a block that never waits would leave the next kernel unordered
// with all but this one. Before it a thread may read weights, and what was uploaded for the step: no kernel of a chain
// writes those. What others write is read by ordinary loads, never by `ld.global.nc`: it changes while this kernel lives.
// Loads before the wait are ordinary ones too, or the compiler puts them behind it.
#pragma once

__device__ __forceinline__ void begin_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

__device__ __forceinline__ void await_front() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Where there is nothing to do between the two.
__device__ __forceinline__ void join_chain() {
    begin_next();
    await_front();
}

// Weights that are read late: into the L2 cache, which has seen more than it holds since a step last read them.
__device__ __forceinline__ void bring_near(const void* at) {
#if __CUDA_ARCH__ >= 900
    asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
#endif
}
