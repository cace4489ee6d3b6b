//! Every byte flipped, every length cut.

use super::super::log::{KIND_EDIT, KIND_MARKER};
use super::*;
use tanada_format::RECORD_FRAME_LEN;
use tanada_vfs::fault::{EIO, Faults, Op, Rule};

/// A manifest with a snapshot and several edits, and the state after each
/// record, by the offset at which the record ends.
struct Sample {
    machine: MemoryMachine,
    path: PathBuf,
    bytes: Vec<u8>,
    states: Vec<(u64, Edit)>,
}

fn sample() -> Sample {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    // Ids enough for all, so that no edit merely reserves some.
    let marker = RECORD_FRAME_LEN as u64;
    let mut states = vec![(manifest.size_bytes(), snapshot(&manifest))];
    for keys in [("a", "c"), ("b", "d"), ("c", "e")] {
        let edit = flush(&mut manifest, keys);
        manifest.append(&edit).unwrap();
        states.push((manifest.size_bytes() - marker, snapshot(&manifest)));
    }
    let path = manifest.current.clone();
    let bytes = read_all(&*machine.env().fs, &path);
    assert_eq!(bytes.len() as u64, manifest.size_bytes());
    Sample { machine, path, bytes, states }
}

impl Sample {
    /// The manifest opened with `bytes` in its place.
    fn open(&self, bytes: &[u8]) -> Result<Manifest> {
        let env = self.machine.kill().env();
        replace(&*env.fs, &self.path, bytes);
        open(&env)
    }

    fn whole(&self) -> &Edit {
        &self.states.last().unwrap().1
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused_by_name_and_offset_or_changes_nothing() {
    let sample = sample();
    let last_edit_end = sample.states.last().unwrap().0;
    let mut refused = 0;
    for bit in 0..sample.bytes.len() * 8 {
        let mut bytes = sample.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match sample.open(&bytes) {
            // Padding says nothing, and the last marker only protects the edit before it.
            Ok(manifest) => {
                assert_eq!(&snapshot(&manifest), sample.whole(), "bit {bit}");
                let in_marker = (bit / 8) as u64 >= last_edit_end;
                assert!(in_marker || sample.bytes[bit / 8] == 0, "bit {bit} went unnoticed");
            }
            Err(Error::Corruption(c)) => {
                assert_eq!(c.file, sample.path, "bit {bit}");
                assert!(c.offset <= (bit / 8) as u64, "bit {bit}: {c}");
                refused += 1;
            }
            Err(e) => panic!("bit {bit}: {e}"),
        }
    }
    assert!(refused > sample.bytes.len() * 7, "only {refused} bits were noticed");
}

#[test]
fn a_file_cut_at_any_length_is_a_torn_tail_or_damage_and_never_another_state() {
    let sample = sample();
    for len in 0..=sample.bytes.len() {
        let expected = sample.states.iter().rev().find(|(end, _)| *end <= len as u64 + 7);
        match sample.open(&sample.bytes[..len]) {
            Ok(manifest) => {
                // The records that are whole; of the last one padding may lack.
                let found = snapshot(&manifest);
                let states = sample.states.iter().filter(|(end, _)| *end <= len as u64 + 7);
                assert!(states.clone().any(|(_, s)| *s == found), "cut to {len}");
                assert!(expected.is_some_and(|(_, s)| *s == found) || len % 8 != 0, "{len}");
            }
            Err(Error::Corruption(c)) => {
                assert!(len < sample.states[0].0 as usize, "cut to {len}: {c}");
                assert_eq!(c.file, sample.path);
                let what = if len < HEADER_LEN { "within its header" } else { "the snapshot" };
                assert!(c.what.contains(what), "cut to {len}: {c}");
            }
            Err(e) => panic!("cut to {len}: {e}"),
        }
    }
}

#[test]
fn a_manifest_cut_behind_files_it_gave_up_is_refused_by_the_missing_file() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let edit = flush(&mut manifest, ("a", "c"));
    manifest.append(&edit).unwrap();
    let cut = manifest.size_bytes();
    let edit = compact(&mut manifest);
    manifest.append(&edit).unwrap();
    delete_obsolete(&manifest);
    let env = machine.env();
    let bytes = read_all(&*env.fs, &manifest.current);
    replace(&*env.fs, &manifest.current, &bytes[..cut as usize]);
    let gone = manifest.files.path(edit.changed[0].tables.removed[0].id);
    let error = open(&env).unwrap_err();
    assert!(matches!(&error, Error::MissingFile { file } if *file == gone), "{error}");
}

#[test]
fn a_manifest_cut_behind_ids_that_files_have_is_refused() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let cut = manifest.size_bytes();
    let has_300 = (0..1_000).any(|_| manifest.table_id().unwrap().0 >= 300);
    assert!(has_300, "ids do not grow");
    let edit = flush(&mut manifest, ("a", "c"));
    manifest.append(&edit).unwrap();
    let env = machine.env();
    let bytes = read_all(&*env.fs, &manifest.current);
    replace(&*env.fs, &manifest.current, &bytes[..cut as usize]);
    let error = open(&env).unwrap_err();
    assert!(error.to_string().contains("its last edits are lost"), "{error}");
}

