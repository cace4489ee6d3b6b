//! What can happen next: one request of somebody's, applied at one moment.
//!
//! A writer that is stalled takes no step, and one that has died never takes another, so
//! every stall and every death is part of every run. A request is applied and answered; or
//! applied, and the answer is lost; or given up, and arrives at any later time, or never.

use crate::rules::{Size, Without};
use crate::state::*;

/// Successors of a state; with labels only when a person is to read them.
#[derive(Default)]
pub(crate) struct Successors {
    pub(crate) states: Vec<State>,
    pub(crate) labels: Option<Vec<String>>,
}

impl Successors {
    fn push(&mut self, state: State, label: impl FnOnce() -> String) {
        self.states.push(state);
        if let Some(labels) = &mut self.labels {
            labels.push(label());
        }
    }
}

/// What the sender of a request learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Done,
    /// A place or a table is taken; a swap is lost.
    Lost,
    Unknown,
}

pub(crate) struct Model {
    pub(crate) size: Size,
    pub(crate) without: Option<Without>,
}

impl Model {
    fn lacks(&self, rule: Without) -> bool {
        self.without == Some(rule)
    }

    pub(crate) fn initial(&self) -> State {
        let root = Root { replay: 1, ..Root::default() };
        State {
            bucket: Bucket { root, ..Bucket::default() },
            writers: [Writer::default(); WRITERS],
            late: [None; LATE],
            reading: None,
            unknown: self.size.unknown,
            worker: 0,
            holds: self.size.holds,
        }
    }

    /// Where the table of an epoch lies.
    fn table(&self, epoch: u8) -> usize {
        if self.lacks(Without::UniqueNames) { 0 } else { epoch as usize - 1 }
    }

    /// The bucket: one request, at one moment.
    fn apply(&self, mut bucket: Bucket, request: Request) -> (Told, Bucket) {
        match request {
            Request::Chunk { epoch, index, writer } | Request::Fence { epoch, index, writer } => {
                let place = &mut bucket.log[epoch as usize - 1][index as usize];
                if *place != Held::Nothing {
                    return (Told::Lost, bucket);
                }
                let is_chunk = matches!(request, Request::Chunk { .. });
                *place = if is_chunk { Held::Chunk(writer) } else { Held::Fence(writer) };
                (Told::Done, bucket)
            }
            Request::Table { at, writer } => {
                if bucket.objects[at as usize] != 0 {
                    return (Told::Lost, bucket);
                }
                bucket.objects[at as usize] = writer + 1;
                (Told::Done, bucket)
            }
            Request::Swap { from, to, .. } => {
                if bucket.root.version == from || self.lacks(Without::Swapping) {
                    let version = bucket.root.version.max(from) + 1;
                    bucket.root = Root { version, ..to };
                    return (Told::Done, bucket);
                }
                // A number that can be created again; a higher one stays the newest.
                if bucket.freed >> (from + 1) & 1 == 1 {
                    bucket.freed &= !(1 << (from + 1));
                    return (Told::Done, bucket);
                }
                (Told::Lost, bucket)
            }
        }
    }

    /// Each outcome of one request.
    fn send(&self, state: State, request: Request) -> Vec<(&'static str, Told, State)> {
        let (told, bucket) = self.apply(state.bucket, request);
        let mut outcomes = vec![("answered", told, State { bucket, ..state })];
        if state.unknown == 0 {
            return outcomes;
        }
        let left = State { unknown: state.unknown - 1, ..state };
        if bucket != state.bucket {
            let after = State { bucket, ..left };
            outcomes.push(("applied, the answer is lost", Told::Unknown, after));
        }
        if !state.late.contains(&Some(request)) {
            let mut after = left;
            if let Some(free) = after.late.iter_mut().find(|slot| slot.is_none()) {
                *free = Some(request);
            }
            after.late.sort();
            outcomes.push(("given up, on its way", Told::Unknown, after));
        }
        outcomes
    }

