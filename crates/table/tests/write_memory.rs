//! What writing a long value takes of the process's memory: alone in this process, for it
//! is the system that is asked.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // /proc is no file of ours

mod house;

use house::{Entry, options};
use tanada_format::hash_key;
use tanada_table::{Compression, TableBuilder, TableOptions};
use tanada_vfs::WriteFile;

/// Forgets what is appended.
#[derive(Debug)]
struct Nowhere {
    len: u64,
}

impl WriteFile for Nowhere {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.len += bytes.len() as u64;
        Ok(())
    }
    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }
    fn len(&self) -> u64 {
        self.len
    }
}

/// A figure of `/proc/self/status`, in bytes.
fn resident(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Each job that wrote a value of 50 MB held two more of it: the block before and after
/// compression.
#[test]
fn a_long_value_is_written_in_memory_that_does_not_grow_with_it() {
    const LEN: usize = 64 << 20;
    let mut value = vec![7; LEN];
    for (n, word) in value[..LEN / 2].chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&hash_key(&n.to_le_bytes()).to_le_bytes());
    }
    let entry = Entry { key: b"key".to_vec(), value, ..Entry::put("", 1, "") };
    for (compression, len) in
        [(Compression::Lz4, LEN / 2), (Compression::Zstd, LEN / 2), (Compression::None, LEN)]
    {
        let options = TableOptions { compression, ..options() };
        let mut builder = TableBuilder::new(Box::new(Nowhere { len: 0 }), "/t", options);
        std::fs::write("/proc/self/clear_refs", "5").unwrap(); // the peak begins anew
        let before = resident("VmRSS:");
        builder.add(entry.borrow()).unwrap();
        let taken = resident("VmHWM:") - before;
        let told = builder.memory_bytes();
        assert!(taken < 12 << 20, "{compression:?}: {taken} bytes were resident besides");
        assert!(told < 4 << 20, "{compression:?}: {told}");
        let size = builder.finish().unwrap().size_bytes as usize;
        assert!((len..len + LEN / 50).contains(&size), "{compression:?}: {size}");
    }
}
