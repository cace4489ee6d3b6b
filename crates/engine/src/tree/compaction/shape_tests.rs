//! Sizes of levels, and the distance from them, on sketched trees.

use super::shape::{LAST, Shape, level_0_width};
use super::sketch::Sketch;
use super::*;

/// Levels a fourth of the next, down to 100 B; two runs over a key in level 0.
fn quarters() -> Config {
    Config {
        l0_runs: 2,
        inner_runs: 1,
        last_runs: 1,
        size_ratio: 4,
        base_bytes: 100,
        table_bytes: 400,
        job_bytes: 4000,
        garbage_percent: 25,
        garbage_age_ms: 10,
        tables_a_level: 256,
        window: 256,
    }
}

fn shape(config: &Config, tree: &str) -> Shape {
    Shape::of(&Sketch::new(config.clone(), tree).version, config)
}

#[test]
fn each_level_is_a_ratios_share_of_the_next_down_to_the_least_that_pays() {
    let targets = |tree| shape(&quarters(), tree).targets;
    assert_eq!(targets(""), [0, 0, 0, 0, 0, 0, 100]);
    assert_eq!(targets("L6: 1 a-z 50"), [0, 0, 0, 0, 0, 0, 100]);
    assert_eq!(targets("L6: 1 a-z 399"), [0, 0, 0, 0, 0, 0, 399]);
    assert_eq!(targets("L6: 1 a-z 400"), [0, 0, 0, 0, 0, 100, 400]);
    assert_eq!(targets("L6: 1 a-z 6500"), [0, 0, 0, 101, 406, 1625, 6500]);
    // The last level steers; before it has data, the largest there is.
    assert_eq!(targets("L5: 1 a-z 800"), [0, 0, 0, 0, 0, 200, 800]);
    assert_eq!(targets("L0: 1 a-z 800"), [0, 0, 0, 0, 0, 0, 100]);
    // Level 0 has no size to keep to, however much there is.
    let much = targets("L6: 1 a-z 4096000");
    assert_eq!(much, [0, 4000, 16_000, 64_000, 256_000, 1_024_000, 4_096_000]);
}

#[test]
fn level_0_goes_to_the_first_level_that_holds_data_or_should() {
    let bases = |tree| {
        let shape = shape(&quarters(), tree);
        (shape.ideal_base, shape.base)
    };
    assert_eq!(bases(""), (6, 6));
    assert_eq!(bases("L6: 1 a-z 1600"), (4, 4));
    assert_eq!(bases("L6: 1 a-z 100\nL3: 2 a-z 10"), (6, 3));
    assert_eq!(bases("L6: 1 a-z 1600\nL5: 2 a-z 10"), (4, 4));
}

#[test]
fn data_goes_next_to_the_nearest_level_below_that_holds_data_or_should() {
    let tree = Sketch::new(quarters(), "L6: 1 a-z 1600\nL2: 2 a-z 10\nL1: 3 a-z 10");
    let shape = Shape::of(&tree.version, &tree.config);
    let next = [0, 1, 2, 3, 4, 5, 6].map(|level| shape.next(&tree.version, level));
    assert_eq!(next, [1, 2, 4, 4, 5, 6, 6]);
}

#[test]
fn level_0_is_as_wide_as_it_has_runs_and_as_deep_as_they_overlap() {
    let width = |tree| level_0_width(&Sketch::new(quarters(), tree).version);
    assert_eq!(width(""), (0, 0));
    assert_eq!(width("L6: 1 a-z"), (0, 0));
    assert_eq!(width("L0: 3 a-c\nL0: 2 d-f\nL0: 1 g-i"), (3, 1));
    assert_eq!(width("L0: 4 a-c, 5 f-k\nL0: 3 d-g\nL0: 2 e-f\nL0: 1 x-z"), (4, 3));
}

