//! The chain, step by step: opening, fencing, the owner's edits, verifying.
#![allow(clippy::unwrap_used)]

mod support;

use async_trait::async_trait;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use support::{Fate, Scripted, bucket, files, memory};
use tanada_format::{DatabaseId, LogId, LogPosition, SeqNo};
use tanada_remote::chain::{ChainError, LogWriter, Opener, Owner, Replay, Replayed, verify};
use tanada_remote::codec::{Base, CHUNK_HEADER_LEN, Hold, HoldKind, Life, Manifest, Piece};
use tanada_remote::collection::{Reached, advance, listed_is_garbage, log_garbage};
use tanada_remote::register::{self, Swap};
use tanada_remote::{
    Bucket, Cause, Class, Epoch, Folder, Nonce, ObjectName, Operation, Place, RegisterName, Store,
};
use tanada_vfs::Env;

const DATABASE: DatabaseId = DatabaseId([7; 16]);
const MANIFEST: RegisterName = RegisterName::Manifest;

#[derive(Default)]
struct Kept(Vec<(Place, Bytes)>);

#[async_trait]
impl Replay for Kept {
    async fn chunk(&mut self, chunk: Replayed) -> Result<(), ChainError> {
        self.0.push((chunk.place, chunk.piece.bytes));
        Ok(())
    }
}

fn opener(bucket: &Bucket, host: &str) -> Opener {
    let register = register::open(bucket, MANIFEST);
    Opener::new(bucket.clone(), register, host, Env::memory(1).clock)
}

async fn create(bucket: &Bucket) -> Owner {
    let base = Base::Inline(Vec::new());
    opener(bucket, "first").create(DATABASE, base, LogPosition(0)).await.unwrap()
}

async fn open(bucket: &Bucket, host: &str) -> (Owner, Vec<(Place, Bytes)>) {
    let opener = opener(bucket, host);
    let seen = opener.look().await.unwrap().expect("there is a database");
    let mut kept = Kept::default();
    let owner = opener.open(seen, &mut kept).await.unwrap();
    (owner, kept.0)
}

fn send(log: &mut LogWriter, text: &'static str) -> Place {
    let next = log.next();
    let piece = Piece {
        log: LogId(1),
        offset: next.position.0,
        position: next.position,
        first: SeqNo(1),
        last: SeqNo(1),
        bytes: Bytes::from_static(text.as_bytes()),
    };
    log.send(piece, 0).unwrap()
}

fn place(epoch: u64, index: u64) -> Place {
    Place { epoch: Epoch(epoch), index }
}

async fn state(bucket: &Bucket) -> Manifest {
    let register = register::open(bucket, MANIFEST);
    Manifest::decode(&register::read(&*register).await.unwrap().unwrap().bytes).unwrap()
}

fn requests(bucket: &Bucket) -> u64 {
    let accounting = bucket.accounting();
    let all = Cause::ALL.into_iter().flat_map(|cause| Operation::ALL.map(|op| (cause, op)));
    all.map(|(cause, operation)| accounting.usage(cause, operation).requests).sum()
}

/// Both registers: a store that can swap, and one that can only create.
fn stores(dir: &Path) -> [Arc<dyn Store>; 2] {
    [memory(), files(dir)]
}