    pub(crate) fn steps(&self, state: &State, out: &mut Successors) {
        for (slot, request) in state.late.iter().enumerate() {
            let Some(request) = *request else { continue };
            let (_, bucket) = self.apply(state.bucket, request);
            if bucket != state.bucket {
                let mut late = state.late;
                late[slot] = None;
                late.sort();
                out.push(State { bucket, late, ..*state }, || format!("late: {request:?} arrives"));
            }
        }
        for s in 0..self.size.writers {
            // Writers are alike: they begin in the order of their numbers.
            if s > 0 && state.writers[s - 1].at == At::New {
                break;
            }
            self.writer(state, s, out);
        }
        self.collector(state, out);
        if state.holds > 0 && state.bucket.root.version > 0 {
            let mut after = State { holds: state.holds - 1, ..*state };
            after.bucket.root.version += 1;
            out.push(after, || "somebody enters a hold".into());
        }
        if self.size.worker && state.worker == 0 && state.bucket.root.job != 0 {
            let mut after = State { worker: 1, ..*state };
            after.bucket.objects[OUTPUT] = OUTPUT as u8 + 1;
            out.push(after, || "the worker uploads its output".into());
        }
        if state.worker == 1 {
            out.push(State { worker: 2, ..*state }, || "the worker says that it is done".into());
        }
    }

    fn writer(&self, state: &State, s: usize, out: &mut Successors) {
        let w = state.writers[s];
        let root = state.bucket.root;
        match w.at {
            At::New if root.epoch as usize >= self.size.writers => {}
            At::New if self.lacks(Without::RaisingFirst) && root.epoch > 0 => {
                self.look_before_the_raise(state, s, out);
            }
            At::New => {
                let raise = root.raised_by(s);
                let next = Writer { at: At::Raise, version: root.version, raise, ..w };
                out.push(with(state, s, next), || {
                    format!("w{s} reads MANIFEST v{}, epoch {}", root.version, root.epoch)
                });
            }
            At::Raise => {
                let request = Request::Swap { writer: s as u8, from: w.version, to: w.raise };
                for (note, told, after) in self.send(*state, request) {
                    let after = match told {
                        Told::Done => self.begin_walk(&after, s, w.version + 1, w.raise),
                        Told::Lost => with(&after, s, Writer { at: At::New, ..w }),
                        Told::Unknown => with(&after, s, Writer { at: At::RaiseUnknown, ..w }),
                    };
                    out.push(after, || format!("w{s} raises to epoch {}: {note}", w.raise.epoch));
                }
            }
            At::RaiseUnknown => {
                let after = if root.is_owned_by(s, w.raise.epoch) {
                    self.begin_walk(state, s, root.version, w.raise)
                } else if root.version == w.version {
                    with(state, s, Writer { at: At::Raise, ..w })
                } else {
                    with(state, s, Writer { at: At::New, ..w })
                };
                out.push(after, || format!("w{s} reads MANIFEST again, v{}", root.version));
            }
            At::Get => {
                let held = state.bucket.log[w.x as usize - 1][w.i as usize];
                let after = match held {
                    Held::Nothing => with(state, s, Writer { at: At::PlaceFence, ..w }),
                    Held::Fence(_) => self.closed(state, s, w.i),
                    Held::Chunk(by) => {
                        let recovered = w.recovered | bit(by as usize, w.i as usize);
                        with(state, s, Writer { i: w.i + 1, recovered, ..w })
                    }
                };
                out.push(after, || format!("w{s} GET wal/{}/{}: {held:?}", w.x, w.i));
            }
            At::PlaceFence => {
                let request = Request::Fence { epoch: w.x, index: w.i, writer: s as u8 };
                for (note, told, after) in self.send(*state, request) {
                    let is_placed = told == Told::Done
                        || told == Told::Lost && self.lacks(Without::ReadingAgain)
                        || told == Told::Unknown && self.lacks(Without::DoubtingFences);
                    let after = match is_placed {
                        true => self.closed(&after, s, w.i),
                        false => with(&after, s, Writer { at: At::Get, ..w }),
                    };
                    out.push(after, || format!("w{s} fence wal/{}/{}: {told:?}, {note}", w.x, w.i));
                }
            }
            At::Confirm if w.version != root.version && root.is_owned_by(s, w.epoch) => {
                let after = with(state, s, Writer { version: root.version, ..w });
                out.push(after, || format!("w{s} meets a hold, and confirms on top of it"));
            }
            At::Confirm => {
                // Where there were fences alone, the replay point moves over them.
                let is_empty = w.recovered == root.covered;
                let (replay, index) = match is_empty || self.lacks(Without::SparingChunks) {
                    true => (w.epoch, 0),
                    false => (root.replay, root.index),
                };
                let to = Root { ends: w.ends, replay, index, ..root };
                let request = Request::Swap { writer: s as u8, from: w.version, to };
                let (told, bucket) = self.apply(state.bucket, request);
                let next = match told {
                    Told::Done => Writer { at: At::Open, version: w.version + 1, ..w },
                    _ => Writer { at: At::Fenced, ..w },
                };
                let after = with(&State { bucket, ..*state }, s, next);
                out.push(after, || format!("w{s} confirms by v{}: {told:?}", w.version));
            }
            At::Open => {
                self.write(state, s, out);
                self.publish(state, s, out);
            }
            At::PublishUnknown => {
                let is_blind = self.lacks(Without::LookingBeforeRebasing);
                let next = if !root.is_owned_by(s, w.epoch) && !is_blind {
                    Writer { at: At::FencedOpen, ..w }
                } else if (root.tables | root.dead) >> self.table(w.epoch) & 1 == 1 {
                    Writer { at: At::Open, version: root.version, flush: -1, ..w }
                } else {
                    Writer { at: At::Open, version: root.version, ..w }
                };
                out.push(with(state, s, next), || {
                    format!("w{s} reads MANIFEST v{}: {:?}", root.version, next.at)
                });
            }
            At::RaiseLate => {
                let raise = root.raised_by_if_room(s, self.size.writers);
                let Some(raise) = raise else { return };
                let request = Request::Swap { writer: s as u8, from: root.version, to: raise };
                let (_, bucket) = self.apply(state.bucket, request);
                let at = if w.x < raise.epoch { At::PlaceFence } else { At::Confirm };
                let (version, epoch) = (root.version + 1, raise.epoch);
                let recovered = w.recovered | root.covered;
                let next = Writer { at, version, epoch, recovered, ends: root.ends, ..w };
                let after = with(&State { bucket, ..*state }, s, next);
                out.push(after, || format!("w{s} raises to epoch {epoch}"));
            }
            At::Fenced | At::FencedOpen => {}
        }
    }

