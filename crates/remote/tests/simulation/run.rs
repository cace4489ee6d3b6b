//! One run: a seed decides which request is applied next, what becomes of its answer, who
//! sleeps for how long, and who dies.

use crate::actors::{Actor, Habits};
use crate::link::{Link, Shared};
use crate::world::PREFIX;
use futures_util::future::BoxFuture;
use futures_util::task::noop_waker;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;
use tanada_remote::chain::verify;
use tanada_remote::{Bucket, Class, Tries};
use tanada_vfs::{Env, MemoryMachine};

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Openings in all; at most four at once.
    pub(crate) writers: usize,
    pub(crate) collectors: usize,
    /// Of each collector.
    pub(crate) collections: u64,
    pub(crate) holders: usize,
    pub(crate) habits: Habits,
    /// Of a thousand requests that change something, so many: are applied and their answer
    /// is lost; are given up and arrive later; are applied, and arrive once more later.
    pub(crate) lost: u64,
    pub(crate) late: u64,
    pub(crate) doubled: u64,
    /// Of a thousand steps, in so many somebody falls asleep; and dies.
    pub(crate) naps: u64,
    pub(crate) deaths: u64,
    /// Steps of a nap at most.
    pub(crate) longest_nap: u64,
    /// Whether the store has `If-Match`; `None`: the seed decides.
    pub(crate) swap: Option<bool>,
}

pub(crate) const USUAL: Plan = Plan {
    writers: 5,
    collectors: 2,
    collections: 6,
    holders: 1,
    habits: Habits { operations: 8, width: 4, flushes: 25 },
    lost: 30,
    late: 30,
    doubled: 20,
    naps: 30,
    deaths: 3,
    longest_nap: 300,
    swap: None,
};

/// Steps at most: a run takes some thousands. One that has more does not end.
pub(crate) const STEPS: u64 = 60_000;

struct Running {
    future: Option<BoxFuture<'static, ()>>,
    /// Until this step.
    asleep: u64,
    is_writer: bool,
}

pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) violation: Option<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) steps: u64,
    pub(crate) acknowledgements: u64,
    pub(crate) openings: u64,
    pub(crate) deletions: u64,
}

struct Run {
    plan: Plan,
    world: Shared,
    dice: Env,
    swap: bool,
    actors: Vec<Running>,
    writers: usize,
    step: u64,
}

/// Runs one seed to its end.
pub(crate) fn run(plan: Plan, seed: u64) -> Outcome {
    let dice = MemoryMachine::new(seed).env();
    let swap = plan.swap.unwrap_or_else(|| dice.random_u64().is_multiple_of(2));
    let world = Shared::default();
    let mut run = Run { plan, world, dice, swap, actors: Vec::new(), writers: 0, step: 0 };
    run.run_whole();
    let world = run.world.lock();
    Outcome {
        seed,
        violation: world.violation.clone(),
        trace: world.trace.clone(),
        steps: run.step,
        acknowledgements: world.acknowledgements,
        openings: world.openings,
        deletions: world.deletions,
    }
}

impl Run {
    fn below(&self, bound: u64) -> u64 {
        self.dice.random_u64() % bound.max(1)
    }

    fn actor(&self) -> Actor {
        let link = Link { world: self.world.clone(), actor: self.actors.len(), swap: self.swap };
        Actor { link, env: MemoryMachine::new(self.dice.random_u64()).env() }
    }

    fn begin(&mut self, future: BoxFuture<'static, ()>, is_writer: bool) {
        let asleep = self.step + self.below(self.plan.longest_nap);
        self.actors.push(Running { future: Some(future), asleep, is_writer });
    }

    fn begin_writer(&mut self) {
        self.writers += 1;
        let actor = self.actor();
        self.begin(Box::pin(actor.write(self.plan.habits)), true);
    }

    fn is_over(&self) -> bool {
        self.step >= STEPS || self.world.lock().violation.is_some()
    }

    fn run_whole(&mut self) {
        for _ in 0..2.min(self.plan.writers) {
            self.begin_writer();
        }
        for _ in 0..self.plan.collectors {
            let actor = self.actor();
            self.begin(Box::pin(actor.collect(self.plan.collections)), false);
        }
        for _ in 0..self.plan.holders {
            let actor = self.actor();
            self.begin(Box::pin(actor.hold(4)), false);
        }
        while !self.is_over() {
            self.step += 1;
            let awake: Vec<usize> = (0..self.actors.len())
                .filter(|&i| self.actors[i].future.is_some() && self.actors[i].asleep <= self.step)
                .collect();
            let is_anybody_left = self.actors.iter().any(|actor| actor.future.is_some());
            let at_once = self.actors.iter().filter(|a| a.is_writer && a.future.is_some()).count();
            if self.writers < self.plan.writers
                && at_once < 4
                && (at_once == 0 || self.below(40) == 0)
            {
                self.begin_writer();
                continue;
            }
            if !is_anybody_left && self.writers == self.plan.writers {
                break;
            }
            if let Some(&actor) = awake.get(self.below(awake.len() as u64) as usize) {
                self.act(actor);
            }
            self.apply_one();
        }
        self.settle();
    }

