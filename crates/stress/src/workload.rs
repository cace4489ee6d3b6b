//! Client threads: each does the operations that its seed decides, one after
//! the other, and notes what it saw, until it is told to stop or its server dies.

use crate::client::{Client, Problem, Reply, Versioned, Write};
use crate::failure::{Failure, Result};
use crate::history::{Effect, Fate, Ticks, Touch};
use crate::journal::Journal;
use crate::operation::{
    ACCOUNT_PREFIX, ACCOUNTS, Action, DEPOSIT, MEMBERS, Mix, Planned, Subject, account_key,
    group_prefix, member_key, planned, register_key,
};
use crate::stamp::{Stamp, State, account_value, of_account};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tanada::Durability;
use tanada_vfs::Env;

/// Operations after which a client ends by itself: a bound, not a plan.
const MAX_OPERATIONS: u32 = 200_000;

/// What happened to a client, for whoever decides when a life ends.
#[derive(Debug)]
pub(crate) enum Event<'e> {
    /// A write was acknowledged: the so-manieth of all clients. `call` is the
    /// tick before it was sent.
    Acknowledged { count: u64, call: u64 },
    /// A request was refused. `back` is the tick after the answer.
    Refused { problem: &'e Problem, back: u64 },
}

/// What to do then.
#[derive(Debug)]
pub(crate) enum Go {
    /// Go on.
    On,
    /// All clients stop after the operation they are at.
    Stop,
    /// All clients stop, and the run with them.
    Fail(Failure),
}

/// One life's work.
pub(crate) struct Workload<'w> {
    pub(crate) seed: u64,
    pub(crate) life: u32,
    pub(crate) clients: u32,
    pub(crate) mix: Mix,
    /// The server's, for writes that do not say.
    pub(crate) durability: Durability,
    pub(crate) ticks: &'w Ticks,
    pub(crate) journal: Option<&'w Journal>,
    pub(crate) url: &'w str,
}

impl Workload<'_> {
    /// Runs all clients; what they saw. `decide` is called by their threads.
    ///
    /// # Errors
    /// Broken when an answer was impossible by itself, or a server hung.
    pub(crate) fn run(
        &self,
        env: &Env,
        decide: &(dyn Fn(Event<'_>) -> Go + Sync),
    ) -> Result<Vec<Touch>> {
        let shared = Shared::default();
        let tasks = (0..self.clients).map(|client| {
            let shared = &shared;
            let task = move || {
                let mut one = One::new(self, client, shared, decide);
                let ended = one.work();
                shared.touches.lock().append(&mut one.touches);
                if let Err(failure) = ended {
                    shared.stop.store(true, Ordering::Relaxed);
                    shared.failure.lock().get_or_insert(failure);
                }
            };
            Box::new(task) as Box<dyn FnOnce() + Send + '_>
        });
        env.threads.run_all(tasks.collect());
        match shared.failure.into_inner() {
            Some(failure) => Err(failure),
            None => Ok(shared.touches.into_inner()),
        }
    }

    /// Does one chosen operation, outside of what the seed decides; what was
    /// seen, and why it was refused if it was.
    ///
    /// # Errors
    /// As [`Workload::run`].
    pub(crate) fn once(
        &self,
        stamp: Stamp,
        action: Action,
    ) -> Result<(Vec<Touch>, Option<Problem>)> {
        let shared = Shared::default();
        let refused = Mutex::new(None);
        let decide = |event: Event<'_>| {
            if let Event::Refused { problem, .. } = event {
                *refused.lock() = Some(problem.clone());
            }
            Go::On
        };
        let mut one = One::new(self, stamp.client, &shared, &decide);
        one.perform(stamp, Planned { action, durability: None })?;
        let touches = std::mem::take(&mut one.touches);
        drop(one);
        Ok((touches, refused.into_inner()))
    }

    /// Opens the accounts of a new database; what was written.
    ///
    /// # Errors
    /// Trouble when a healthy server refuses it.
    pub(crate) fn open_accounts(&self) -> Result<Vec<Touch>> {
        let by = Stamp { life: self.life, client: u32::MAX, n: 0 };
        let writes: Vec<Write> = (0..ACCOUNTS)
            .map(|account| Write {
                key: account_key(account),
                value: account_value(DEPOSIT, by),
                if_version: None,
            })
            .collect();
        let call = self.ticks.next();
        let reply = Client::new(self.url).batch(&writes, Some(Durability::Synced));
        let Reply::Done(last) = reply else {
            return Err(Failure::trouble(format!("a new server opens no accounts: {reply:?}")));
        };
        let back = self.ticks.next();
        let first = (last + 1).saturating_sub(u64::from(ACCOUNTS));
        let touches = (0..ACCOUNTS).map(|account| {
            let fate = Fate::Acknowledged {
                seqno: first + u64::from(account),
                durability: Durability::Synced,
            };
            let effect = Effect::Write { to: Some(by), by, fate };
            Touch { subject: Subject::Account(account), call, back, effect }
        });
        Ok(touches.collect())
    }
}

