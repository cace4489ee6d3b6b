//! What holds the engine to its word: a plain ordered map that knows every
//! answer, operations drawn from a seed, and crashes and failures at every call
//! to the file system.
//!
//! All of it runs on [`tanada_vfs::MemoryMachine`], without threads, so that a
//! run depends on its seed alone: the same seed twice makes the same calls. A
//! failing seed prints the command that replays it, see [`seeds`].
//!
//! Read in this order: an [`operation::Operation`] is one call of the public API,
//! as data; [`generator`] draws them from [`choices`]; [`oracle`] knows what each must
//! answer; [`runner`] does them and compares; [`crash`] cuts a run at each of its
//! calls; [`inject`] lets single calls fail, and `targets` says which ones where their kind
//! does not. [`call_sites`] knows the places that make them, [`courses`] reach all of these,
//! and [`sweep`] lets each meet every fault. A [`plan`] is all of it in one list, with the
//! work of the background: [`simulation`] runs it, [`shrink`] shortens one that fails.

pub mod seeds;
pub mod choices;
pub mod digest;
pub mod operation;
pub mod generator;
pub mod oracle;
pub mod trace;
pub mod elsewhere;
pub mod runner;
pub mod crash;
pub mod inject;
mod targets;
pub mod call_sites;
pub mod courses;
pub mod sweep;
pub mod tuning;
pub mod plan;
mod others;
mod repaired;
pub mod simulation;
pub mod shrink;
