//! What stands beside the driver: collectives, matrix products, telemetry.

use crate::api::*;

pub fn collectives() {
    let id = {
        begin(0);
        let mut id = Id([0; 128]);
        ok(ncclGetUniqueId(&mut id));
        id
    };
    std::thread::scope(|scope| {
        for rank in 0..4 {
            scope.spawn(move || {
                begin(rank);
                let f = function(ADD, "add");
                let comm = get(|c| ncclCommInitRank(c, 4, id, rank));
                let s = stream();
                let at = upload(&[rank as f32, 1.5]);
                let all = upload(&[0f32; 8]);
                for _ in 0..3 {
                    ok(ncclAllReduce(at, at, 2, 7, 0, comm, s));
                    ok(ncclAllGather(at, all, 2, 7, comm, s));
                }
                ok(cuStreamSynchronize(s));
                assert_eq!(download::<f32>(at, 2), [96.0, 96.0]);
                assert_eq!(download::<f32>(all, 8), [96.0; 8]);
                // Captured with the rest.
                ok(cuStreamBeginCapture_v2(s, 1));
                ok(ncclAllReduce(at, at, 2, 7, 0, comm, s));
                let graph = get(|g| cuStreamEndCapture(s, g));
                let executable = get(|e| cuGraphInstantiateWithFlags(e, graph, 0));
                ok(cuGraphLaunch(executable, s));
                ok(cuGraphLaunch(executable, s));
                ok(cuStreamSynchronize(s));
                assert_eq!(download::<f32>(at, 2), [96.0 * 16.0; 2]);
                // Another card's memory is out of reach of kernels.
                let half = upload(&[0x3f80u16, 0x4000]);
                ok(ncclAllReduce(half, half, 2, 9, 0, comm, s));
                ok(cuStreamSynchronize(s));
                assert_eq!(download::<u16>(half, 2), [0x4080, 0x4100]);
                let _ = f;
            });
        }
    });
}

pub fn products() {
    begin(0);
    // Row-major y = x w^T with x 3x16 and w 5x16, as column-major: D (5x3) = W^T (5x16) X (16x3).
    let x: Vec<f32> = (0..48).map(|i| i as f32 / 7.0 - 3.0).collect();
    let w: Vec<f32> = (0..80).map(|i| (i * 31 % 17) as f32 / 5.0 - 1.0).collect();
    let bias: Vec<f32> = (0..5).map(|i| i as f32).collect();
    let (dx, dw, db, dy) = (
        upload(&x),
        upload(&w),
        upload(&bias),
        get(|p| cuMemAlloc_v2(p, 60)),
    );
    let d = get(|d| cublasLtMatmulDescCreate(d, 68, 0));
    let set = |attribute: i32, value: u64, bytes: usize| {
        ok(cublasLtMatmulDescSetAttribute(
            d,
            attribute,
            &raw const value as u64,
            bytes,
        ))
    };
    set(3, 1, 4);
    set(7, 4, 4);
    set(8, db, 8);
    let layout =
        |rows, columns| get(|l| cublasLtMatrixLayoutCreate(l, 0, rows, columns, rows as i64));
    let (lw, lx, ly) = (layout(16, 5), layout(16, 3), layout(5, 3));
    ok(cublasLtMatmul(
        0, d, &2.0, dw, lw, dx, lx, &0.0, dy, ly, dy, ly, 0, 0, 0, 0,
    ));
    let got = download::<f32>(dy, 15);
    for row in 0..3 {
        for column in 0..5 {
            let sum: f32 = (0..16).map(|i| x[row * 16 + i] * w[column * 16 + i]).sum();
            assert!((got[row * 5 + column] - (2.0 * sum + bias[column])).abs() < 1e-4);
        }
    }
    assert_eq!(
        cublasLtMatmul(0, d, &2.0, dw, lx, dx, lx, &0.0, dy, ly, dy, ly, 0, 0, 0, 0),
        7,
        "sizes that do not match"
    );
}

pub fn telemetry() {
    ok(nvmlInit_v2());
    let handle = get(|h| nvmlDeviceGetHandleByIndex_v2(0, h));
    let read = || get(|mw| nvmlDeviceGetPowerUsage(handle, mw));
    assert_eq!([read(), read(), read()], [100_000, 200_000, 100_000]);
    assert_eq!(nvmlDeviceGetTotalEnergyConsumption(handle, &mut 0), 3);
    begin(0);
    let before = get(|m| nvmlDeviceGetMemoryInfo(handle, m));
    get(|p| cuMemAlloc_v2(p, 1 << 30));
    let after = get(|m| nvmlDeviceGetMemoryInfo(handle, m));
    assert_eq!(after[2] - before[2], 1 << 30);
}