    /// The walk begins at the replay point of the version that the raise replaced.
    fn begin_walk(&self, state: &State, s: usize, version: u8, raised: Root) -> State {
        let (mut x, mut i) = (raised.replay, raised.index);
        if self.lacks(Without::ClosingAll) && raised.epoch - 1 > x {
            (x, i) = (raised.epoch - 1, 0);
        }
        let at = if x < raised.epoch { At::Get } else { At::Confirm };
        let (epoch, recovered, ends) = (raised.epoch, raised.covered, raised.ends);
        let w = state.writers[s];
        let raise = Root::default();
        with(state, s, Writer { at, version, epoch, x, i, recovered, ends, raise, ..w })
    }

    /// An epoch is closed: on to the next one, or to the confirmation.
    fn closed(&self, state: &State, s: usize, end: u8) -> State {
        let mut w = state.writers[s];
        w.ends[w.x as usize - 1] = end + 1;
        w.i = 0;
        if w.x + 1 < w.epoch {
            (w.at, w.x) = (At::Get, w.x + 1);
        } else {
            w.at = if self.lacks(Without::Confirming) { At::Open } else { At::Confirm };
            w.x = 0;
        }
        with(state, s, w)
    }

    fn look_before_the_raise(&self, state: &State, s: usize, out: &mut Successors) {
        let root = state.bucket.root;
        let (mut x, mut i, mut recovered) = (root.replay, root.index, 0);
        while x <= root.epoch {
            match state.bucket.log[x as usize - 1][i as usize] {
                Held::Nothing => break,
                Held::Fence(_) => (x, i) = (x + 1, 0),
                Held::Chunk(by) => {
                    recovered |= bit(by as usize, i as usize);
                    i += 1;
                }
            }
        }
        let w = state.writers[s];
        let next = Writer { at: At::RaiseLate, x, i, recovered, ..w };
        out.push(with(state, s, next), || format!("w{s} finds wal/{x}/{i} free"));
    }