/// What the clients of one life share.
#[derive(Default)]
struct Shared {
    /// Told to stop. Relaxed: a client that sees it later does one operation more.
    stop: AtomicBool,
    /// A count, and nothing is ordered by it: relaxed.
    acknowledged: AtomicU64,
    touches: Mutex<Vec<Touch>>,
    failure: Mutex<Option<Failure>>,
}

/// Whether a client goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Operation,
    End,
}

/// One client.
struct One<'o> {
    workload: &'o Workload<'o>,
    number: u32,
    client: Client,
    shared: &'o Shared,
    decide: &'o (dyn Fn(Event<'_>) -> Go + Sync),
    touches: Vec<Touch>,
}

impl<'o> One<'o> {
    fn new(
        workload: &'o Workload<'_>,
        number: u32,
        shared: &'o Shared,
        decide: &'o (dyn Fn(Event<'_>) -> Go + Sync),
    ) -> One<'o> {
        let client = Client::new(workload.url);
        One { workload, number, client, shared, decide, touches: Vec::new() }
    }

    fn work(&mut self) -> Result<()> {
        let Workload { seed, life, mix, .. } = *self.workload;
        for n in 0..MAX_OPERATIONS {
            if self.shared.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let stamp = Stamp { life, client: self.number, n };
            if self.perform(stamp, planned(seed, stamp, mix))? == Next::End {
                return Ok(());
            }
        }
        Ok(())
    }

    fn perform(&mut self, stamp: Stamp, planned: Planned) -> Result<Next> {
        let durability = planned.durability;
        match planned.action {
            Action::Put { register, size_bytes } => {
                let value = stamp.value(size_bytes);
                self.write(stamp, planned, |client| {
                    client.put(&register_key(register), &value, durability)
                })
            }
            Action::Delete { register } => self
                .write(stamp, planned, |client| client.delete(&register_key(register), durability)),
            Action::Batch { group, size_bytes } => {
                let value = stamp.value(size_bytes);
                let writes: Vec<Write> = (0..MEMBERS)
                    .map(|member| Write {
                        key: member_key(group, member),
                        value: value.clone(),
                        if_version: None,
                    })
                    .collect();
                self.write(stamp, planned, |client| client.batch(&writes, durability))
            }
            Action::Get { register } => {
                let subject = Subject::Register(register);
                self.get(&register_key(register), subject, read_register).map(|(next, _)| next)
            }
            Action::GetMember { group, member } => {
                let subject = Subject::Group(group);
                // Versions of groups are those of their last members.
                let (next, _) = self.get(&member_key(group, member), subject, |value| {
                    Ok((Stamp::of(value)?, WithVersion::No))
                })?;
                Ok(next)
            }
            Action::ReadGroup { group } => self.read_group(group),
            Action::Transfer { from, to, amount } => {
                self.transfer(stamp, planned, (from, to, amount))
            }
            Action::Audit => self.audit(),
            Action::Compact => match self.client.compact() {
                Reply::Done(()) => Ok(Next::Operation),
                reply => self.failed(reply).map(|(next, _)| next),
            },
        }
    }

    /// Sends a write and notes what became of it.
    fn write(
        &mut self,
        stamp: Stamp,
        planned: Planned,
        send: impl FnOnce(&Client) -> Reply<u64>,
    ) -> Result<Next> {
        let durability = planned.durability.unwrap_or(self.workload.durability);
        let call = self.workload.ticks.next();
        let reply = send(&self.client);
        let back = self.workload.ticks.next();
        let last = match reply {
            Reply::Done(last) => last,
            reply => {
                let (next, nothing_was_done) = self.failed(reply)?;
                if !nothing_was_done {
                    for (subject, to) in planned.action.writes(stamp) {
                        let effect = Effect::Write { to, by: stamp, fate: Fate::Unknown };
                        self.touches.push(Touch { subject, call, back, effect });
                    }
                }
                return Ok(next);
            }
        };
        for (subject, to, seqno) in planned.action.numbered(stamp, last) {
            let fate = Fate::Acknowledged { seqno, durability };
            self.touches.push(Touch {
                subject,
                call,
                back,
                effect: Effect::Write { to, by: stamp, fate },
            });
        }
        if let Some(journal) = self.workload.journal {
            journal.acknowledged(stamp, last, durability)?;
        }
        let count = self.shared.acknowledged.fetch_add(1, Ordering::Relaxed) + 1;
        self.go((self.decide)(Event::Acknowledged { count, call }))
    }

    /// Reads one key and notes its state; what was found, when it was answered.
    fn get(
        &mut self,
        key: &str,
        subject: Subject,
        read: impl FnOnce(&str) -> std::result::Result<(Stamp, WithVersion), String>,
    ) -> Result<(Next, Option<Option<Versioned>>)> {
        let call = self.workload.ticks.next();
        let reply = self.client.get(key);
        let back = self.workload.ticks.next();
        let found = match reply {
            Reply::Done(found) => found,
            reply => return self.failed(reply).map(|(next, _)| (next, None)),
        };
        let (state, version): (State, Option<u64>) = match &found {
            None => (None, None),
            Some(found) => {
                let (stamp, with) = read(&found.value)
                    .map_err(|why| Failure::broken(format!("a get of {key}: {why}")))?;
                (Some(stamp), (with == WithVersion::Yes).then_some(found.version))
            }
        };
        self.touches.push(Touch { subject, call, back, effect: Effect::Read { state, version } });
        Ok((Next::Operation, Some(found)))
    }

    /// All members in one scan: as of one moment, so all of one batch.
    fn read_group(&mut self, group: u32) -> Result<Next> {
        let call = self.workload.ticks.next();
        let reply = self.client.scan(&group_prefix(group));
        let back = self.workload.ticks.next();
        let found = match reply {
            Reply::Done(found) => found,
            reply => return self.failed(reply).map(|(next, _)| next),
        };
        let state = state_of_group(group, &found).map_err(Failure::broken)?;
        let effect = Effect::Read { state, version: None };
        self.touches.push(Touch { subject: Subject::Group(group), call, back, effect });
        Ok(Next::Operation)
    }

    /// All accounts in one scan: as of one moment, so their sum is what it always was.
    fn audit(&mut self) -> Result<Next> {
        let call = self.workload.ticks.next();
        let reply = self.client.scan(ACCOUNT_PREFIX);
        let back = self.workload.ticks.next();
        let found = match reply {
            Reply::Done(found) => found,
            reply => return self.failed(reply).map(|(next, _)| next),
        };
        let states = audited(&found).map_err(Failure::broken)?;
        for (account, stamp) in states {
            let effect = Effect::Read { state: Some(stamp), version: None };
            self.touches.push(Touch { subject: Subject::Account(account), call, back, effect });
        }
        Ok(Next::Operation)
    }

    /// Moves money, if nobody else does between reading and writing.
    fn transfer(
        &mut self,
        stamp: Stamp,
        planned: Planned,
        (from, to, amount): (u32, u32, u64),
    ) -> Result<Next> {
        let mut balances = Vec::new();
        for account in [from, to] {
            let key = account_key(account);
            let (next, found) = self.get(&key, Subject::Account(account), |value| {
                Ok((of_account(value)?.1, WithVersion::Yes))
            })?;
            match found {
                None => return Ok(next),
                Some(None) => return Err(Failure::broken(format!("the account {key} is gone"))),
                Some(Some(Versioned { value, version })) => {
                    let (balance, _) = of_account(&value).map_err(Failure::broken)?;
                    balances.push((key, balance, version));
                }
            }
        }
        let [(from_key, from_balance, from_version), (to_key, to_balance, to_version)] =
            <[_; 2]>::try_from(balances).expect("two accounts were read");
        let amount = amount.min(from_balance);
        let writes = [
            Write {
                key: from_key,
                value: account_value(from_balance - amount, stamp),
                if_version: Some(from_version),
            },
            Write {
                key: to_key,
                value: account_value(to_balance + amount, stamp),
                if_version: Some(to_version),
            },
        ];
        self.write(stamp, planned, |client| client.batch(&writes, planned.durability))
    }

    /// After a request that was not done: what comes next, and whether the
    /// server promises that nothing was done.
    fn failed<T>(&self, reply: Reply<T>) -> Result<(Next, bool)> {
        match reply {
            Reply::Refused(problem) if problem.kind == "precondition-failed" => {
                Ok((Next::Operation, true))
            }
            Reply::Refused(problem) => {
                let back = self.workload.ticks.next();
                let next = self.go((self.decide)(Event::Refused { problem: &problem, back }))?;
                Ok((next, problem.nothing_was_done()))
            }
            // The server is gone, and with it this client's work.
            Reply::Lost(_) => Ok((Next::End, false)),
            Reply::Hung(why) => Err(Failure::broken(format!("the server hangs: {why}"))),
            Reply::Done(_) => Ok((Next::Operation, false)),
        }
    }

    fn go(&self, go: Go) -> Result<Next> {
        match go {
            Go::On => Ok(Next::Operation),
            Go::Stop => {
                self.shared.stop.store(true, Ordering::Relaxed);
                Ok(Next::End)
            }
            Go::Fail(failure) => Err(failure),
        }
    }
}

