//! Devices: how many, their names, sizes and attributes.

use super::{export, put, put_text, text, valid_device};
use crate::driver::kernels::{MAX_THREADS, SHARED_UNASKED};
use crate::driver::{codes, driver};

/// CUDA 13.0.
const VERSION: i32 = 13000;
const UUID_BYTES: usize = 16;
const KIB: i32 = 1 << 10;
const KHZ_PER_MHZ: i32 = 1000;

/// Of `CUdevice_P2PAttribute`.
const P2P_RANK: i32 = 1;
const P2P_ACCESS: i32 = 2;
const P2P_NATIVE_ATOMICS: i32 = 3;
const P2P_ARRAYS: i32 = 4;

export! {
    fn cuInit(_flags: u32) {
        driver();
        Ok(())
    }
    fn cuDriverGetVersion(version: *mut i32) {
        put(version, VERSION)
    }
    /// Of NVIDIA's own tools, as its CUPTI.
    fn cuGetExportTable(_table: *mut u64, _id: u64) {
        Err(codes::ERROR_NOT_FOUND)
    }
    fn cuDeviceGetCount(count: *mut i32) {
        put(count, driver().config.device.len() as i32)
    }
    fn cuDeviceGet(device: *mut i32, ordinal: i32) {
        put(device, valid_device(ordinal)? as i32)
    }
    fn cuDeviceGetName(name: *mut i8, length: i32, device: i32) {
        put_text(name, length as usize, &driver().config.device[valid_device(device)?].name)
    }
    fn cuDeviceGetUuid_v2(uuid: *mut [u8; UUID_BYTES], device: i32) {
        put(uuid, uuid_of(valid_device(device)?))
    }
    fn cuDeviceGetUuid(uuid: *mut [u8; UUID_BYTES], device: i32) {
        put(uuid, uuid_of(valid_device(device)?))
    }
    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: i32) {
        put(bytes, driver().config.device[valid_device(device)?].memory() as usize)
    }
    fn cuDeviceGetAttribute(value: *mut i32, attribute: i32, device: i32) {
        put(value, attribute_of(attribute, valid_device(device)?)?)
    }
    fn cuDeviceGetPCIBusId(id: *mut i8, length: i32, device: i32) {
        put_text(id, length as usize, &pci_of(valid_device(device)?))
    }
    fn cuDeviceCanAccessPeer(can: *mut i32, device: i32, peer: i32) {
        put(can, i32::from(driver().config.peer_access && valid_device(device)? != valid_device(peer)?))
    }
    fn cuDeviceGetP2PAttribute(value: *mut i32, attribute: i32, device: i32, peer: i32) {
        let apart = valid_device(device)? != valid_device(peer)?;
        if !apart {
            return Err(codes::ERROR_INVALID_DEVICE);
        }
        let access = i32::from(driver().config.peer_access);
        put(value, match attribute {
            P2P_RANK => 0,
            P2P_NATIVE_ATOMICS => i32::from(driver().config.atomics && driver().config.peer_access),
            P2P_ACCESS | P2P_ARRAYS => access,
            _ => return Err(codes::ERROR_INVALID_VALUE),
        })
    }
    fn cuGetErrorName(code: i32, name: *mut *const i8) {
        let (known, _) = codes::describe(code).ok_or(codes::ERROR_INVALID_VALUE)?;
        put(name, known.as_ptr().cast())
    }
    fn cuGetErrorString(code: i32, explanation: *mut *const i8) {
        let (_, known) = codes::describe(code).ok_or(codes::ERROR_INVALID_VALUE)?;
        put(explanation, known.as_ptr().cast())
    }
    fn cuGetProcAddress_v2(name: *const i8, function: *mut u64, _version: i32, _flags: u64, status: *mut i32) {
        let name = text(name)?;
        let with_nul = [name.as_bytes(), b"\0"].concat();
        // SAFETY: the name ends in NUL; the result is an address or null.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, with_nul.as_ptr().cast()) } as u64;
        super::offer(status, i32::from(found == 0));
        put(function, found)?;
        if found == 0 { Err(codes::ERROR_NOT_FOUND) } else { Ok(()) }
    }
    fn cuProfilerStart() {
        Ok(())
    }
    fn cuProfilerStop() {
        Ok(())
    }
}

pub fn uuid_of(device: usize) -> [u8; UUID_BYTES] {
    let mut uuid = *b"virtual-gpu-0000";
    uuid[UUID_BYTES - 1] += driver().config.device[device].place as u8;
    uuid
}

pub fn pci_of(device: usize) -> String {
    format!(
        "00000000:{:02X}:00.0",
        driver().config.device[device].place + 1
    )
}

/// Attributes by their number in the driver's header.
fn attribute_of(attribute: i32, device: usize) -> Result<i32, i32> {
    let d = &driver().config.device[device];
    let registers = 64 * KIB;
    Ok(match attribute {
        1..=3 => MAX_THREADS as i32, // threads of a block, and in x and y
        4 => 64,
        5 => i32::MAX,
        6 | 7 => 65535,
        8 => SHARED_UNASKED as i32,
        9 => 64 * KIB, // constant memory
        10 => 32,
        11 => i32::MAX, // pitch
        12 | 82 => registers,
        13 => d.clock_mhz as i32 * KHZ_PER_MHZ,
        14 => 512,                   // texture alignment
        15 | 31 | 41 | 83 | 90 => 1, // overlap, concurrent kernels, unified addresses, managed memory, priorities
        16 => d.multiprocessors as i32,
        17 | 18 | 20 | 32 | 35 => 0, // timeout, integrated, compute mode, ECC, TCC
        19 => 1,                     // mapped host memory
        33 | 50 if attribute == 33 => device as i32 + 1, // PCI bus and domain
        34 => 0,
        36 => d.memory_clock_mhz as i32 * KHZ_PER_MHZ,
        37 => d.bus_bits as i32,
        38 => (d.l2_mib as i32) * KIB * KIB,
        39 => 1536,
        40 => 2, // copy engines
        75 => (d.compute / 10) as i32,
        76 => (d.compute % 10) as i32,
        78 => 1,
        79 | 80 => 1,
        81 => d.shared_kib_per_multiprocessor as i32 * KIB,
        84 | 85 => 0, // more than one GPU on a board
        86 => i32::from(driver().config.atomics),
        87..=89 => 0,
        91 => 1, // registered memory has its host address
        95 => 1,
        96 => 1,
        97 => d.shared_kib_per_block as i32 * KIB,
        99 => 0,
        106 => 24,
        108 => 0,
        111 => KIB, // shared memory that the system keeps
        115 => 1,
        _ => 0,
    })
}