    /// One actor goes on, falls asleep, or dies.
    fn act(&mut self, actor: usize) {
        let chance = self.below(1000);
        if chance < self.plan.naps {
            let nap = 1 + self.below(self.plan.longest_nap);
            self.actors[actor].asleep = self.step + nap;
        } else if chance < self.plan.naps + self.plan.deaths && self.actors[actor].is_writer {
            self.world.lock().note(format!("actor {actor} dies"));
            self.actors[actor].future = None;
        } else {
            self.poll(actor);
        }
    }

    fn poll(&mut self, actor: usize) {
        let waker = noop_waker();
        let Some(future) = &mut self.actors[actor].future else { return };
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.actors[actor].future = None;
        }
    }

    /// One request meets the bucket, or its fate on the way.
    fn apply_one(&mut self) {
        let mut world = self.world.lock();
        if !world.late.is_empty() && self.below(12) == 0 {
            let which = self.below(world.late.len() as u64) as usize;
            let request = world.late.swap_remove(which);
            world.note(format!("late: {}", describe(&request)));
            world.apply(&request);
            return;
        }
        let waiting: Vec<u64> = world
            .pending
            .iter()
            .filter(|(_, pending)| pending.reply.is_none())
            .map(|(id, _)| *id)
            .collect();
        let Some(&id) = waiting.get(self.below(waiting.len() as u64) as usize) else { return };
        let (actor, request) = {
            let pending = &world.pending[&id];
            (pending.actor, pending.request.clone())
        };
        let chance = self.below(1000);
        let Plan { lost, late, doubled, .. } = self.plan;
        let reply = if !request.changes() {
            match chance {
                0..10 if !matches!(request, crate::world::Request::Sleep(_)) => {
                    request.fails(Class::Busy)
                }
                _ => world.apply(&request),
            }
        } else if chance < lost {
            world.apply(&request);
            request.fails(Class::Unknown)
        } else if chance < lost + late {
            world.late.push(request.clone());
            request.fails(Class::Unknown)
        } else if chance < lost + late + doubled {
            world.late.push(request.clone());
            world.apply(&request)
        } else if chance >= 990 {
            request.fails(Class::Busy)
        } else {
            world.apply(&request)
        };
        world.note(format!("actor {actor}: {} -> {}", describe(&request), outcome(&reply)));
        let pending = world.pending.get_mut(&id).expect("it waits");
        pending.reply = Some(reply);
        let waker = pending.waker.take();
        drop(world);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What is late arrives; then somebody opens, finds all that was acknowledged, and the
    /// chain is walked.
    fn settle(&mut self) {
        if self.is_over() {
            return;
        }
        let late = std::mem::take(&mut self.world.lock().late);
        for request in late {
            let mut world = self.world.lock();
            world.note(format!("late: {}", describe(&request)));
            world.apply(&request);
        }
        let habits = Habits { operations: 2, width: 1, flushes: 0 };
        let actor = self.actor();
        self.alone(Box::pin(actor.write(habits)));
        let actor = self.actor();
        let world = self.world.clone();
        self.alone(Box::pin(async move {
            let link = Arc::new(actor.link.clone());
            let bucket = Bucket::with_tries(
                link.clone(),
                PREFIX,
                link,
                actor.env.random.clone(),
                Tries { within: Duration::from_secs(3600), ..Tries::default() },
            );
            let Some(manifest) = world.lock().manifest().cloned() else { return };
            if let Err(error) = verify(&bucket, &manifest).await {
                world.lock().damage(actor.link.actor, &error.to_string());
            }
        }));
    }

    /// Runs one actor against a bucket that answers.
    fn alone(&mut self, future: BoxFuture<'static, ()>) {
        self.actors.push(Running { future: Some(future), asleep: 0, is_writer: false });
        let actor = self.actors.len() - 1;
        let quiet = Plan { lost: 0, late: 0, doubled: 0, ..self.plan };
        let plan = std::mem::replace(&mut self.plan, quiet);
        while self.actors[actor].future.is_some() && !self.is_over() {
            self.step += 1;
            self.poll(actor);
            self.apply_one();
        }
        self.plan = plan;
    }
}

fn describe(request: &crate::world::Request) -> String {
    use crate::world::Request;
    match request {
        Request::Get(path, ..) => format!("GET {path}"),
        Request::Head(path) => format!("HEAD {path}"),
        Request::Put(path, bytes, condition) => {
            let condition = match condition {
                tanada_remote::Condition::Always => "whatever is there",
                tanada_remote::Condition::Absent => "if absent",
                tanada_remote::Condition::Is(_) => "if unchanged",
            };
            format!("PUT {path} ({} bytes, {condition})", bytes.len())
        }
        Request::Delete(path) => format!("DELETE {path}"),
        Request::List(path) => format!("LIST {path}"),
        Request::Sleep(duration) => format!("waits {duration:?}"),
    }
}

fn outcome(reply: &crate::world::Reply) -> String {
    use crate::world::Reply;
    match reply {
        Reply::Fetched(tanada_remote::Fetched::Absent) => "nothing".into(),
        Reply::Failed(failure) => failure.class.word().into(),
        _ => "ok".into(),
    }
}

/// Prints what led to a violation, so that a person can read it.
pub(crate) fn report(outcome: &Outcome) -> String {
    let last = outcome.trace.len().saturating_sub(60);
    format!(
        "seed {}: {}\nthe last steps:\n  {}\nreplay: TANADA_SEED={} cargo test -p tanada-remote --test simulation",
        outcome.seed,
        outcome.violation.as_deref().unwrap_or("nothing"),
        outcome.trace[last..].join("\n  "),
        outcome.seed
    )
}
