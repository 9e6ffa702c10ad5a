//! Times of all-reduces against the tables they rest on.

use candlepower::hardware::{
    AllReduce, AllReduceCurve, AllReduceTable, HardwareError, HostLink, Interconnect, LINKS, Link,
};

fn data() -> Interconnect {
    Interconnect::load().unwrap()
}

fn table(id: &str) -> AllReduceTable {
    let tables = data().tables.into_iter();
    tables
        .into_iter()
        .find(|table| table.case_id == id)
        .unwrap()
}

fn all_reduce_seconds(link: Link, ranks: usize, bytes: u64) -> Result<f64, HardwareError> {
    AllReduce::new(link, ranks)?.seconds(bytes)
}

#[test]
fn the_copy_of_the_tables_is_whole_and_agrees_with_itself() {
    let data = data();
    assert_eq!((data.tables.len(), data.statements.len()), (16, 7));
    for table in &data.tables {
        assert!(!table.rows.is_empty() && table.gpu_count >= 2 && !table.source.is_empty());
        assert!(
            table.rows.is_sorted_by(|a, b| a.size_bytes < b.size_bytes),
            "{}",
            table.case_id
        );
        let ranks = table.gpu_count as f64;
        for row in &table.rows {
            // NCCL prints two digits: small figures say nothing.
            let Some(printed) = row.busbw_gb_per_s.filter(|gb_s| *gb_s > 1.0) else {
                continue;
            };
            let bytes = 2.0 * (ranks - 1.0) / ranks * row.size_bytes as f64;
            let computed = bytes / row.time_us / 1e3;
            assert!(
                (computed / printed - 1.0).abs() < 0.01,
                "{} {row:?}: {computed}",
                table.case_id
            );
        }
    }
}

/// At a measured size the time is the measured one, or that of a larger message that was faster.
#[test]
fn measured_points_are_hit() {
    for (link, names) in LINKS {
        for id in names {
            let table = table(id);
            let curve = AllReduceCurve::new(link, table.gpu_count).unwrap();
            assert_eq!(curve.measured_ranks, table.gpu_count);
            assert!(curve.tables.contains(&table.case_id));
            for (at, row) in table.rows.iter().enumerate() {
                let seconds = curve.seconds(row.size_bytes).unwrap();
                let later = table.rows[at..].iter().map(|row| row.time_us);
                let least = later.fold(f64::INFINITY, f64::min);
                let hit = (seconds * 1e6 / least - 1.0).abs() < 1e-9;
                // Over eight ranks of NVLink 4 two tables meet: the first one named holds.
                assert!(
                    hit || *id == "mle-h200" && row.size_bytes >= 64 << 20,
                    "{id} {row:?}: {seconds}"
                );
            }
        }
    }
}

#[test]
fn noise_that_was_smoothed_is_small() {
    for (link, names) in LINKS {
        let table = table(names[0]);
        let curve = AllReduceCurve::new(link, table.gpu_count).unwrap();
        for row in &table.rows {
            let off = row.time_us / (curve.seconds(row.size_bytes).unwrap() * 1e6);
            assert!(
                (0.999..1.3).contains(&off),
                "{} {row:?}: {off}",
                table.case_id
            );
        }
    }
}

#[test]
fn more_bytes_never_take_less_time() {
    for (link, _) in LINKS {
        for ranks in 2..=8 {
            let Ok(curve) = AllReduceCurve::new(link, ranks) else {
                continue;
            };
            let mut last = 0.0;
            for eighth in 0..8 * 36 {
                let bytes = 2f64.powf(f64::from(eighth) / 8.0) as u64;
                let Ok(seconds) = curve.seconds(bytes) else {
                    continue;
                };
                assert!(
                    seconds >= last && seconds > 0.0,
                    "{link}, {ranks} ranks, {bytes} bytes"
                );
                last = seconds;
            }
            assert!(last > 0.0, "{link}, {ranks} ranks");
        }
    }
}

#[test]
fn between_points_the_time_lies_between_theirs() {
    // ic-05: 1 MiB 118.6 us, 2 MiB 184.1 us; the middle in the logarithm is the geometric mean.
    let middle = ((1u64 << 20) as f64 * 2f64.sqrt()) as u64;
    let seconds = all_reduce_seconds(Link::PcieP2p, 4, middle).unwrap();
    let expected = (118.6f64 * 184.1).sqrt() * 1e-6;
    assert!((seconds / expected - 1.0).abs() < 1e-5, "{seconds}");
}

