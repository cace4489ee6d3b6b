//! Files that stay open while their descriptors come and go.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tanada_vfs::fault::{EIO, EMFILE, Faults, Op, Rule};
use tanada_vfs::{
    DescriptorBound, FileSystem, MemoryMachine, OpenFiles, ReadFile, is_out_of_descriptors,
    raw_os_error,
};

fn path(number: usize) -> PathBuf {
    PathBuf::from(format!("/{number}"))
}

/// A machine with so many files, each of them its number.
fn machine(files: usize) -> MemoryMachine {
    let machine = MemoryMachine::new(1);
    let fs = machine.env().fs;
    for number in 0..files {
        fs.create(&path(number)).unwrap().append(&number.to_le_bytes()).unwrap();
    }
    machine
}

fn bound(most: u64) -> DescriptorBound {
    DescriptorBound { most, needed: 20 }
}

fn open_all(files: &OpenFiles, count: usize) -> Vec<Arc<dyn ReadFile>> {
    (0..count).map(|number| files.open_closable(&path(number)).unwrap()).collect()
}

fn check(file: &dyn ReadFile, number: usize) {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(usize::from_le_bytes(bytes), number);
    assert_eq!((file.len(), file.path()), (8, &*path(number)));
}

#[test]
fn a_hundred_files_are_read_through_four_descriptors() {
    let machine = machine(100);
    let files = OpenFiles::over(machine.env().fs, bound(4));
    let open = open_all(&files, 100);
    for round in 0..3 {
        for (number, file) in open.iter().enumerate() {
            check(&**file, number);
            assert!(machine.open_descriptors() <= 4, "in round {round}");
        }
    }
    let stats = files.stats();
    assert_eq!((stats.open, stats.limit), (machine.open_descriptors(), 4));
    assert_eq!(stats.opened - stats.closed, stats.open);
    drop(open);
    assert_eq!((machine.open_descriptors(), files.stats().open), (0, 0));
}

#[test]
fn a_file_that_is_read_again_and_again_keeps_its_descriptor() {
    let machine = machine(100);
    let files = OpenFiles::over(machine.env().fs, bound(4));
    let open = open_all(&files, 100);
    check(&*open[0], 0);
    let before = files.stats().opened;
    for (number, file) in open.iter().enumerate().skip(1) {
        check(&*open[0], 0);
        check(&**file, number);
    }
    // 96 of the 99 others had none any more; the first had its own all the time.
    assert!(files.stats().opened - before <= 99, "{:?}", files.stats());
}

#[test]
fn files_that_were_let_go_of_leave_nothing_behind() {
    let machine = machine(10);
    let files = OpenFiles::over(machine.env().fs, bound(1000));
    for round in 0..1000 {
        check(&*files.open_closable(&path(round % 10)).unwrap(), round % 10);
    }
    assert_eq!(machine.open_descriptors(), 0);
    assert_eq!(files.stats().open, 0);
}

#[test]
fn whatever_needs_a_descriptor_gets_that_of_a_file_that_can_be_opened_again() {
    let machine = machine(10);
    machine.set_descriptor_limit(10);
    let files = OpenFiles::over(machine.env().fs, bound(100));
    let open = open_all(&files, 10);
    assert_eq!(machine.open_descriptors(), 10);
    let mut made: Vec<_> = (10..14).map(|number| files.create(&path(number)).unwrap()).collect();
    made[0].append(b"x").unwrap();
    files.open(&path(10)).unwrap();
    files.open_append(&path(10)).unwrap();
    files.create_log(Path::new("/log"), 100).unwrap();
    files.lock(Path::new("/LOCK")).unwrap();
    files.sync_dir(Path::new("/")).unwrap();
    assert_eq!(files.read_dir(Path::new("/")).unwrap().len(), 16);
    for (number, file) in open.iter().enumerate() {
        check(&**file, number);
    }
    // What the system refused it is not asked for again at once.
    assert!(files.stats().limit < 10, "{:?}", files.stats());
    // But when it has more, more are kept again.
    drop(made);
    machine.set_descriptor_limit(u64::MAX);
    for _ in 0..200 {
        for (number, file) in open.iter().enumerate() {
            check(&**file, number);
        }
    }
    assert_eq!(files.stats().open, 10);
}

#[test]
fn without_any_descriptor_the_error_says_how_many_are_needed() {
    let machine = machine(4);
    let files = OpenFiles::over(machine.env().fs, bound(4));
    let open = open_all(&files, 4);
    machine.set_descriptor_limit(0);
    let refused = files.open(&path(0)).unwrap_err();
    assert!(is_out_of_descriptors(&refused));
    assert_eq!(raw_os_error(&refused), Some(EMFILE));
    let told = refused.to_string();
    assert!(told.contains("needs 20 open files, and this process may have 0"), "{told}");
    // The files are as open as before.
    machine.set_descriptor_limit(1);
    for (number, file) in open.iter().enumerate() {
        check(&**file, number);
    }
}

#[test]
fn a_file_that_cannot_be_opened_again_fails_that_read_and_not_the_next() {
    let machine = machine(2);
    let faults = Faults::over_memory(&machine);
    let files = OpenFiles::over(faults.fs(), bound(1));
    let open = open_all(&files, 2);
    faults.add(Rule::fail(EIO).on(Op::Open).nth(1));
    let failed = open[0].read_exact_at(&mut [0; 8], 0).unwrap_err();
    assert_eq!(raw_os_error(&failed), Some(EIO));
    check(&*open[0], 0);
    check(&*open[1], 1);
}

#[test]
fn another_file_in_the_place_of_the_first_is_refused() {
    let machine = machine(2);
    let files = OpenFiles::over(machine.env().fs, bound(1));
    let open = open_all(&files, 2);
    machine.env().fs.remove(&path(0)).unwrap();
    machine.env().fs.create(&path(0)).unwrap().append(b"longer than it was").unwrap();
    let refused = open[0].read_exact_at(&mut [0; 8], 0).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidData);
    assert!(refused.to_string().contains("18 bytes now, and had 8"), "{refused}");
}

#[test]
fn threads_read_files_while_their_descriptors_are_closed() {
    const FILES: usize = 16;
    const READS: usize = 2_000;
    const THREADS: u64 = 4;
    let machine = machine(FILES);
    let files = OpenFiles::over(machine.env().fs, bound(3));
    let open = open_all(&files, FILES);
    std::thread::scope(|scope| {
        for thread in 0..THREADS as usize {
            let (open, machine) = (&open, &machine);
            scope.spawn(move || {
                for read in 0..READS {
                    let number = (read * (thread * 2 + 1) + thread) % FILES;
                    check(&*open[number], number);
                    // The bound, and what each thread has just opened or is reading.
                    assert!(machine.open_descriptors() <= 3 + 2 * THREADS);
                }
            });
        }
    });
    assert!(files.stats().closed > 1_000, "{:?}", files.stats());
    drop(open);
    assert_eq!((machine.open_descriptors(), files.stats().open), (0, 0));
}
