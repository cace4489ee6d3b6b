//! The bucket over real stores, and over stores that fail, are slow or lie.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use std::sync::Arc;
use support::{Fate, HeldTime, Liar, Lie, Scripted, bucket, files, memory};
use tanada_remote::{
    Bucket, Cause, Class, Created, Epoch, Fetched, Folder, Nonce, ObjectName, Operation, Part,
    Place, Prices, Put, Unfit, Version, probe,
};
use tanada_vfs::Env;

fn place(epoch: u64, index: u64) -> ObjectName {
    ObjectName::Log(Place { epoch: Epoch(epoch), index })
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn every_operation(bucket: &Bucket) {
    let name = place(1, 0);
    assert_eq!(bucket.get(&name).await, Ok(None));
    assert_eq!(bucket.head(&name).await, Ok(None));
    let Put::Applied(version) = bucket.create(&name, text("0123456789")).await.unwrap() else {
        panic!("the first create wins")
    };
    assert_eq!(bucket.create(&name, text("other")).await, Ok(Put::Lost));
    let object = bucket.get(&name).await.unwrap().unwrap();
    assert_eq!((object.bytes, object.len), (text("0123456789"), 10));
    assert_eq!(bucket.get_if_changed(&name, &object.version).await, Ok(Fetched::Unchanged));
    for (part, bytes) in
        [(Part::Range(2..5), "234"), (Part::Last(3), "789"), (Part::Last(100), "0123456789")]
    {
        let object = bucket.get_part(&name, &part).await.unwrap().unwrap();
        assert_eq!((object.bytes, object.len), (text(bytes), 10), "{part:?}");
    }
    let beyond = bucket.get_part(&name, &Part::Range(10..12)).await;
    assert!(beyond.is_err(), "{beyond:?}");
    if bucket.abilities().swap {
        let Put::Applied(second) = bucket.swap(&name, &version, text("new")).await.unwrap() else {
            panic!("the version is the present one")
        };
        assert_ne!(second, version);
        assert_eq!(bucket.swap(&name, &version, text("late")).await, Ok(Put::Lost));
        let changed = bucket.get_if_changed(&name, &version).await.unwrap();
        assert!(matches!(changed, Fetched::Object(object) if object.bytes == text("new")));
    }
    bucket.create(&place(1, 11), text("a")).await.unwrap();
    bucket.create(&place(1, 2), text("b")).await.unwrap();
    bucket.create(&ObjectName::Table { epoch: Epoch(1), number: 1 }, text("c")).await.unwrap();
    let listed = bucket.list(Folder::LogEpoch(Epoch(1)), 10).await.unwrap();
    let names: Vec<_> = listed.iter().map(|listed| listed.name).collect();
    assert_eq!(names, [Some(place(1, 0)), Some(place(1, 2)), Some(place(1, 11))]);
    assert_eq!(bucket.list(Folder::Jobs, 10).await, Ok(Vec::new()));
    let too_many = bucket.list(Folder::Log, 2).await.unwrap_err();
    assert_eq!(too_many.class, Class::Refused);
    bucket.delete(&name).await.unwrap();
    bucket.delete(&name).await.unwrap();
    assert_eq!(bucket.get(&name).await, Ok(None));
    let table = ObjectName::Table { epoch: Epoch(1), number: 9 };
    let mut upload = bucket.upload(&table).await.unwrap();
    upload.part(Bytes::from(vec![1; 5 << 20])).await.unwrap();
    upload.part(Bytes::from(vec![2; 10])).await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!(bucket.head(&table).await.unwrap().unwrap().len, (5 << 20) + 10);
    let mut upload = bucket.upload(&ObjectName::Heat).await.unwrap();
    upload.part(text("never")).await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!(bucket.head(&ObjectName::Heat).await, Ok(None));
}

#[tokio::test]
async fn every_operation_does_what_it_says_in_memory_and_in_files() {
    every_operation(&bucket(memory(), 1)).await;
    let dir = tempfile::tempdir().unwrap();
    every_operation(&bucket(files(dir.path()), 2)).await;
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_with_the_same_bytes_and_counted() {
    let busy = Fate::Fails(Class::Busy);
    let store = Scripted::new(memory(), &[busy, Fate::Fails(Class::Away), busy]);
    let bucket = bucket(store.clone(), 3).because(Cause::Wal);
    let put = bucket.create(&place(1, 0), text("x")).await.unwrap();
    assert!(matches!(put, Put::Applied(_)));
    assert!(store.puts.lock().iter().all(|(_, bytes)| *bytes == text("x")));
    let usage = bucket.accounting().usage(Cause::Wal, Operation::Create);
    assert_eq!((usage.requests, usage.bytes_sent), (4, 4));
    assert_eq!(usage.failures[Class::Busy as usize], 2);
    assert_eq!(usage.failures[Class::Away as usize], 1);
    assert_eq!(bucket.accounting().cost_nanodollars(Cause::Wal, &Prices::default()), 20_000);
}

#[tokio::test]
async fn tries_end_and_the_last_failure_is_told() {
    let fates = [Fate::Fails(Class::Busy); 100];
    let store = Scripted::new(memory(), &fates);
    let failure = bucket(store.clone(), 4).create(&place(1, 0), text("x")).await.unwrap_err();
    assert_eq!(failure.class, Class::Busy);
    assert_eq!(store.puts.lock().len(), 8);
    let store = Scripted::new(memory(), &[Fate::Fails(Class::Denied); 2]);
    let failure = bucket(store.clone(), 4).create(&place(1, 0), text("x")).await.unwrap_err();
    assert_eq!((failure.class, store.puts.lock().len()), (Class::Denied, 1));
}

#[tokio::test]
async fn a_conditional_put_without_an_answer_is_not_sent_again_by_itself() {
    let store = Scripted::new(memory(), &[Fate::AnswerLost]);
    let put = bucket(store.clone(), 5).create(&place(1, 0), text("x")).await.unwrap();
    assert!(matches!(put, Put::Unknown(_)));
    assert_eq!(store.puts.lock().len(), 1);
}

/// A regression of others: a PUT that was tried again after a timeout met its own first try,
/// and its writer took itself for fenced.
#[tokio::test]
async fn put_retried_after_timeout() {
    for fates in [
        &[Fate::AnswerLost][..],
        &[Fate::Late, Fate::AnswerLost],
        &[Fate::Late, Fate::Late, Fate::Fails(Class::Busy)],
    ] {
        let store = Scripted::new(memory(), fates);
        let bucket = bucket(store.clone(), 6);
        let created = bucket.create_exactly(&place(1, 0), text("mine")).await.unwrap();
        assert!(matches!(created, Created::Mine(_)), "{fates:?}: {created:?}");
        store.arrive().await;
        assert_eq!(bucket.get(&place(1, 0)).await.unwrap().unwrap().bytes, text("mine"));
        assert!(store.puts.lock().iter().all(|(_, bytes)| *bytes == text("mine")));
    }
}

#[tokio::test]
async fn a_name_that_holds_another_s_bytes_is_taken_for_ever() {
    let store = Scripted::new(memory(), &[Fate::Late]);
    let (mine, other) = (bucket(store.clone(), 7), bucket(store.clone(), 8));
    other.create(&place(1, 0), text("other's")).await.unwrap();
    store.arrive().await;
    let created = mine.create_exactly(&place(1, 0), text("mine")).await.unwrap();
    assert!(matches!(created, Created::Taken(object) if object.bytes == text("other's")));
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_told_as_unknown() {
    let store = Scripted::new(memory(), &[Fate::Late; 100]);
    let failure = bucket(store, 9).create_exactly(&place(1, 0), text("x")).await.unwrap_err();
    assert_eq!(failure.class, Class::Unknown);
}

/// A regression of others: S3 lists in order, directory buckets and disks do not.
#[tokio::test]
async fn list_unordered() {
    let store = Scripted::new(memory(), &[]);
    let bucket = bucket(store, 10);
    for index in [3, 1, 2] {
        bucket.create(&place(1, index), text("x")).await.unwrap();
    }
    let listed = bucket.list(Folder::Log, 10).await.unwrap();
    let names: Vec<_> = listed.into_iter().filter_map(|listed| listed.name).collect();
    assert_eq!(names, [place(1, 1), place(1, 2), place(1, 3)]);
}

/// A regression of others: a store answered a PUT with an ETag without quotation marks, and
/// no swap from that version was ever applied.
#[test]
fn etag_unquoted() {
    let bare = Version::new(Some("abc".into()), None);
    assert_eq!(bare, Version::new(Some("\"abc\"".into()), None));
    assert_ne!(bare, Version::new(Some("W/\"abc\"".into()), None));
    assert_ne!(Version::default(), Version::default(), "no version is not a version");
}

#[tokio::test]
async fn stores_that_keep_their_word_are_found_to() {
    let found = probe(&bucket(memory(), 11), 20).await.unwrap();
    assert!(found.swap && !found.conditional_delete);
    let dir = tempfile::tempdir().unwrap();
    let bucket = bucket(files(dir.path()), 12);
    let found = probe(&bucket, 20).await.unwrap();
    assert!(!found.swap && !found.conditional_delete);
    assert_eq!(bucket.list(Folder::Probes, 1).await, Ok(Vec::new()), "nothing is left behind");
}

/// A regression of others: measured on a store that accepts If-None-Match and ignores it,
/// sixteen of sixteen racing writers won.
#[tokio::test]
async fn store_ignores_preconditions() {
    for (lie, says) in [
        (Lie::IgnoresCreate, "If-None-Match"),
        (Lie::RacesToCreate, "If-None-Match"),
        (Lie::IgnoresSwap, "If-Match"),
        (Lie::RacesToSwap, "If-Match"),
        (Lie::KeepsAnother, "another's object"),
    ] {
        let refused = probe(&bucket(Liar::over(memory(), lie), 13), 2).await;
        let Err(Unfit::Lies(how)) = &refused else { panic!("{lie:?}: {refused:?}") };
        assert!(how.contains(says), "{lie:?}: {how}");
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("two servers could overwrite each other"), "{told}");
    }
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_of_a_delete_is_used_without_it() {
    let liar = Liar::over(memory(), Lie::IgnoresDelete);
    let found = probe(&bucket(liar, 14), 2).await.unwrap();
    assert!(found.swap && !found.conditional_delete);
}

#[tokio::test]
async fn lost_answers_in_a_probe_refuse_nobody() {
    let fates = [Fate::AnswerLost, Fate::Answered, Fate::Late, Fate::Fails(Class::Busy)];
    let store = Scripted::new(memory(), &fates);
    let found = probe(&bucket(store, 15), 3).await.unwrap();
    assert!(found.swap);
}

#[tokio::test]
async fn names_lie_below_the_prefix_and_prefixes_do_not_meet() {
    let store = memory();
    let timer = Arc::new(HeldTime::default());
    let make = |prefix| Bucket::new(store.clone(), prefix, timer.clone(), Env::memory(1).random);
    let (a, b, root) = (make("/x/a/"), make("x/b"), make(""));
    let name = ObjectName::Probe(Nonce([1; 16]));
    a.create(&name, text("a")).await.unwrap();
    assert_eq!(b.get(&name).await, Ok(None));
    assert_eq!(a.path(&name), format!("x/a/{name}"));
    assert_eq!(root.path(&name), name.to_string());
    assert_eq!(root.list(Folder::Probes, 10).await, Ok(Vec::new()));
}
