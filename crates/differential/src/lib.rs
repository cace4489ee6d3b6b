//! The whole public API beside another store: the same calls to Tanada, on real files, and
//! to redb, and every answer of the one compared with the other's.
//!
//! The simulation's oracle is ours, and what its author takes for granted the engine's author
//! may have taken for granted too. redb was written by others, on another structure (a
//! copy-on-write B-tree): its ranges, its order and its snapshots owe nothing to us. Versions,
//! expiries and conditions, which it does not have, are kept beside its values.
//!
//! A life is a list of calls drawn from a seed, run on the machine's own file system. Every
//! second one has threads in the background; the others do that work between the calls, and
//! go the same way each time. Wall time is held: it moves when a call moves it, so that what
//! has expired is no guess. A life that fails is made short, and printed.
//!
//! Read in this order: [`methods`] names every public method; [`machine`] is real files and
//! held time; [`oracle`] is redb; a [`call::Call`] is one call as data; [`driver`] does it on
//! both sides; [`life`] runs lists of them.

pub mod methods;
pub mod machine;
pub mod oracle;
pub mod call;
pub mod driver;
pub mod life;
