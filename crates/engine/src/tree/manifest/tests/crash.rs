//! The power goes before each call that changes anything, with several seeds
//! for what the disk then has. Opened again, the state is the one before or the
//! one after the call that was under way, never anything else, and every table
//! it names is there.

use super::*;
use tanada_vfs::fault::Faults;
use tanada_vfs::sync::Mutex;

const SEEDS: u64 = 6;

/// A machine as a power cut left it, what had been acknowledged by then, and
/// what was under way.
struct Cut {
    machine: MemoryMachine,
    call: String,
    acknowledged: Option<Edit>,
    under_way: Option<Edit>,
}

/// What the workload promises and attempts, told to the hook.
#[derive(Default)]
struct Progress {
    acknowledged: Option<Edit>,
    under_way: Option<Edit>,
    cuts: Vec<Cut>,
}

/// Runs `workload` and cuts the power before each of its changing calls.
fn cut_everywhere(
    machine: &MemoryMachine,
    workload: impl FnOnce(&Env, &dyn Fn(Option<Edit>, Option<Edit>)),
) -> Vec<Cut> {
    let progress = Arc::new(Mutex::new(Progress::default()));
    let faults = Faults::over_memory(machine);
    let (seen, cutting) = (progress.clone(), machine.clone());
    faults.before_each_change(move |n, call| {
        let mut progress = seen.lock();
        for seed in 0..SEEDS {
            let cut = Cut {
                machine: cutting.crash(n * SEEDS + seed),
                call: format!("before call {n}, {call}, seed {}", n * SEEDS + seed),
                acknowledged: progress.acknowledged.clone(),
                under_way: progress.under_way.clone(),
            };
            progress.cuts.push(cut);
        }
    });
    let env = faults.env(&machine.env());
    workload(&env, &|acknowledged, under_way| {
        let mut progress = progress.lock();
        progress.acknowledged = acknowledged;
        progress.under_way = under_way;
    });
    faults.remove_hook();
    std::mem::take(&mut progress.lock().cuts)
}

/// Appends, telling what is promised and what is under way. Reserving table
/// ids is an append of its own, so numbers are left out of the comparison.
fn append(
    manifest: &mut Manifest,
    tell: &dyn Fn(Option<Edit>, Option<Edit>),
    edit: impl FnOnce(&mut Manifest) -> Edit,
) {
    let edit = edit(manifest);
    let before = comparable(snapshot(manifest));
    let mut after = manifest.state.clone();
    let number = Some(after.edit_number.next());
    let raised = Edit { number, next_table_id: Some(TableId(u64::MAX)), ..edit.clone() };
    let mut live = LiveTables::default();
    live.add(after.keyspaces.values().flat_map(|k| k.tables.tables()));
    super::super::apply(&mut after, &mut live, &raised, &manifest.files).unwrap();
    let after = comparable(after.snapshot());
    tell(Some(before), Some(after.clone()));
    manifest.append(&edit).unwrap();
    tell(Some(after), None);
    delete_obsolete(manifest);
}

fn comparable(snapshot: Edit) -> Edit {
    Edit { number: None, next_table_id: None, ..snapshot }
}

fn check(cut: &Cut) -> Option<Manifest> {
    let env = cut.machine.env();
    if cut.acknowledged.is_none() {
        // Creating had not returned: nothing, or the empty database.
        match inspect(&*env.fs, Path::new(DIR)) {
            Ok(Found::Nothing) => {
                drop(create(&env));
                return open(&env).ok();
            }
            Ok(Found::Database(_)) => {}
            Err(e) => panic!("{}: {e}", cut.call),
        }
    }
    let mut manifest = open(&env).unwrap_or_else(|e| panic!("{}: {e}", cut.call));
    let found = comparable(snapshot(&manifest));
    let expected = [&cut.acknowledged, &cut.under_way];
    let fits = expected.iter().any(|state| state.as_ref() == Some(&found));
    assert!(fits || cut.acknowledged.is_none(), "{}: {found:?}", cut.call);
    manifest.settle().unwrap_or_else(|e| panic!("{}: {e}", cut.call));
    delete_obsolete(&manifest);
    manifest.verify().unwrap();
    Some(manifest)
}

fn workload(env: &Env, tell: &dyn Fn(Option<Edit>, Option<Edit>)) {
    let mut manifest = create(env);
    tell(Some(comparable(snapshot(&manifest))), None);
    for _ in 0..3 {
        append(&mut manifest, tell, |m| flush(m, ("a", "c")));
    }
    append(&mut manifest, tell, compact);
    manifest.rewrite_bytes = 1;
    for _ in 0..8 {
        append(&mut manifest, tell, |m| flush(m, ("b", "d")));
        append(&mut manifest, tell, compact);
    }
    drop(manifest);
    let mut manifest = open(env).unwrap();
    append(&mut manifest, tell, |m| flush(m, ("a", "c")));
    append(&mut manifest, tell, compact);
}

#[test]
fn a_power_cut_at_any_call_leaves_the_state_before_or_after_it() {
    let cuts = cut_everywhere(&MemoryMachine::new(1), workload);
    assert!(cuts.len() > 500, "only {} cuts", cuts.len());
    for cut in &cuts {
        check(cut);
    }
}

#[test]
fn a_power_cut_during_the_opening_that_follows_one_is_survived_too() {
    let cuts = cut_everywhere(&MemoryMachine::new(2), workload);
    for cut in cuts.iter().step_by(31).filter(|cut| cut.acknowledged.is_some()) {
        let before = comparable(snapshot(&open(&cut.machine.env()).unwrap()));
        let again = cut_everywhere(&cut.machine, |env, tell| {
            tell(Some(before.clone()), None);
            let mut manifest = open(env).unwrap();
            manifest.settle().unwrap();
            delete_obsolete(&manifest);
        });
        // What was read but not synced may still go with the second cut.
        let states = [cut.acknowledged.clone(), cut.under_way.clone()];
        for second in &again {
            let manifest = open(&second.machine.env())
                .unwrap_or_else(|e| panic!("{}, then {}: {e}", cut.call, second.call));
            let found = Some(comparable(snapshot(&manifest)));
            assert!(states.contains(&found), "{}, then {}", cut.call, second.call);
        }
    }
}
