//! Which calls a fault is for, where their kind does not say it.

use crate::runner::PATH;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tanada_vfs::fault::{Call, Op};

/// What goes bad at once.
pub(crate) const SECTOR_BYTES: u64 = 512;

/// Whether it is a call on a manifest.
pub(crate) fn is_manifest(call: &Call) -> bool {
    call.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST-"))
}

/// Says yes to the first sync of the database's directory behind each sync of a table: a job
/// is about to name the table in the manifest.
pub(crate) fn names_of_tables() -> impl Fn(&Call) -> bool + Send + Sync {
    let is_due = AtomicBool::new(false);
    // Relaxed: there is one thread.
    move |call| match call.op {
        Op::Sync if is_in_database(&call.path, ".sst") => {
            is_due.store(true, Ordering::Relaxed);
            false
        }
        Op::SyncDir if call.path == Path::new(PATH) => is_due.swap(false, Ordering::Relaxed),
        _ => false,
    }
}

/// Says yes to reads of a file that touch the sector which begins at `start`.
pub(crate) fn sector(file: PathBuf, start: u64) -> impl Fn(&Call) -> bool + Send + Sync {
    move |call| {
        let touches = call.bytes.start < start + SECTOR_BYTES && start < call.bytes.end;
        call.op == Op::Read && touches && call.path == file
    }
}

fn is_in_database(path: &Path, suffix: &str) -> bool {
    path.parent() == Some(Path::new(PATH)) && path.to_string_lossy().ends_with(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(op: Op, path: &str) -> Call {
        Call { op, path: PathBuf::from(path), bytes: 0..0 }
    }

    #[test]
    fn a_sync_of_names_counts_once_behind_tables_of_the_database() {
        let says = names_of_tables();
        let names = call(Op::SyncDir, PATH);
        assert!(!says(&names), "nothing was built");
        assert!(!says(&call(Op::Sync, "/checkpoints/1/000001.sst")) && !says(&names));
        for _ in 0..2 {
            assert!(!says(&call(Op::Sync, "/db/000001.sst")));
            assert!(!says(&call(Op::Sync, "/db/000002.sst")));
            assert!(!says(&call(Op::SyncDir, "/")) && says(&names) && !says(&names));
        }
    }

    #[test]
    fn a_sector_is_read_by_whoever_asks_for_one_of_its_bytes() {
        let says = sector(PathBuf::from("/db/000001.sst"), 512);
        let read = |bytes| Call { bytes, ..call(Op::Read, "/db/000001.sst") };
        for (bytes, touches) in [
            (0..512, false),
            (0..513, true),
            (600..601, true),
            (1023..2000, true),
            (1024..2000, false),
        ] {
            assert_eq!(says(&read(bytes.clone())), touches, "{bytes:?}");
        }
        assert!(!says(&Call { bytes: 0..2000, ..call(Op::Read, "/db/000002.sst") }));
    }
}
