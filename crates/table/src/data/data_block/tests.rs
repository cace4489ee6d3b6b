//! Blocks of few and of very many entries, read back and damaged.

use super::*;
use tanada_format::{MAX_KEY_LEN, awkward_keys, compare_internal};
use tanada_vfs::memory::Dice;

fn entry<'a>(key: &'a [u8], seqno: u64, value: &'a [u8]) -> EntryRef<'a> {
    EntryRef { key, seqno: SeqNo(seqno), kind: ValueKind::Put, expires_at_ms: seqno % 3, value }
}

fn build(entries: &[EntryRef<'_>]) -> Vec<u8> {
    let mut builder = DataBlockBuilder::default();
    let mut guess = 0;
    for e in entries {
        let grown = builder.grown(e);
        builder.add(e, grown);
        guess = grown.len;
        assert_eq!(guess, builder.len());
    }
    let mut out = vec![1, 2, 3];
    builder.finish(&mut out);
    assert!(builder.is_empty());
    let wide = if out.len() > 60_000 { 2 * entries.len() } else { 0 };
    assert!(out.len() <= guess + wide && guess <= out.len() + 8 + 6 * entries.len());
    out
}

fn check(entries: &[EntryRef<'_>]) {
    let bytes = build(entries);
    let block = DataBlock::parse(&bytes).unwrap();
    assert_eq!(block.count(), entries.len());
    let mut key = KeyBuffer::default();
    key.set_prefix(block.prefix());
    for (i, e) in entries.iter().enumerate() {
        let slot = block.slot(i).unwrap();
        block.write_key(i, &slot, &mut key);
        assert_eq!(*key, *e.key);
        assert_eq!((slot.seqno, slot.kind), (e.seqno, e.kind));
        assert_eq!((slot.expires_at_ms, slot.value), (e.expires_at_ms, e.value));
        for (key, seqno) in [
            (e.key.to_vec(), e.seqno),
            (e.key.to_vec(), SeqNo::MAX),
            (e.key.to_vec(), SeqNo(e.seqno.0 - 1)),
            ([e.key, b"\0"].concat(), SeqNo::MAX),
            (e.key[..e.key.len() - 1].to_vec(), SeqNo::ZERO),
            (e.key.iter().map(|b| b.wrapping_add(1)).collect(), SeqNo(4)),
        ] {
            let want = entries.partition_point(|e| {
                tanada_format::compare_internal((e.key, e.seqno), (&key, seqno)).is_lt()
            });
            assert_eq!(block.lower_bound(&key, seqno).unwrap(), want);
            let want = entries.get(want).filter(|e| e.key == key);
            let got = block.get(&key, seqno).unwrap();
            assert_eq!(got.map(|s| (s.seqno, s.value)), want.map(|e| (e.seqno, e.value)));
        }
    }
}

#[test]
fn keys_that_differ_only_in_length_and_zeros_are_told_apart() {
    let keys: [&[u8]; 12] = [
        b"a",
        b"a\0",
        b"a\0\0",
        b"a\0\0\0",
        b"a\0\0\0\0",
        b"a\0\0\0\0\0",
        b"a\0\0\x01",
        b"ab",
        b"ab\0\0\0\0\x07",
        b"abcde",
        b"abcdef",
        b"b\xff\xff\xff\xff\xff",
    ];
    let entries: Vec<_> = keys.iter().map(|k| entry(k, 9, b"v")).collect();
    check(&entries);
    check(&entries[3..5]);
    check(&entries[11..]);
}

#[test]
fn drawn_keys_that_are_easily_taken_for_one_another_are_told_apart() {
    for seed in 0..150 {
        let mut dice = Dice::new(seed);
        let mut keys = Vec::new();
        for mut key in awkward_keys::pool(&mut |bound| dice.below(bound), 20) {
            // What `check` asks for beside it is a byte longer.
            key.truncate(MAX_KEY_LEN - 1);
            let versions = 1 + dice.below(3);
            keys.extend((0..versions).map(|n| (key.clone(), 1 + 10 * n + dice.below(9))));
        }
        keys.sort_by(|a, b| compare_internal((&a.0, SeqNo(a.1)), (&b.0, SeqNo(b.1))));
        keys.dedup();
        // Any stretch of them, for another prefix and other shortest suffixes.
        for _ in 0..8 {
            let from = dice.below(keys.len() as u64) as usize;
            let len = 1 + dice.below((keys.len() - from) as u64) as usize;
            let stretch = keys[from..from + len].iter();
            check(&stretch.map(|(key, seqno)| entry(key, *seqno, b"v")).collect::<Vec<_>>());
        }
    }
}

#[test]
fn hundreds_of_versions_of_one_key_are_found_each() {
    let mut entries: Vec<_> = (1..300).rev().map(|s| entry(b"hot", s * 2, b"value")).collect();
    check(&entries);
    entries.push(entry(b"hot\0", 3, b""));
    entries.push(entry(b"hotter", 3, b""));
    check(&entries);
}

#[test]
fn a_block_over_64_kib_uses_wide_offsets() {
    let value = vec![9; 30_000];
    let keys: Vec<String> = (0..6).map(|i| format!("user:{i:06}")).collect();
    let mut entries: Vec<_> = keys.iter().map(|k| entry(k.as_bytes(), 5, &value)).collect();
    assert!(DataBlock::parse(&build(&entries)).unwrap().is_even());
    check(&entries);
    entries[3].value = &value[1..];
    assert!(DataBlock::parse(&build(&entries)).unwrap().is_wide());
    check(&entries);
    let long = vec![7; 70_000];
    let long = EntryRef { value: &long, ..entries[1] };
    let alone = [&alone_head(&long), long.value].concat();
    assert_eq!(alone, build(&[long]), "both ways give the same bytes");
}

#[test]
fn entries_of_one_length_need_no_offsets() {
    let keys: Vec<String> = (0..20).map(|i| format!("user:{i:04}")).collect();
    let mut entries: Vec<_> = keys.iter().map(|k| entry(k.as_bytes(), 500, b"value")).collect();
    let even = build(&entries);
    assert!(DataBlock::parse(&even).unwrap().is_even());
    check(&entries);
    check(&entries[..2]);
    entries[7].value = b"values";
    let uneven = build(&entries);
    assert!(!DataBlock::parse(&uneven).unwrap().is_even());
    assert_eq!(even.len() + 2 * 20 - 4 + 1, uneven.len());
    check(&entries);
    // A length that does not lead to the block's end is damage.
    let at = HEADER_LEN + 20 * HEAD_LEN;
    for changed in [&even[..even.len() - 1], &[&even[..], &[0]].concat()] {
        assert!(DataBlock::parse(changed).is_err());
    }
    let mut changed = even.clone();
    changed[at] += 1;
    assert!(DataBlock::parse(&changed).is_err());
}

#[test]
fn any_changed_byte_gives_an_error_or_an_answer_and_never_a_panic() {
    let keys: Vec<String> = (0..20).map(|i| format!("user:{i:04}")).collect();
    let entries: Vec<_> = keys.iter().map(|k| entry(k.as_bytes(), 500, b"abcdefgh")).collect();
    let good = build(&entries);
    for i in 0..good.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[i] ^= flip;
            let Ok(block) = DataBlock::parse(&bytes) else { continue };
            let mut key = KeyBuffer::default();
            key.set_prefix(block.prefix());
            for i in 0..block.count() {
                if let Ok(slot) = block.slot(i) {
                    block.write_key(i, &slot, &mut key);
                }
            }
            for k in &keys {
                let _ = block.get(k.as_bytes(), SeqNo::MAX);
                let _ = block.lower_bound(k.as_bytes(), SeqNo(3));
            }
        }
    }
    for cut in 0..good.len() {
        if let Ok(block) = DataBlock::parse(&good[..cut]) {
            let _ = block.get(b"user:0019", SeqNo::MAX);
        }
    }
}