/// Whether a version is that of the subject.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WithVersion {
    Yes,
    No,
}

fn read_register(value: &str) -> std::result::Result<(Stamp, WithVersion), String> {
    Ok((Stamp::of(value)?, WithVersion::Yes))
}

/// What a group holds, by what a scan of it found.
///
/// # Errors
/// When it is half a batch, or parts of two.
pub(crate) fn state_of_group(
    group: u32,
    found: &[(String, String)],
) -> std::result::Result<State, String> {
    let Some((_, first)) = found.first() else { return Ok(None) };
    let stamp = Stamp::of(first)?;
    if found.len() != MEMBERS as usize {
        return Err(format!(
            "half a batch: group {group} has {} of {MEMBERS} members",
            found.len()
        ));
    }
    for (member, (key, value)) in found.iter().enumerate() {
        if *key != member_key(group, member as u32) || value != first {
            return Err(format!(
                "parts of two batches: {key} in group {group} is not of {stamp} as its first member is"
            ));
        }
    }
    Ok(Some(stamp))
}

/// Who wrote each account, by what one scan found.
///
/// # Errors
/// When an account is missing, or the sum is not what it always was.
pub(crate) fn audited(
    found: &[(String, String)],
) -> std::result::Result<Vec<(u32, Stamp)>, String> {
    let mut sum = 0;
    let mut states = Vec::with_capacity(found.len());
    for (account, (key, value)) in found.iter().enumerate() {
        let account = account as u32;
        if *key != account_key(account) {
            return Err(format!("the bank has {key} where {} belongs", account_key(account)));
        }
        let (balance, stamp) = of_account(value)?;
        sum += balance;
        states.push((account, stamp));
    }
    let total = u64::from(ACCOUNTS) * DEPOSIT;
    if found.len() != ACCOUNTS as usize || sum != total {
        return Err(format!(
            "the bank has {} accounts with {sum}, not {ACCOUNTS} with {total}: a transfer was seen by half",
            found.len()
        ));
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: Stamp = Stamp { life: 1, client: 1, n: 1 };

    #[test]
    fn half_a_batch_and_parts_of_two_are_noticed() {
        let other = Stamp { n: 2, ..BY };
        let of = |stamps: &[Stamp]| -> Vec<(String, String)> {
            let member = |(i, stamp): (usize, &Stamp)| (member_key(3, i as u32), stamp.value(50));
            stamps.iter().enumerate().map(member).collect()
        };
        assert_eq!(state_of_group(3, &[]), Ok(None));
        assert_eq!(state_of_group(3, &of(&[BY; 4])), Ok(Some(BY)));
        assert!(state_of_group(3, &of(&[BY; 3])).expect_err("half").contains("half a batch"));
        let mixed = of(&[BY, BY, other, BY]);
        assert!(state_of_group(3, &mixed).expect_err("two").contains("parts of two"));
    }

    #[test]
    fn a_bank_that_does_not_add_up_is_noticed() {
        let mut bank: Vec<(String, String)> =
            (0..ACCOUNTS).map(|a| (account_key(a), account_value(DEPOSIT, BY))).collect();
        assert_eq!(audited(&bank).map(|states| states.len()), Ok(ACCOUNTS as usize));
        bank[1].1 = account_value(DEPOSIT - 1, BY);
        assert!(audited(&bank).expect_err("one less").contains("seen by half"));
        bank[2].1 = account_value(DEPOSIT + 1, BY);
        assert!(audited(&bank).is_ok());
        assert!(audited(&bank[1..]).is_err());
    }
}