#[tokio::test]
async fn what_was_acknowledged_is_replayed_by_the_next_owner_and_the_first_one_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    for store in stores(dir.path()) {
        let bucket = bucket(store, 1);
        let mut first = create(&bucket).await;
        let mut log = LogWriter::new(&first);
        log.set_width(2);
        assert_eq!((send(&mut log, "one"), send(&mut log, "two")), (place(1, 0), place(1, 1)));
        assert!(!log.has_room());
        assert_eq!(log.acknowledge().await.unwrap().unwrap().place, place(1, 1));
        assert_eq!(log.acknowledge().await.unwrap().unwrap().place, place(1, 2));
        assert_eq!(log.acknowledge().await, Ok(None));

        let (second, kept) = open(&bucket, "second").await;
        assert_eq!(second.epoch(), Epoch(2));
        let texts: Vec<&[u8]> = kept.iter().map(|(_, bytes)| &bytes[..]).collect();
        assert_eq!(texts, [&b"one"[..], b"two"]);
        let end = state(&bucket).await.epoch_of_chain(Epoch(1)).unwrap().end.unwrap();
        assert_eq!((end.place, end.position), (place(1, 2), LogPosition(6)));

        send(&mut log, "three");
        let fenced = log.acknowledge().await.unwrap_err();
        assert_eq!((fenced.mine, fenced.by), (Epoch(1), Epoch(2)));
        assert_eq!(log.acknowledge().await, Err(fenced));
        let refused = first.publish(|_| {}).await.unwrap_err();
        let told = refused.to_string();
        assert!(told.contains("fenced by second, epoch 2 (this one had 1)"), "{told}");

        let verified = verify(&bucket, &state(&bucket).await).await.unwrap();
        let found: Vec<_> =
            verified.iter().map(|v| (v.epoch.0, v.chunks, v.bytes, v.closed)).collect();
        assert_eq!(found, [(1, 2, 6, true), (2, 0, 0, false)]);
    }
}

#[tokio::test]
async fn every_open_epoch_is_closed_and_the_chain_goes_through_all_of_them() {
    let bucket = bucket(memory(), 2);
    create(&bucket).await;
    for epoch in 2..=5 {
        let (owner, _) = open(&bucket, "again").await;
        let mut log = LogWriter::new(&owner);
        assert_eq!(send(&mut log, "x"), place(epoch, 0));
        log.acknowledge().await.unwrap();
    }
    // Two that raised and never confirmed: their epochs are open, and without a fence.
    for _ in 0..2 {
        let register = register::open(&bucket, MANIFEST);
        let held = register::read(&*register).await.unwrap().unwrap();
        let mut raised = Manifest::decode(&held.bytes).unwrap();
        raised.epoch = Epoch(raised.epoch.0 + 1);
        raised.edit += 1;
        raised.owner_edit = raised.edit;
        raised.nonce = Nonce([raised.epoch.0 as u8; 16]);
        let (epoch, nonce) = (raised.epoch, raised.nonce);
        raised.chain.push(tanada_remote::codec::ChainEpoch { epoch, nonce, end: None });
        let bytes = Bytes::from(raised.encode().unwrap());
        assert!(matches!(register.swap(Some(&held.version), bytes).await, Ok(Swap::Won(_))));
    }
    let (owner, kept) = open(&bucket, "last").await;
    assert_eq!((owner.epoch(), kept.len()), (Epoch(8), 4));
    let verified = verify(&bucket, owner.manifest()).await.unwrap();
    // All but the first, which was empty when the second was opened.
    assert_eq!(verified.len(), 7);
    assert!(verified[..6].iter().all(|epoch| epoch.closed));
}

#[tokio::test]
async fn of_two_who_create_one_says_who_uses_the_prefix() {
    let bucket = bucket(memory(), 3);
    create(&bucket).await;
    let base = Base::Inline(Vec::new());
    let refused = opener(&bucket, "other").create(DATABASE, base, LogPosition(0)).await;
    assert!(matches!(&refused, Err(ChainError::InUse { host, .. }) if host == "first"));
}

#[tokio::test]
async fn a_dropped_database_is_neither_opened_nor_created_again() {
    let bucket = bucket(memory(), 4);
    let mut owner = create(&bucket).await;
    owner.publish(|manifest| manifest.life = Life::Dropped).await.unwrap();
    assert_eq!(opener(&bucket, "x").look().await.map(|_| ()), Err(ChainError::Dropped));
    let base = Base::Inline(Vec::new());
    assert!(opener(&bucket, "x").create(DATABASE, base, LogPosition(0)).await.is_err());
}

async fn enter_hold(bucket: &Bucket) {
    let register = register::open(bucket, MANIFEST);
    let held = register::read(&*register).await.unwrap().unwrap();
    let mut manifest = Manifest::decode(&held.bytes).unwrap();
    manifest.edit += 1;
    manifest.writer = Nonce([99; 16]);
    let (kind, edit) = (HoldKind::Checkpoint, manifest.edit);
    let id = Nonce([edit as u8; 16]);
    manifest.holds.push(Hold { kind, id, edit, snapshot: None, label: "kept".into() });
    let bytes = Bytes::from(manifest.encode().unwrap());
    assert!(matches!(register.swap(Some(&held.version), bytes).await, Ok(Swap::Won(_))));
}