#[test]
fn past_the_ends_the_floor_and_the_bandwidth_hold() {
    let at = |bytes| all_reduce_seconds(Link::PcieP2p, 4, bytes).unwrap();
    assert_eq!(at(0), at(1024));
    assert!((at(4 << 30) / at(1 << 30) - 4.0).abs() < 1e-9);
    assert_eq!(
        all_reduce_seconds(Link::NvLink(3), 1, 1 << 20).unwrap(),
        0.0
    );
}

/// The scaling law, against tables that no curve uses or that stand for another rank count.
#[test]
fn scaled_rank_counts_agree_with_tables_kept_out() {
    let scaled = AllReduceCurve::new(Link::PcieP2p, 6).unwrap();
    assert_eq!((scaled.ranks, scaled.measured_ranks), (6, 4));
    let row = table("ic-06").rows[0];
    let off = scaled.seconds(row.size_bytes).unwrap() * 1e6 / row.time_us;
    assert!((0.95..1.05).contains(&off), "6 RTX 4090 with P2P: {off}");

    // The floor of tables launched by one process, over 2, 4 and 8 GPUs: some 5 us each.
    for (id, ranks) in [
        ("ic-02", 2.0),
        ("ic-03", 4.0),
        ("ic-04", 8.0),
        ("ic-05", 4.0),
        ("ic-09", 8.0),
    ] {
        let floor = table(id).rows[0].time_us;
        assert!((4.4..5.6).contains(&(floor / ranks)), "{id}: {floor}");
    }
    // NVLink 4 over four ranks from two: what NCCL's makers say of large messages (370 GB/s, ic-s2).
    let large = 1u64 << 30;
    let four = all_reduce_seconds(Link::NvLink(4), 4, large).unwrap();
    let bus = 2.0 * 0.75 * large as f64 / four / 1e9;
    assert!((350.0..380.0).contains(&bus), "{bus} GB/s");
}

#[test]
fn what_nobody_measured_is_an_error() {
    let error = |link, ranks, bytes| {
        all_reduce_seconds(link, ranks, bytes)
            .unwrap_err()
            .to_string()
    };
    let said = error(Link::NvLink(2), 4, 1024);
    assert!(
        said.contains("over 4 ranks by NVLink 2: there are tables for PCIe"),
        "{said}"
    );
    let said = error(Link::NvLinkBridge, 2, 1 << 20);
    assert!(
        said.contains("1048576 bytes") && said.contains("begin at 1073741824 bytes"),
        "{said}"
    );
    assert!(error(Link::NvLinkBridge, 4, 1 << 30).contains("over 4 ranks by an NVLink bridge"));
    let said = error(Link::PcieP2p, 64, 1024);
    assert!(
        said.contains("over 64 ranks") && said.contains("access (4 ranks)"),
        "{said}"
    );
}

/// Four hosts, four rates, and otherwise the same constants.
#[test]
fn one_form_meets_every_table_of_the_host_path() {
    for (id, gb_s) in [
        ("ic-01", 2.1),
        ("ic-02", 3.7),
        ("ic-03", 2.7),
        ("ic-04", 14.5),
    ] {
        let table = table(id);
        let link = HostLink {
            // One process launches on all cards in turn.
            rank_seconds: 5.0e-6,
            rank_bytes_per_s: gb_s * 1e9,
            ..HostLink::NCCL
        };
        for row in &table.rows {
            let off = link.seconds(table.gpu_count, row.size_bytes) * 1e6 / row.time_us;
            assert!((0.75..1.25).contains(&off), "{id} {row:?}: {off}");
        }
    }
}

#[test]
fn through_the_host_more_ranks_and_more_bytes_never_take_less_time() {
    let mut last = 0.0;
    for ranks in 2..=16 {
        let at = |bytes| all_reduce_seconds(Link::PcieHost, ranks, bytes).unwrap();
        assert!(at(16 << 10) > last, "{ranks}");
        last = at(16 << 10);
        let sizes: Vec<f64> = (0..36).map(|power| at(1 << power)).collect();
        assert!(sizes.is_sorted() && sizes[0] > 0.0, "{ranks}: {sizes:?}");
    }
}