    fn write(&self, state: &State, s: usize, out: &mut Successors) {
        let w = state.writers[s];
        let learn = |state: &State, n: usize, known: Known| {
            let mut chunks = state.writers[s].chunks;
            chunks[n] = known;
            with(state, s, Writer { chunks, ..state.writers[s] })
        };
        for n in 0..self.size.chunks {
            match w.chunks[n] {
                Known::Unsent | Known::Unknown => {
                    let (index, writer) = (n as u8, s as u8);
                    let request = Request::Chunk { epoch: w.epoch, index, writer };
                    for (note, told, after) in self.send(*state, request) {
                        let known = match told {
                            Told::Done => Known::Stored,
                            Told::Lost if self.lacks(Without::ComparingNonces) => Known::Stored,
                            Told::Lost => Known::Taken,
                            Told::Unknown if self.lacks(Without::DoubtingChunks) => Known::Stored,
                            Told::Unknown if self.lacks(Without::SendingAgain) => Known::Skipped,
                            Told::Unknown => Known::Unknown,
                        };
                        out.push(learn(&after, n, known), || {
                            format!("w{s} chunk wal/{}/{n}: {told:?}, {note}", w.epoch)
                        });
                    }
                }
                Known::Taken => {
                    let held = state.bucket.log[w.epoch as usize - 1][n];
                    let after = match held {
                        Held::Chunk(by) if by as usize == s => {
                            let mut after = learn(state, n, Known::Stored);
                            // The bytes that are there are those of the first try.
                            let more = n + 1 < self.size.chunks
                                && w.chunks[n + 1] == Known::Unsent
                                && self.lacks(Without::SameBytes);
                            if more {
                                after = learn(&after, n + 1, Known::Stored);
                            }
                            after
                        }
                        Held::Nothing => learn(state, n, Known::Unknown),
                        _ => with(state, s, Writer { at: At::FencedOpen, ..w }),
                    };
                    out.push(after, || format!("w{s} GET wal/{}/{n}: {held:?}", w.epoch));
                }
                Known::Stored | Known::Skipped => {}
            }
        }
    }

    fn publish(&self, state: &State, s: usize, out: &mut Successors) {
        let w = state.writers[s];
        let root = state.bucket.root;
        let at = self.table(w.epoch);
        let ready = w.chunks.iter().take_while(|known| **known == Known::Stored).count();
        if w.flush == 0 && ready > 0 {
            let request = Request::Table { at: at as u8, writer: s as u8 };
            let (told, bucket) = self.apply(state.bucket, request);
            if told == Told::Done {
                let next = Writer { flush: ready as i8, ..w };
                let after = with(&State { bucket, ..*state }, s, next);
                out.push(after, || format!("w{s} uploads table {at} of {ready} chunks"));
            }
        }
        if w.flush > 0 {
            let in_table = (0..w.flush as usize).fold(w.recovered, |set, n| set | bit(s, n));
            let mut to = Root {
                replay: w.epoch,
                index: w.flush as u8,
                ends: w.ends,
                covered: in_table,
                tables: root.tables | 1 << at,
                ..root
            };
            if self.lacks(Without::Swapping) {
                to.version = w.version;
                to.epoch = w.epoch;
                to.owners[w.epoch as usize..].fill(0);
            } else if root.version != w.version {
                // It will be lost: what it holds makes no difference.
                to = root;
            }
            let request = Request::Swap { writer: s as u8, from: w.version, to };
            for (note, told, after) in self.send(*state, request) {
                let is_blind = self.lacks(Without::LookingBeforeRebasing);
                // Whoever has lost its epoch never has it again: it may as well look at once.
                let is_gone = told == Told::Lost && !root.is_owned_by(s, w.epoch) && !is_blind;
                let next = match told {
                    Told::Done => Writer { version: w.version + 1, flush: -1, ..w },
                    _ if is_gone => Writer { at: At::FencedOpen, ..w },
                    _ => Writer { at: At::PublishUnknown, ..w },
                };
                out.push(with(&after, s, next), || {
                    format!("w{s} publishes table {at} by v{}: {told:?}, {note}", w.version)
                });
            }
        }
        if self.size.worker && w.version == root.version && root.is_owned_by(s, w.epoch) {
            let output = 1 << OUTPUT;
            let to = if root.job == 0 && root.tables != 0 && (root.tables | root.dead) & output == 0
            {
                Root { job: root.tables, ..root }
            } else if root.job != 0 && state.worker == 2 {
                let tables = root.tables & !root.job | output;
                Root { tables, dead: root.dead | root.job, job: 0, ..root }
            } else {
                return;
            };
            let request = Request::Swap { writer: s as u8, from: w.version, to };
            let (_, bucket) = self.apply(state.bucket, request);
            let next = Writer { version: w.version + 1, ..w };
            let after = with(&State { bucket, ..*state }, s, next);
            out.push(after, || format!("w{s} posts or commits the job: inputs {:b}", to.job));
        }
    }

