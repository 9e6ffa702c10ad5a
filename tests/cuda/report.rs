//! What the virtual GPU counted of each kernel: in a process that also looks for races and numbers that nobody wrote.

use serde_json::Value;

use crate::exchange::Machine;

/// Rows of the report whose kernels begin so.
pub fn kernels<'a>(report: &'a Value, begin: &str) -> Vec<&'a Value> {
    let rows = report["kernels"].as_array().unwrap().iter();
    rows.filter(|row| row["name"].as_str().unwrap().starts_with(begin))
        .collect()
}

/// The report of `work` in a process of its own; none in there, and where no virtual GPU is.
pub fn reported(machine: Machine, test: &str, work: impl Fn()) -> Option<Value> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.json");
    let machine = machine
        .with("VGPU_REPORT", file.display())
        .with("VGPU_STRICT", 1)
        .with("VGPU_RACES", 1);
    if machine.is_inside(test) {
        work();
        return None;
    }
    let text = std::fs::read_to_string(&file).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

/// What these rows' kernels moved to and from memory.
pub fn bytes(rows: &[&Value]) -> u64 {
    let sectors = rows
        .iter()
        .flat_map(|row| [&row["load_sectors"], &row["store_sectors"]]);
    sectors.map(|sectors| 32 * sectors.as_u64().unwrap()).sum()
}
