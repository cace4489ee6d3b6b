//! Explores every state that can be reached, breadth first, and checks each.
//!
//! Breadth first, so that the first trace to a broken state is a shortest one.

use crate::rules::{Size, Without};
use crate::state::*;
use crate::steps::{Model, Successors};
use std::collections::HashMap;

pub(crate) struct Explored {
    pub(crate) states: usize,
    /// The steps to a broken state, and what is broken in it.
    pub(crate) broken: Option<(Vec<String>, String)>,
}

/// An acknowledgement is no step: a write counts as acknowledged from the moment in which
/// its writer may acknowledge it. So late ones count.
fn acknowledged(model: &Model, s: usize, chunks: &[Known; CHUNKS]) -> Writes {
    let mut set = 0;
    for (n, known) in chunks.iter().enumerate() {
        match known {
            Known::Stored => set |= bit(s, n),
            Known::Skipped => {}
            _ if model.without == Some(Without::Order) => {}
            _ => break,
        }
    }
    set
}

/// I1, I2, I4, I5, and of I3 that an epoch has one owner.
fn check(model: &Model, state: &State) -> Result<(), String> {
    let root = state.bucket.root;
    for (t, there) in state.bucket.objects.iter().enumerate() {
        if root.tables >> t & 1 == 1 && *there == 0 {
            return Err(format!("I5: MANIFEST names table {t}, which is not there"));
        }
    }
    for (s, w) in state.writers.iter().enumerate().filter(|(_, w)| w.has_opened()) {
        let differ = |(mine, end): (&u8, &u8)| *mine != *end && *mine != 0 && *end != 0;
        if w.ends.iter().zip(&root.ends).any(differ) {
            return Err("I4: two openers disagree about the end of an epoch".into());
        }
        let set = acknowledged(model, s, &w.chunks);
        let end = root.ends[w.epoch as usize - 1];
        if end > 0 && set >> (s * CHUNKS + end as usize - 1) != 0 {
            let epoch = w.epoch;
            return Err(format!("I2: w{s} acknowledged a write behind the end of epoch {epoch}"));
        }
        for (o, other) in state.writers.iter().enumerate() {
            let is_later = o != s && other.has_opened() && other.epoch >= w.epoch;
            if !is_later || set & !other.recovered == 0 {
                continue;
            }
            return Err(match other.epoch > w.epoch {
                true => format!(
                    "I1: a write acknowledged by w{s}, epoch {}, was not recovered by w{o}, epoch {}",
                    w.epoch, other.epoch
                ),
                false => format!("I3: w{s} and w{o} both own epoch {}", w.epoch),
            });
        }
    }
    Ok(())
}

/// Explores one configuration, whole.
pub(crate) fn explore(size: Size, without: Option<Without>) -> Explored {
    let model = Model { size, without };
    let initial = model.initial();
    // By state its number; by number the one before it.
    let mut numbers: HashMap<State, u32> = HashMap::from([(initial, 0)]);
    let mut before: Vec<u32> = vec![0];
    let mut level = vec![initial];
    let mut successors = Successors::default();
    while !level.is_empty() {
        let mut next = Vec::new();
        for state in &level {
            let number = numbers[state];
            successors.states.clear();
            model.steps(state, &mut successors);
            for after in &successors.states {
                let fresh = u32::try_from(before.len()).expect("fewer than 2^32 states");
                if *numbers.entry(*after).or_insert(fresh) != fresh {
                    continue;
                }
                before.push(number);
                if let Err(what) = check(&model, after) {
                    let trace = trace(&model, &numbers, &before, fresh);
                    return Explored { states: before.len(), broken: Some((trace, what)) };
                }
                next.push(*after);
            }
        }
        level = next;
    }
    Explored { states: before.len(), broken: None }
}

/// The labels of the steps to a state.
fn trace(
    model: &Model,
    numbers: &HashMap<State, u32>,
    before: &[u32],
    mut number: u32,
) -> Vec<String> {
    let mut way = vec![number];
    while number != 0 {
        number = before[number as usize];
        way.push(number);
    }
    way.reverse();
    let states: HashMap<u32, State> = numbers
        .iter()
        .filter(|(_, number)| way.contains(number))
        .map(|(state, number)| (*number, *state))
        .collect();
    way.windows(2)
        .map(|pair| {
            let mut successors = Successors { labels: Some(Vec::new()), ..Successors::default() };
            model.steps(&states[&pair[0]], &mut successors);
            let to = states[&pair[1]];
            let at = successors.states.iter().position(|state| *state == to);
            let labels = successors.labels.expect("they were asked for");
            at.map_or_else(|| "?".into(), |at| labels[at].clone())
        })
        .collect()
}
