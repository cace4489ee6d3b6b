//! The database a run works on: filled, settled, warmed and reopened as the
//! next workload needs it.

use crate::cgroup::Cgroup;
use crate::data::{self, Order};
use crate::engine::{Durability, Engine, Opening, Outcome, Reader};
use crate::picks::uniform;
use crate::{engines, process};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Which pairs a workload is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    pub pairs: u64,
    pub value_bytes: usize,
}

impl Data {
    pub fn raw_bytes(&self) -> u64 {
        self.pairs * (data::KEY_BYTES + self.value_bytes) as u64
    }
}

/// What a workload starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// An empty database.
    Empty,
    /// All pairs, at rest; they may have been overwritten.
    Filled,
    /// All pairs as a fill in random order left them, at rest, seen once.
    Warm,
    /// As [`Start::Warm`], but what the workload named before of the same kind
    /// left is good enough: YCSB's workloads follow one another.
    Continued,
    /// All pairs, in the engine that has just taken the last of them and goes on with what
    /// it does in the background.
    Loaded,
    /// All pairs, at rest, and a while of reads before: for data that no memory holds.
    Resting,
}

/// What is in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Nothing,
    /// All pairs of this data.
    Filled(Data, State),
    /// Something else.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pristine,
    Overwritten,
}

/// One engine's database in this process.
pub struct Store {
    name: String,
    dir: PathBuf,
    /// How long an engine must write nothing to be at rest.
    quiet: Duration,
    opening: Opening,
    engine: Option<Box<dyn Engine>>,
    content: Content,
    at_rest: bool,
    warm: bool,
    continued: bool,
    cgroup: Option<Cgroup>,
    /// Said of every row that follows: how the data came here, if not as usual.
    loaded: Option<String>,
}

/// What a database is opened with, and how long loading it may take.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub memory: u64,
    pub durability: Durability,
    /// When an untimed load in a cgroup is given up.
    pub load_limit: Duration,
    /// How long the reads are that come before [`Start::Resting`].
    pub warm_up: Duration,
}

impl Store {
    /// Nothing is opened yet. What lies in `dir` goes when a workload starts.
    pub fn new(name: &str, dir: PathBuf, quiet: Duration) -> Store {
        let opening = Opening {
            dir: dir.clone(),
            memory: 0,
            durability: Durability::Kernel,
            confined: false,
        };
        Store {
            name: name.into(),
            dir,
            quiet,
            opening,
            engine: None,
            content: Content::Other,
            at_rest: false,
            warm: false,
            continued: false,
            cgroup: None,
            loaded: None,
        }
    }

    /// Has all that follows happen in a memory cgroup of so many bytes, or in none. What
    /// there is of a database goes when that changes, for its memory is not counted where it
    /// should be.
    ///
    /// # Errors
    /// Says why there is no cgroup on this machine.
    pub fn confine(&mut self, limit_bytes: Option<u64>) -> Result<(), String> {
        if self.opening.confined == limit_bytes.is_some() {
            return Ok(());
        }
        self.remove().map_err(|e| e.to_string())?;
        (self.cgroup, self.opening.confined, self.loaded) = (None, false, None);
        if let Some(bytes) = limit_bytes {
            let cgroup = Cgroup::new(bytes)?;
            cgroup.enter()?;
            (self.cgroup, self.opening.confined) = (Some(cgroup), true);
        }
        Ok(())
    }

    /// What is to be said of rows that are measured here, beside the engine's settings.
    pub fn notes(&self) -> Vec<String> {
        let cgroup = self.cgroup.as_ref().map(|cgroup| {
            format!("in a memory cgroup (version {}), page cache included", cgroup.version)
        });
        cgroup.into_iter().chain(self.loaded.clone()).collect()
    }

    pub fn engine(&self) -> &dyn Engine {
        self.engine.as_deref().expect("a workload runs on an open engine")
    }

    /// Brings the database to where a workload starts. Answers whether it has: an engine
    /// may be too slow to load the data within the limit.
    pub fn prepare(&mut self, data: Data, start: Start, terms: Terms) -> Outcome<bool> {
        let Terms { memory, durability, .. } = terms;
        if start == Start::Empty {
            self.renew(memory, durability)?;
            return Ok(true);
        }
        if self.opening.confined {
            return self.prepare_confined(data, start, terms);
        }
        let fits = match (self.content, start) {
            (_, Start::Continued) if self.continued => true,
            (Content::Filled(there, _), Start::Filled) => there == data,
            (Content::Filled(there, state), _) => there == data && state == State::Pristine,
            _ => false,
        };
        if !fits {
            self.renew(memory.max(FILL_MEMORY), Durability::Kernel)?;
            self.fill(data, Duration::MAX)?;
        }
        if start == Start::Continued && self.continued {
            return Ok(true);
        }
        self.settle()?;
        self.reopen(memory, durability)?;
        if start != Start::Filled && !self.warm {
            self.warm_up(data)?;
        }
        Ok(true)
    }