#[test]
fn a_missing_or_shortened_table_is_refused_by_name() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let edit = flush(&mut manifest, ("a", "c"));
    manifest.append(&edit).unwrap();
    let path = manifest.files.path(edit.changed[0].tables.added[0].meta.id);
    let env = machine.env();
    replace(&*env.fs, &path, b"short");
    let error = open(&env).unwrap_err();
    assert!(matches!(&error, Error::Corruption(c) if c.file == path && c.offset == 5), "{error}");
    env.fs.remove(&path).unwrap();
    let error = open(&env).unwrap_err();
    assert!(matches!(&error, Error::MissingFile { file } if *file == path), "{error}");
}

/// What proves the damage may lie anywhere behind it, and a long record is looked
/// behind piece by piece.
#[test]
fn damage_of_a_record_is_told_from_a_torn_tail_however_long_it_is() {
    let machine = MemoryMachine::new(1);
    for len in (0..12).map(|n| (1 << 20) - 72 + 8 * n).chain([0, 1, (3 << 20) + 5]) {
        let mut manifest = create(&machine.env());
        let at = manifest.size_bytes();
        let log = manifest.log.as_mut().unwrap();
        log.append(KIND_EDIT, &vec![7; len]).unwrap();
        log.synced = log.at.offset();
        log.append(KIND_MARKER, &[]).unwrap();
        let (env, path) = (machine.env(), manifest.current.clone());
        let mut bytes = read_all(&*env.fs, &path);
        bytes[at as usize] ^= 1;
        replace(&*env.fs, &path, &bytes);
        match open(&env) {
            Err(Error::Corruption(found)) => assert_eq!((found.file, found.offset), (path, at)),
            other => panic!("a record of {len} bytes: {:?}", other.map(drop)),
        }
        env.fs.remove(&Path::new(DIR).join("CURRENT")).unwrap();
    }
}

/// A marker is not synced: of it and of the edit behind it, which is being written,
/// a power cut may leave the edit alone.
#[test]
fn a_marker_that_is_lost_before_an_unfinished_edit_is_a_torn_tail() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let edit = flush(&mut manifest, ("a", "c"));
    manifest.append(&edit).unwrap();
    let durable = snapshot(&manifest);
    let end = manifest.size_bytes() as usize;
    let marker = end - RECORD_FRAME_LEN;
    let edit = flush(&mut manifest, ("b", "d"));
    manifest.append(&edit).unwrap();
    let edit_end = manifest.size_bytes() as usize - RECORD_FRAME_LEN;
    let (env, path) = (machine.env(), manifest.current.clone());
    let mut bytes = read_all(&*env.fs, &path);
    bytes.truncate(edit_end);
    bytes[marker..end].fill(0);
    replace(&*env.fs, &path, &bytes);
    let again = open(&env).unwrap();
    assert_eq!(again.torn_at(), Some(marker as u64));
    let found = Edit { next_table_id: durable.next_table_id, ..snapshot(&again) };
    assert_eq!(found, durable);
}

#[test]
fn a_manifest_that_cannot_be_read_is_not_called_missing() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let env = faults.env(&machine.env());
    drop(create(&env));
    faults.add(Rule::fail(EIO).on(Op::Open).path_suffix("MANIFEST-000001"));
    let error = open(&env).unwrap_err();
    assert!(matches!(error, Error::Io(_)), "{error}");
}

#[test]
fn a_missing_manifest_is_refused_by_name() {
    let machine = MemoryMachine::new(1);
    let manifest = create(&machine.env());
    machine.env().fs.remove(&manifest.current).unwrap();
    let error = open(&machine.env()).unwrap_err();
    assert!(matches!(&error, Error::MissingFile { file } if *file == manifest.current), "{error}");
}

#[test]
fn a_manifest_of_a_newer_format_asks_for_a_newer_version() {
    let sample = sample();
    for (at, what) in [(8, "format version"), (16, "feature bits"), (56, "encrypted")] {
        let mut bytes = sample.bytes.clone();
        bytes[at] ^= 0x40;
        let crc = tanada_format::crc32c(&bytes[..124]);
        bytes[124..128].copy_from_slice(&crc.to_le_bytes());
        let error = sample.open(&bytes).unwrap_err();
        assert!(
            matches!(&error, Error::Unsupported { what: w, .. } if w.contains(what)),
            "{error}"
        );
    }
}

#[test]
fn a_manifest_of_another_database_or_under_another_name_is_refused() {
    let sample = sample();
    for at in [32, 48] {
        let mut bytes = sample.bytes.clone();
        bytes[at] ^= 1;
        let crc = tanada_format::crc32c(&bytes[..124]);
        bytes[124..128].copy_from_slice(&crc.to_le_bytes());
        match sample.open(&bytes) {
            Err(Error::Corruption(found)) => {
                assert_eq!((&found.file, found.offset), (&sample.path, at as u64));
            }
            other => panic!("{:?}", other.map(drop)),
        }
    }
}