    /// Deletes one by one, by what it has read however long ago.
    fn collector(&self, state: &State, out: &mut Successors) {
        let root = state.bucket.root;
        // What no rule looks at makes no states.
        let version = if self.lacks(Without::KeepingNumbers) { root.version } else { 0 };
        let (owners, covered) = ([0; WRITERS], 0);
        let read = Root { version, owners, covered, ..root };
        let reading = Reading { root: read, objects: state.bucket.objects };
        if state.reading != Some(reading) && root.version > 0 {
            let after = State { reading: Some(reading), ..*state };
            out.push(after, || format!("the collector reads MANIFEST v{}", root.version));
        }
        let Some(Reading { root: read, objects: listed }) = state.reading else { return };
        for x in 1..=read.replay {
            let end = match read.ends[x as usize - 1] {
                _ if x == read.replay => read.index,
                0 => 0,
                end if self.lacks(Without::KeepingFences) => end,
                end => end - 1,
            };
            for n in 0..end {
                let mut after = *state;
                let place = &mut after.bucket.log[x as usize - 1][n as usize];
                if *place != Held::Nothing {
                    *place = Held::Nothing;
                    out.push(after, || format!("the collector deletes wal/{x}/{n}"));
                }
            }
            // As if the epoch were not listed: whatever is no fence goes.
            for n in (end..PLACES as u8).filter(|_| x < read.replay) {
                let mut after = *state;
                let place = &mut after.bucket.log[x as usize - 1][n as usize];
                if let Held::Chunk(_) = *place {
                    *place = Held::Nothing;
                    out.push(after, || format!("the collector deletes the stray wal/{x}/{n}"));
                }
            }
        }
        for (t, &owner) in listed.iter().enumerate() {
            let there = state.bucket.objects[t];
            let reuses = self.lacks(Without::UniqueNames);
            let is_named = read.tables >> t & 1 == 1;
            // With a condition another's object is left alone.
            if owner == 0 || there == 0 || is_named || there != owner && !reuses {
                continue;
            }
            let is_dead = read.dead >> t & 1 == 1;
            let is_garbage = if t == OUTPUT {
                is_dead || read.job == 0 || self.lacks(Without::ReachingThroughJobs)
            } else if reuses {
                // The epoch stands in the object's metadata.
                state.writers[owner as usize - 1].epoch < read.epoch
            } else {
                let is_past = (t as u8 + 1) < read.epoch;
                is_dead || is_past || self.lacks(Without::SparingThePresent)
            };
            if is_garbage {
                let mut after = *state;
                after.bucket.objects[t] = 0;
                out.push(after, || format!("the collector deletes table {t}"));
            }
        }
        for n in 1..read.version {
            if state.bucket.freed >> n & 1 == 0 {
                let mut after = *state;
                after.bucket.freed |= 1 << n;
                out.push(after, || format!("the collector deletes manifest number {n}"));
            }
        }
    }
}

impl Root {
    fn raised_by_if_room(self, writer: usize, writers: usize) -> Option<Root> {
        ((self.epoch as usize) < writers).then(|| self.raised_by(writer))
    }
}

/// The state with another writer in it. What a writer knew that is of no more use to it is
/// forgotten: fewer states.
fn with(state: &State, s: usize, next: Writer) -> State {
    let next = match next.at {
        At::New | At::Fenced => Writer { at: next.at, ..Writer::default() },
        At::FencedOpen => Writer { version: 0, x: 0, i: 0, flush: 0, ..next },
        _ => next,
    };
    let mut writers = state.writers;
    writers[s] = next;
    State { writers, ..*state }
}