    /// The same in a cgroup. An engine that cannot load the data there in time loads it
    /// outside, for all but [`Start::Loaded`].
    fn prepare_confined(&mut self, data: Data, start: Start, terms: Terms) -> Outcome<bool> {
        let fits = match (self.content, start) {
            (Content::Filled(there, state), Start::Loaded) => {
                there == data && state == State::Pristine && !self.at_rest
            }
            (Content::Filled(there, _), _) => there == data,
            _ => false,
        };
        if !fits {
            let slow = self.loaded.is_some();
            let loaded = !slow && {
                self.renew(terms.memory, terms.durability)?;
                self.fill(data, terms.load_limit)?
            };
            if !loaded {
                self.slow_load(terms.load_limit);
                if start == Start::Loaded || !self.fill_outside(data, terms)? {
                    return Ok(false);
                }
            }
        }
        if start == Start::Loaded {
            return Ok(true);
        }
        self.settle()?;
        if start == Start::Resting && !self.warm {
            // What the load has left in the process is no part of reads at rest.
            self.close()?;
            self.open()?;
            let (engine, began) = (self.engine(), Instant::now());
            let mut reader = engine.reader()?;
            for i in 0.. {
                check_get(&mut *reader, uniform(i, 9, data.pairs), data.value_bytes)?;
                if began.elapsed() >= terms.warm_up {
                    break;
                }
            }
            drop(reader);
            self.warm = true;
        }
        Ok(true)
    }

    /// Notes that the engine could not load the data within the limit in the cgroup.
    pub fn slow_load(&mut self, limit: Duration) {
        self.loaded = Some(format!(
            "loaded outside of the cgroup, for in it the load was not done after {} s",
            limit.as_secs_f64()
        ));
    }

    /// Loads outside of the cgroup, then drops what the page cache has of the files, or it
    /// would stay there, counted as nobody's.
    fn fill_outside(&mut self, data: Data, terms: Terms) -> Outcome<bool> {
        self.remove()?;
        let cgroup = self.cgroup.as_ref().expect("it is confined");
        cgroup.leave()?;
        self.renew(terms.memory, terms.durability)?;
        let done = self.fill(data, terms.load_limit)?;
        if done {
            self.settle()?;
        }
        self.close()?;
        process::drop_page_cache(&self.dir)?;
        self.cgroup.as_ref().expect("it is confined").enter()?;
        self.open()?;
        Ok(done)
    }

    /// Notes that all of `data` was just written into an empty database.
    pub fn filled(&mut self, data: Data) {
        self.content = Content::Filled(data, State::Pristine);
        (self.at_rest, self.warm) = (false, false);
    }

    /// Notes that pairs were overwritten, but none came or went.
    pub fn overwritten(&mut self) {
        self.content = match self.content {
            Content::Filled(data, _) => Content::Filled(data, State::Overwritten),
            other => other,
        };
        (self.at_rest, self.warm) = (false, false);
    }

    /// Notes that the content is no longer that of a fill.
    pub fn changed(&mut self) {
        self.content = Content::Other;
        (self.at_rest, self.warm) = (false, false);
    }

    /// Notes whether the next workload may go on from here.
    pub fn continued(&mut self, yes: bool) {
        self.continued = yes;
    }

    /// Flushes, then waits until nothing is written any more. The wait for
    /// quiet itself is the same for every engine.
    pub fn settle(&mut self) -> Outcome<()> {
        if !self.at_rest {
            self.engine().flush()?;
            process::wait_until_quiet(self.quiet)?;
            self.at_rest = true;
        }
        Ok(())
    }

    /// Where and how it is opened, for a child process.
    pub fn as_arguments(&self) -> Vec<String> {
        let memory = (self.opening.memory >> 20).max(16).to_string();
        let dir = self.dir.display().to_string();
        let words = ["--engine", &self.name, "--memory", &memory, "--dir", &dir];
        words.map(str::to_owned).to_vec()
    }

    /// Space on disk.
    pub fn space_bytes(&self) -> Outcome<u64> {
        process::space_bytes(&self.dir)
    }