#[tokio::test]
async fn an_edit_that_meets_a_hold_is_applied_on_top_of_it_once() {
    let bucket = bucket(memory(), 5);
    let mut owner = create(&bucket).await;
    enter_hold(&bucket).await;
    let mut calls = 0;
    owner
        .publish(|manifest| {
            calls += 1;
            manifest.edits.push(b"mine".to_vec());
        })
        .await
        .unwrap();
    let state = state(&bucket).await;
    assert_eq!((calls, state.edits.len(), state.holds.len()), (2, 1, 1));
    assert_eq!((state.edit, state.owner_edit), (3, 3));
}

#[tokio::test]
async fn an_edit_whose_answer_was_lost_is_not_applied_twice_though_a_hold_came_on_top() {
    let store = Scripted::new(memory(), &[Fate::Answered, Fate::AnswerLost]);
    let bucket = bucket(store, 6);
    let mut owner = create(&bucket).await;
    owner.publish(|manifest| manifest.edits.push(b"mine".to_vec())).await.unwrap();
    enter_hold(&bucket).await;
    owner.publish(|manifest| manifest.edits.push(b"next".to_vec())).await.unwrap();
    assert_eq!(state(&bucket).await.edits, [b"mine".to_vec(), b"next".to_vec()]);
}

#[tokio::test]
async fn an_opening_that_meets_a_hold_is_confirmed_on_top_of_it() {
    // The raise is answered; its confirmation is lost to a hold that somebody enters while
    // chunks are replayed.
    struct Holder(Bucket, usize);
    #[async_trait]
    impl Replay for Holder {
        async fn chunk(&mut self, _: Replayed) -> Result<(), ChainError> {
            self.1 += 1;
            enter_hold(&self.0).await;
            Ok(())
        }
    }
    let bucket = bucket(memory(), 7);
    let owner = create(&bucket).await;
    let mut log = LogWriter::new(&owner);
    send(&mut log, "x");
    log.acknowledge().await.unwrap();
    let opener = opener(&bucket, "second");
    let seen = opener.look().await.unwrap().unwrap();
    let mut holder = Holder(bucket.clone(), 0);
    let owner = opener.open(seen, &mut holder).await.unwrap();
    assert_eq!((holder.1, owner.manifest().holds.len()), (1, 1));
    assert!(owner.manifest().epoch_of_chain(Epoch(1)).unwrap().end.is_some());
}

#[tokio::test]
async fn an_opener_that_is_overtaken_while_it_replays_serves_nothing() {
    struct Overtaker(Bucket);
    #[async_trait]
    impl Replay for Overtaker {
        async fn chunk(&mut self, _: Replayed) -> Result<(), ChainError> {
            let opener = opener(&self.0, "third");
            let seen = opener.look().await?.expect("there is a database");
            opener.open(seen, &mut Kept::default()).await.map(|_| ())
        }
    }
    let bucket = bucket(memory(), 8);
    let owner = create(&bucket).await;
    let mut log = LogWriter::new(&owner);
    send(&mut log, "x");
    log.acknowledge().await.unwrap();
    let second = opener(&bucket, "second");
    let seen = second.look().await.unwrap().unwrap();
    let fenced = second.open(seen, &mut Overtaker(bucket.clone())).await.unwrap_err();
    assert!(matches!(&fenced, ChainError::Fenced(f) if f.host == "third"), "{fenced}");
}