#[test]
fn debt_is_what_must_be_rewritten_to_reach_the_shape() {
    let owed = |tree| debt(&Sketch::new(quarters(), tree).version, &quarters());
    assert_eq!(owed(""), 0);
    assert_eq!(owed("L6: 1 a-z 1000"), 0);
    // One run less than is due.
    assert_eq!(owed("L0: 2 a-z 30\nL6: 1 a-z 300"), 0);
    // A merge of all of level 0 with all of the base level, which has room for it.
    assert_eq!(owed("L0: 3 a-z 30\nL0: 2 a-z 40\nL6: 1 a-z 300"), 370);
    assert_eq!(owed("L0: 4 a-z 30\nL0: 3 a-z 30\nL0: 2 a-z 40\nL6: 1 a-z 300"), 400);
    // So deep that it is full twice.
    let twice = "L0: 5 a-z 30\nL0: 4 a-z 30\nL0: 3 a-z 30\nL0: 2 a-z 40\nL6: 1 a-z 300";
    assert_eq!(owed(twice), 130 + 2 * 300);
    // A level that is 60 B too large: these meet 60 of its 160 shares of the next.
    assert_eq!(owed("L5: 2 a-z 160\nL6: 1 a-z 400"), 60 + 400 * 60 / 160);
    assert_eq!(owed("L5: 2 a-z 100\nL6: 1 a-z 400"), 0);
    // A level that should be empty; what it gives makes the next too large.
    // 80 go from L4 to L5 (of 90), and 70 of the then 170 on to L6 (of 400).
    let chain = "L4: 3 a-z 80\nL5: 2 a-z 90\nL6: 1 a-z 400";
    assert_eq!(owed(chain), (80 + 90) + (70 + 400 * 70 / 170));
    // The same from level 0: what it brings, its base level has to pass on.
    let from_0 = "L0: 4 a-z 30\nL0: 3 a-z 40\nL5: 2 a-z 90\nL6: 1 a-z 400";
    assert_eq!(owed(from_0), (70 + 90) + (60 + 400 * 60 / 160));
}

#[test]
fn debt_counts_runs_side_by_side_from_four_times_the_runs_of_level_0_on() {
    let side_by_side = |runs: u8| {
        let lines = (0..runs).map(|i| {
            let key = char::from(b'a' + i);
            format!("L0: {} {key}-{key}x 10\n", runs - i + 1)
        });
        lines.collect::<String>() + "L6: 1 a-z 300"
    };
    let owed = |runs| debt(&Sketch::new(quarters(), &side_by_side(runs)).version, &quarters());
    assert_eq!(owed(7), 0);
    assert_eq!(owed(8), 80 + 300);
}

#[test]
fn debt_of_a_level_that_takes_further_runs_meets_nothing_there() {
    let tiered = Config { last_runs: 2, ..quarters() };
    let tree = "L5: 2 a-z 160\nL6: 1 a-z 400";
    assert_eq!(debt(&Sketch::new(tiered.clone(), tree).version, &tiered), 60);
}

#[test]
fn each_level_has_the_runs_that_it_is_allowed() {
    let config = Config { l0_runs: 8, inner_runs: 3, last_runs: 2, ..quarters() };
    let allowed = [0, 1, 5, 6].map(|level| config.runs_in(level, LAST));
    assert_eq!(allowed, [8, 3, 3, 2]);
}

/// The figures of docs/decisions/0003-runs-per-level.md and of the options' documentation.
#[test]
fn the_shape_follows_the_size_of_memtables() {
    let mib = 1 << 20;
    let config = Config::for_memtable(64 * mib);
    assert_eq!((config.l0_runs, config.inner_runs, config.last_runs), (8, 1, 1));
    assert_eq!(config.size_ratio, 8);
    assert_eq!(config.base_bytes, 256 * mib, "half of a full level 0");
    assert_eq!(config.table_bytes, 16 * mib);
    assert_eq!(config.job_bytes, 256 * mib);
    assert_eq!((config.garbage_percent, config.garbage_age_ms), (25, 60_000));
    // An output table overlaps a level's share and a half of the next at most.
    assert_eq!(config.grandparent_bytes(config.table_bytes), 12 * 16 * mib);
    // Writers are slowed down from three full level 0 on, and from 32 base levels.
    assert_eq!((config.calm_l0_runs(), config.calm_debt_bytes()), (24, 32 * 256 * mib));

    let small = Config::for_memtable(8 * mib);
    assert_eq!((small.base_bytes, small.table_bytes), (32 * mib, 4 * mib));
    let tiny = Config::for_memtable(64 << 10);
    assert_eq!((tiny.base_bytes, tiny.table_bytes), (8 * mib, 2 * mib));
    assert_eq!(tiny.calm_debt_bytes(), 1024 * mib, "less is no burden to anybody");
}