    /// Closes and removes the database.
    pub fn remove(&mut self) -> Outcome<()> {
        self.close()?;
        self.content = Content::Other;
        match std::fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Closes the engine.
    pub fn close(&mut self) -> Outcome<()> {
        self.warm = false;
        self.engine.take().map_or(Ok(()), Engine::close)
    }

    /// Opens the engine on what is there.
    pub fn open(&mut self) -> Outcome<()> {
        self.engine = Some(engines::open(&self.name, &self.opening)?);
        Ok(())
    }

    fn renew(&mut self, memory: u64, durability: Durability) -> Outcome<()> {
        self.remove()?;
        (self.opening.memory, self.opening.durability) = (memory, durability);
        self.open()?;
        self.content = Content::Nothing;
        (self.at_rest, self.continued) = (true, false);
        Ok(())
    }

    fn reopen(&mut self, memory: u64, durability: Durability) -> Outcome<()> {
        if (self.opening.memory, self.opening.durability) != (memory, durability) {
            self.close()?;
            (self.opening.memory, self.opening.durability) = (memory, durability);
            self.open()?;
        }
        Ok(())
    }

    /// Fills without measuring, in batches: some engines take ten times as long
    /// without. Answers whether it was done before the time was up.
    fn fill(&mut self, data: Data, limit: Duration) -> Outcome<bool> {
        let began = Instant::now();
        let count = (4 << 20) / data.value_bytes as u64 / 40;
        let mut batch = vec![(data::key(0), vec![0; data.value_bytes]); count as usize];
        for first in (0..data.pairs).step_by(count as usize) {
            let end = (first + count).min(data.pairs);
            for (n, (key, value)) in (first..end).zip(&mut batch) {
                *key = data::key(n);
                data::fill_value(n, 0, value);
            }
            self.engine().put_batch(&batch[..(end - first) as usize])?;
            if began.elapsed() >= limit && end < data.pairs {
                self.changed();
                return Ok(false);
            }
        }
        self.filled(data);
        Ok(true)
    }

    /// One scan, and one get of every item; of a part where there are many, or
    /// where the cache holds but a tenth.
    fn warm_up(&mut self, data: Data) -> Outcome<()> {
        let engine = self.engine();
        let mut reader = engine.reader()?;
        assert_eq!(
            check_scan(&mut *reader, &[0; 16], u64::MAX, data.value_bytes)?,
            data.pairs,
            "{} lost or made up pairs",
            self.name
        );
        let fits = data.raw_bytes() < self.opening.memory;
        let gets = if fits { data.pairs } else { data.pairs / 10 };
        for i in 0..gets {
            let n = if gets == data.pairs { i } else { uniform(i, 9, data.pairs) };
            check_get(&mut *reader, n, data.value_bytes)?;
        }
        drop(reader);
        self.warm = true;
        Ok(())
    }
}

/// Fills that nobody times may use plenty.
const FILL_MEMORY: u64 = 512 << 20;

/// Gets item `n`, which must be there, and checks its value.
#[inline]
pub fn check_get(reader: &mut dyn Reader, n: u64, value_bytes: usize) -> Outcome<()> {
    let there = reader.get(&data::key(n), &mut |value| data::check_value(n, value, value_bytes))?;
    assert!(there, "item {n} is lost");
    Ok(())
}

/// Scans and checks order and values. Answers the number of entries.
#[inline]
pub fn check_scan(
    reader: &mut dyn Reader,
    from: &data::Key,
    limit: u64,
    value_bytes: usize,
) -> Outcome<u64> {
    // Keys differ in their place, so this is the whole order.
    let mut lowest = data::place(from);
    let (mut seen, mut exhausted) = (0, false);
    let count = reader.scan(from, limit, &mut |key, value| {
        let place = data::place(key);
        assert!(place >= lowest && !exhausted, "keys out of order in a scan");
        match place.checked_add(1) {
            Some(next) => lowest = next,
            None => exhausted = true,
        }
        data::check_value(data::item(key), value, value_bytes);
        seen += 1;
    })?;
    assert_eq!(count, seen, "a scan says what it showed");
    Ok(count)
}

/// The place from which on a scan may find fewer than `limit` entries.
pub fn near_the_end(data: Data, order: Order, limit: u64) -> u64 {
    let mut last = std::collections::BinaryHeap::new();
    for n in 0..data.pairs {
        let place = data::place(&data::key_in(order, n));
        if (last.len() as u64) < limit {
            last.push(std::cmp::Reverse(place));
        } else if let Some(mut least) = last.peek_mut()
            && least.0 < place
        {
            *least = std::cmp::Reverse(place);
        }
    }
    last.peek().map_or(0, |least| least.0)
}
