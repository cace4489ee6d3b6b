//! Merging tables: what to merge, what to keep, and doing it.
//!
//! Decisions are pure and stand apart from deeds. [`Config`] says which shape
//! the tree should have, [`Shape`](shape::Shape) and [`debt`] how far it is
//! from it; [`pick`] and [`plan_range`] choose a seed, and [`tree`] makes a
//! whole [`Plan`] of it; [`visible`] says which versions of a key somebody can
//! still see. A [`CompactionJob`] is such a plan with all that it needs, as data;
//! [`run_job`] carries it out.

mod config;
mod shape;
mod set_aside;
mod plan;
mod tree;
mod join;
mod pick;
mod due;
pub(crate) mod visible;
mod job;
mod older;
mod guards;
mod cut;
mod job_io;
mod output;
mod run;
mod check;
mod worker;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;

pub(crate) use check::{check_files, check_outputs};
pub(crate) use config::Config;
pub(crate) use due::{Due, due};
pub(crate) use guards::flush_guards;
pub(crate) use job::{JobHash, JobSettings, Outputs, OwnJob, TableFormat};
pub(crate) use job_io::JobIo;
pub(crate) use join::has_many_small_tables;
pub(crate) use older::Older;
pub(crate) use output::{Written, describe};
pub(crate) use pick::{Begun, ManualStep, pick, pick_idle, pick_small_tables, plan_range};
pub(crate) use plan::{InFlight, Method, Plan};
#[cfg(test)]
pub(crate) use run::write_tables;
pub(crate) use run::{
    JobOutput, OutputOptions, parts_worth_it, run_job, sync_written, write_unsynced,
};
pub(crate) use shape::{debt, level_targets};
pub(crate) use tree::Moment;
pub use worker::run_compaction;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod simulate;
#[cfg(test)]
mod record;
#[cfg(test)]
mod sketch;
#[cfg(test)]
mod shape_tests;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod join_tests;
#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod worker_tests;
#[cfg(test)]
mod disk;