#[tokio::test]
async fn a_replayed_log_begins_at_the_replay_point_and_nobody_looks_below_the_floor() {
    let bucket = bucket(memory(), 9);
    let mut owner = create(&bucket).await;
    let mut log = LogWriter::new(&owner);
    for text in ["one", "two", "three"] {
        send(&mut log, text);
        log.acknowledge().await.unwrap();
        if text == "two" {
            let point = *log.acknowledged();
            owner.publish(|manifest| advance(manifest, point, point)).await.unwrap();
        }
    }
    // Collected, and a late request leaves a stray.
    bucket.delete(&ObjectName::Log(place(1, 0))).await.unwrap();
    bucket.delete(&ObjectName::Log(place(1, 1))).await.unwrap();
    bucket.create(&ObjectName::Log(place(1, 0)), Bytes::from_static(b"stray")).await.unwrap();
    let (owner, kept) = open(&bucket, "second").await;
    assert_eq!(kept, [(place(1, 2), Bytes::from_static(b"three"))]);
    assert!(verify(&bucket, owner.manifest()).await.is_ok());
}

#[tokio::test]
async fn an_object_that_does_not_fit_into_the_chain_is_named() {
    let bucket = bucket(memory(), 10);
    let owner = create(&bucket).await;
    let mut log = LogWriter::new(&owner);
    for text in ["one", "two", "three"] {
        send(&mut log, text);
        log.acknowledge().await.unwrap();
    }
    let second = ObjectName::Log(place(1, 1));
    let good = bucket.get(&second).await.unwrap().unwrap().bytes;
    let mut damaged = good.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    bucket.put(&second, damaged.into()).await.unwrap();
    let state = state(&bucket).await;
    let told = verify(&bucket, &state).await.unwrap_err();
    assert!(
        matches!(&told, ChainError::Unreadable { object, .. } if object.ends_with(&second.to_string())),
        "{told}"
    );
    // Another chunk at its place: whole, and of somebody else's chain.
    let other = {
        let other = self::bucket(memory(), 11);
        let owner = create(&other).await;
        let mut log = LogWriter::new(&owner);
        for text in ["uno", "dos"] {
            send(&mut log, text);
            log.acknowledge().await.unwrap();
        }
        other.get(&second).await.unwrap().unwrap().bytes
    };
    bucket.put(&second, other).await.unwrap();
    let told = verify(&bucket, &state).await.unwrap_err();
    assert!(matches!(&told, ChainError::Broken { .. }), "{told}");
    // A hole below a recorded end.
    bucket.put(&second, good).await.unwrap();
    let (owner, _) = open(&bucket, "second").await;
    bucket.delete(&second).await.unwrap();
    let told = verify(&bucket, owner.manifest()).await.unwrap_err();
    assert!(matches!(&told, ChainError::Broken { what, .. } if what.contains("nothing")), "{told}");
}

/// The list of epochs grew by one with each opening, and the 2,048th was the last: a process
/// that dies again and again right after it has opened locked everybody out.
#[tokio::test]
async fn ten_thousand_openings_cost_the_last_one_no_more_than_the_first() {
    let bucket = bucket(memory(), 20);
    let mut owner = create(&bucket).await;
    let mut log = LogWriter::new(&owner);
    send(&mut log, "one");
    log.acknowledge().await.unwrap();
    let point = *log.acknowledged();
    owner.publish(|manifest| advance(manifest, point, point)).await.unwrap();
    let mut most = 0;
    for opening in 2..=10_000 {
        let before = requests(&bucket);
        let (owner, kept) = open(&bucket, "again").await;
        assert_eq!((owner.epoch().0, kept.len()), (opening, 0));
        most = most.max(requests(&bucket) - before);
        assert!(owner.manifest().chain.len() <= 2, "{:?}", owner.manifest().chain);
    }
    // Reading, raising, 16 places, a fence, confirming.
    assert!(most <= 24, "{most} requests");
    let state = state(&bucket).await;
    assert!(state.encode().unwrap().len() < 1000);
    assert_eq!(verify(&bucket, &state).await.unwrap().len(), 1);
}

