//! What keeps an open database within its limits: counting without contention, the one
//! memory budget, whether reads and writes may go on, and the writers' pace.

pub(crate) mod counters;
pub(crate) mod account;
pub(crate) mod budget;
pub(crate) mod freed_heap;
pub(crate) mod owner;
pub(crate) mod bell;
pub(crate) mod health;
pub(crate) mod belief;
pub(crate) mod wall_time;
pub(crate) mod pacing;
pub(crate) mod io_rate;
