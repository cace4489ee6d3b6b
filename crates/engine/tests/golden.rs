//! Databases written by the first version of the format, kept in the
//! repository: they open, verify and read back for ever, and the same calls
//! still write the same bytes.

mod house;

use house::{
    DIR, GOLDEN, home, is_log, is_table, kept, kept_first, kept_fourth, kept_second, kept_third,
    machine, make, open, read, used,
};
use tanada::vfs::Env;

#[test]
fn databases_written_by_the_first_version_open_verify_and_read_back() {
    for golden in GOLDEN {
        for files in
            [kept_first, kept_second, kept_third, kept_fourth, kept].map(|kept| kept(golden))
        {
            let (_, expected) = make(golden);
            let machine = machine(&files);
            let now_ms = machine.env().clock.wall_ms();
            let db = open(&machine, DIR).expect(golden.name);
            let report = db.verify().expect(golden.name);
            assert_eq!(report.damage, Vec::<String>::new(), "{}", golden.name);
            let read = read(&db).expect(golden.name);
            for (space, read) in read.iter().enumerate() {
                assert_eq!(*read, expected.contents(space, now_ms), "{}", golden.name);
            }
        }
    }
}

#[test]
fn a_golden_database_has_several_tables_and_logs_and_every_kind_of_entry() {
    for golden in GOLDEN {
        let files = kept(golden);
        assert!(files.keys().filter(|name| is_table(name)).count() >= 4, "{:?}", files.keys());
        assert_eq!(files.keys().filter(|name| is_log(name)).count(), 2, "{:?}", files.keys());
        let (_, expected) = make(golden);
        let versions = || expected.spaces.iter().flat_map(|space| space.values());
        assert!(versions().any(|versions| versions.len() > 1));
        assert!(versions().flat_map(|v| v.values()).any(|v| v.value.is_none()));
        assert!(versions().flat_map(|v| v.values()).any(|v| v.expires_at_ms.is_some()));
        let machine = machine(&files);
        let stats = open(&machine, DIR).expect(golden.name).stats();
        let levels = &stats.keyspaces[0].levels;
        assert!(levels.iter().filter(|level| level.tables > 0).count() >= 2, "{levels:?}");
    }
}

#[test]
fn the_same_calls_still_write_the_same_bytes() {
    for golden in GOLDEN {
        let (files, _) = make(golden);
        if std::env::var_os("TANADA_WRITE_GOLDEN").is_some() {
            write(golden, &files);
            continue;
        }
        let kept = kept(golden);
        assert_eq!(files.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
        for (name, bytes) in &files {
            assert!(kept[name] == *bytes, "{}: {name} is written differently now", golden.name);
        }
    }
}

fn write(golden: house::Golden, files: &house::Files) {
    let fs = Env::real().fs;
    let home = home(golden);
    fs.create_dir_all(&home).expect("the repository can be written to");
    for entry in fs.read_dir(&home).expect("it is there now") {
        fs.remove(&home.join(entry.name)).expect("it is ours");
    }
    for (name, bytes) in files {
        let used = if is_log(name) { used(bytes) } else { bytes.len() };
        let mut file = fs.create(&home.join(name)).expect("the name is free");
        file.append(&bytes[..used]).expect("there is room");
    }
}