/// So it was with openers that died before they confirmed, and with lives that wrote and
/// never flushed. All that they wrote is replayed; once it is in tables, fences alone are
/// left of it; and whoever slept through all of that is fenced.
#[tokio::test]
async fn the_list_of_epochs_is_bounded_whatever_they_hold_and_nothing_that_counts_is_lost() {
    const LISTED: usize = 8;
    const LIVES: usize = 30;
    let store = memory();
    let bucket = bucket(store.clone(), 21);
    let first = create(&bucket).await;
    let mut asleep = LogWriter::new(&first);
    send(&mut asleep, "x");
    asleep.acknowledge().await.unwrap();
    let mut last = None;
    for life in 1..=LIVES {
        for _ in 0..LISTED + 1 {
            let fates = [Fate::Answered, Fate::Fails(Class::Denied)];
            let dying = support::bucket(Scripted::new(store.clone(), &fates), 22);
            let dying = opener(&dying, "dies").listing(LISTED);
            let seen = dying.look().await.unwrap().unwrap();
            dying.open(seen, &mut Kept::default()).await.unwrap_err();
        }
        // Whoever looks now finds nothing wrong: nobody has closed those epochs yet.
        verify(&bucket, &state(&bucket).await).await.unwrap();
        let opener = opener(&bucket, "lives").listing(LISTED);
        let seen = opener.look().await.unwrap().unwrap();
        let mut kept = Kept::default();
        let owner = opener.open(seen, &mut kept).await.unwrap();
        assert_eq!(kept.0.len(), life);
        assert!(owner.manifest().chain.len() <= LISTED, "{:?}", owner.manifest().chain);
        let mut log = LogWriter::new(&owner);
        send(&mut log, "x");
        log.acknowledge().await.unwrap();
        last = Some((owner, *log.acknowledged()));
    }
    let (mut owner, point) = last.unwrap();
    let epochs = (LIVES * (LISTED + 2) + 1) as u64;
    assert_eq!(owner.epoch(), Epoch(epochs));
    let verified = verify(&bucket, owner.manifest()).await.unwrap();
    assert_eq!(verified.iter().map(|v| v.chunks).sum::<u64>(), LIVES as u64 + 1);

    owner.publish(|manifest| advance(manifest, point, point)).await.unwrap();
    let manifest = owner.manifest().clone();
    for listed in bucket.list(Folder::Log, 100_000).await.unwrap() {
        let name = listed.name.unwrap();
        let reached = Reached::by(&manifest);
        if listed_is_garbage(&manifest, &reached, &name, listed.meta.len).is_some() {
            bucket.delete(&name).await.unwrap();
        }
    }
    let left = bucket.list(Folder::Log, 100_000).await.unwrap();
    assert_eq!(left.len() as u64, epochs - 1, "a fence for each epoch that is closed");
    assert!(left.iter().all(|listed| listed.meta.len == CHUNK_HEADER_LEN as u64));
    send(&mut asleep, "y");
    assert_eq!(asleep.acknowledge().await.unwrap_err().mine, Epoch(1));
    let (_, kept) = open(&bucket, "next").await;
    assert_eq!(kept.len(), 0);
}

/// Without the confirming swap this opener would find places empty that were full, and serve
/// without the write that the first owner acknowledged.
#[tokio::test]
async fn an_opener_that_slept_after_its_raise_serves_nothing() {
    let inner = memory();
    let awake = bucket(inner.clone(), 12);
    let first = create(&awake).await;
    let mut log = LogWriter::new(&first);
    send(&mut log, "one");
    log.acknowledge().await.unwrap();

    let slow = Scripted::new(inner, &[]);
    let others = awake.clone();
    *slow.meanwhile.lock() = Some(Box::pin(async move {
        let (mut third, kept) = open(&others, "third").await;
        assert_eq!(kept.len(), 1);
        let mut log = LogWriter::new(&third);
        send(&mut log, "two");
        log.acknowledge().await.unwrap();
        let point = *log.acknowledged();
        third.publish(|manifest| advance(manifest, point, point)).await.unwrap();
        for place in log_garbage(third.manifest()) {
            others.delete(&ObjectName::Log(place)).await.unwrap();
        }
    }));
    let second = opener(&bucket(slow, 13), "second");
    let seen = second.look().await.unwrap().unwrap();
    let opened = second.open(seen, &mut Kept::default()).await;
    assert!(matches!(&opened, Err(ChainError::Fenced(f)) if f.host == "third"), "{opened:?}");
}
