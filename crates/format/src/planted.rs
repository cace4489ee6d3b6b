//! Planted bugs: faults that other engines really had, put back on purpose, so
//! that it can be seen whether the tests find them.
//!
//! A fault stands where it would have been made, and reads as one line:
//!
//! ```text
//! if planted!(fsync_retry_lies) { … }
//! ```
//!
//! Only a build with `--cfg tanada_planted` has them. In every other build the
//! macro is the word `false`, and nothing of the fault is left. It is not a
//! cargo feature: features are united over a whole build, so that what the tests
//! of one crate ask for could reach the release of another.
//!
//! `cargo xtask planted` makes such a build, chooses one fault after the other
//! by the environment variable `TANADA_PLANTED`, and shows which test found it.
//! The faults and their stories are those of `docs/scenarios.md`.

/// Whether this fault is in: never, in a build without `--cfg tanada_planted`.
#[cfg(not(tanada_planted))]
#[macro_export]
macro_rules! planted {
    ($fault:ident) => {
        false
    };
}

// Known to the compiler, so that no branch of a fault is left: a build whose
// `planted!` asked anybody anything would end here.
#[cfg(not(tanada_planted))]
const _: () = assert!(!planted!(any), "an ordinary build has no planted bugs");

/// Whether this fault is in: whether the environment names it.
#[cfg(tanada_planted)]
#[macro_export]
macro_rules! planted {
    ($fault:ident) => {
        $crate::is_planted(stringify!($fault))
    };
}

/// Whether the environment names `fault`. It is asked once a process.
///
/// Never inlined, so that every name that is asked for stands in the program as
/// text: that is how a release is shown to have none.
#[cfg(tanada_planted)]
#[inline(never)]
pub fn is_planted(fault: &'static str) -> bool {
    static CHOSEN: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("TANADA_PLANTED").ok());
    CHOSEN.as_deref() == Some(fault)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_fault_that_nobody_names_is_not_in() {
        let planted = crate::planted!(a_fault_that_nobody_names);
        assert!(!planted);
    }
}
