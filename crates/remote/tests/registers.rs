//! Registers: compare-and-swap by `If-Match` and by numbered objects, the same rules.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use futures_util::future::join_all;
use std::sync::Arc;
use support::{Fate, Scripted, bucket, files, memory};
use tanada_remote::register::{
    self, ByEtag, Looked, NumberedObjects, Register, Swap, Swapped, read, swap,
};
use tanada_remote::{Bucket, Class, Failure, ObjectName, Operation, RegisterName, Store};

const NAME: RegisterName = RegisterName::Manifest;

/// A writer and a number: enough to know one's own.
fn content(writer: u8, number: u64) -> Bytes {
    Bytes::from(format!("{writer} {number}"))
}

fn both(store: &Arc<dyn Store>, seed: u64) -> [Arc<dyn Register>; 2] {
    let bucket = bucket(store.clone(), seed);
    [Arc::new(ByEtag::new(bucket.clone(), NAME)), Arc::new(NumberedObjects::new(bucket, NAME))]
}

#[tokio::test]
async fn a_swap_wins_from_the_present_version_and_from_no_other() {
    for which in 0..2 {
        let register = both(&memory(), 1)[which].clone();
        assert_eq!(register.look(None).await, Ok(Looked::Absent));
        let Ok(Swap::Won(first)) = register.swap(None, content(1, 1)).await else { panic!() };
        assert_eq!(register.swap(None, content(2, 1)).await, Ok(Swap::Lost));
        assert_eq!(register.look(Some(&first)).await, Ok(Looked::Unchanged));
        let mut now = first.clone();
        for number in 2..70 {
            let Ok(Swap::Won(next)) = register.swap(Some(&now), content(1, number)).await else {
                panic!("swap {number}")
            };
            assert_ne!(next, now);
            now = next;
        }
        assert_eq!(register.swap(Some(&first), content(2, 2)).await, Ok(Swap::Lost));
        let held = read(&*register).await.unwrap().unwrap();
        assert_eq!((held.bytes, held.version == now), (content(1, 69), true));
        let Ok(Looked::Held(held)) = register.look(Some(&first)).await else { panic!() };
        assert_eq!(held.bytes, content(1, 69));
    }
}

#[tokio::test]
async fn of_racing_swaps_exactly_one_wins() {
    for which in 0..2 {
        let register = both(&memory(), 2)[which].clone();
        let mut now = None;
        for round in 0..20 {
            let tries = (0..8).map(|writer| {
                let (register, now) = (register.clone(), now.clone());
                async move { register.swap(now.as_ref(), content(writer, round)).await.unwrap() }
            });
            let won: Vec<_> = join_all(tries)
                .await
                .into_iter()
                .filter_map(|swap| match swap {
                    Swap::Won(version) => Some(version),
                    _ => None,
                })
                .collect();
            assert_eq!(won.len(), 1, "round {round}");
            now = won.into_iter().next();
        }
    }
}

#[tokio::test]
async fn an_unknown_swap_is_resolved_by_what_is_there() {
    for which in 0..2 {
        for (fates, expected) in [
            (&[Fate::AnswerLost][..], "won"),
            (&[Fate::Late, Fate::Answered], "won"),
            (&[Fate::Late, Fate::Late, Fate::AnswerLost], "won"),
            (&[Fate::Fails(Class::Busy), Fate::AnswerLost], "won"),
        ] {
            let all: Vec<Fate> = [&[Fate::Answered], fates].concat();
            let store = Scripted::new(memory(), &all);
            let dynamic: Arc<dyn Store> = store.clone();
            let register = both(&dynamic, 3)[which].clone();
            let Ok(Swap::Won(first)) = register.swap(None, content(1, 1)).await else { panic!() };
            let mine = content(1, 2);
            let happened = |held: &[u8]| held == mine;
            let swapped = swap(&*register, Some(&first), mine.clone(), &happened).await.unwrap();
            assert!(matches!(swapped, Swapped::Won(_)), "{fates:?} {expected}: {swapped:?}");
            // What was late arrives, and changes nothing.
            store.arrive().await;
            assert_eq!(read(&*register).await.unwrap().unwrap().bytes, mine);
        }
    }
}

#[tokio::test]
async fn a_change_on_top_of_one_s_own_is_told_from_a_change_instead_of_it() {
    for which in 0..2 {
        let store: Arc<dyn Store> = Scripted::new(memory(), &[Fate::Answered, Fate::AnswerLost]);
        let register = both(&store, 4)[which].clone();
        let Ok(Swap::Won(first)) = register.swap(None, content(1, 1)).await else { panic!() };
        // Applied, and the answer lost; then somebody else's hold comes on top.
        let mine = content(1, 2);
        assert!(matches!(register.swap(Some(&first), mine.clone()).await, Ok(Swap::Unknown(_))));
        let second = read(&*register).await.unwrap().unwrap();
        register.swap(Some(&second.version), Bytes::from("1 2 and a hold")).await.unwrap();
        let happened = |held: &[u8]| held.starts_with(b"1 2");
        let swapped = swap(&*register, Some(&first), mine.clone(), &happened).await.unwrap();
        assert!(matches!(&swapped, Swapped::Beneath(held) if held.bytes.ends_with(b"hold")));
        let swapped = swap(&*register, Some(&first), mine, &|_| false).await.unwrap();
        assert!(matches!(&swapped, Swapped::Lost(Some(_))), "{swapped:?}");
    }
}

/// A regression of others: old numbers of the manifest were deleted, and a writer that slept
/// created one again, and took itself for the owner.
#[tokio::test]
async fn manifest_name_free_again_after_collection() {
    let dir = tempfile::tempdir().unwrap();
    for store in [memory(), files(dir.path())] {
        let bucket = bucket(store, 5);
        let register = NumberedObjects::new(bucket.clone(), NAME);
        let mut now = None;
        let mut versions = Vec::new();
        for number in 1..50 {
            let Ok(Swap::Won(next)) = register.swap(now.as_ref(), content(1, number)).await else {
                panic!("swap {number}")
            };
            versions.push(next.clone());
            now = Some(next);
        }
        assert_eq!(register.collect(0, 1000).await, Ok(49));
        for old in &versions[..48] {
            let swap = register.swap(Some(old), content(2, 1)).await;
            assert_eq!(swap, Ok(Swap::Lost), "{old:?}");
        }
        assert_eq!(read(&register).await.unwrap().unwrap().bytes, content(1, 49));
        let stub = bucket.get(&ObjectName::RegisterVersion(NAME, 7)).await.unwrap().unwrap();
        assert_eq!(stub.len, register::STUB_LEN as u64);
    }
}

async fn with_hint(bucket: &Bucket, hint: &'static [u8]) {
    bucket.put(&ObjectName::RegisterHint(NAME), Bytes::from_static(hint)).await.unwrap();
}

#[tokio::test]
async fn a_hint_that_is_old_missing_or_nonsense_only_costs_reads() {
    let bucket = bucket(memory(), 6);
    let register = NumberedObjects::new(bucket.clone(), NAME);
    with_hint(&bucket, b"nonsense").await;
    assert_eq!(register.look(None).await, Ok(Looked::Absent));
    let mut now = None;
    for number in 1..=40 {
        let Ok(Swap::Won(next)) = register.swap(now.as_ref(), content(1, number)).await else {
            panic!("swap {number}")
        };
        now = Some(next);
    }
    assert_eq!(read(&register).await.unwrap().unwrap().bytes, content(1, 40));
    with_hint(&bucket, b"nonsense").await;
    assert_eq!(read(&register).await.unwrap().unwrap().bytes, content(1, 40));
    bucket.delete(&ObjectName::RegisterHint(NAME)).await.unwrap();
    assert_eq!(read(&register).await.unwrap().unwrap().bytes, content(1, 40));
}

#[tokio::test]
async fn a_register_that_is_gone_is_damage_and_is_not_created_again() {
    let bucket = bucket(memory(), 7);
    let register = ByEtag::new(bucket.clone(), NAME);
    let Ok(Swap::Won(first)) = register.swap(None, content(1, 1)).await else { panic!() };
    bucket.delete(&ObjectName::Register(NAME)).await.unwrap();
    let failure = swap(&register, Some(&first), content(1, 2), &|_| false).await.unwrap_err();
    assert_eq!(failure.class, Class::Damaged, "{failure}");
    assert_eq!(bucket.get(&ObjectName::Register(NAME)).await, Ok(None));
}

#[tokio::test]
async fn a_swap_whose_answers_never_come_stays_unknown() {
    let store: Arc<dyn Store> =
        Scripted::new(memory(), &[&[Fate::Answered][..], &[Fate::Late; 100]].concat());
    let register = both(&store, 8)[0].clone();
    let Ok(Swap::Won(first)) = register.swap(None, content(1, 1)).await else { panic!() };
    let failure: Failure =
        swap(&*register, Some(&first), content(1, 2), &|_| false).await.unwrap_err();
    assert_eq!((failure.class, failure.operation), (Class::Unknown, Operation::Put));
}

/// A retry below this crate, a proxy's or a library's, makes a swap meet its own first try.
#[tokio::test]
async fn a_swap_that_meets_its_own_first_try_has_won() {
    for which in 0..2 {
        let store = Scripted::new(memory(), &[Fate::Answered, Fate::AppliedTwice]);
        let store: Arc<dyn Store> = store;
        let register = both(&store, 9)[which].clone();
        let Ok(Swap::Won(first)) = register.swap(None, content(1, 1)).await else { panic!() };
        let swapped = swap(&*register, Some(&first), content(1, 2), &|_| false).await.unwrap();
        assert!(matches!(swapped, Swapped::Won(_)), "{swapped:?}");
    }
}
