//! The judge: the same workloads on Tanada and on its peers.
//!
//! `one --engine X [--workloads a,b,c]` runs named workloads on one engine and
//! fills first what they need; to compile Tanada alone:
//! `cargo run --release --no-default-features -- one --engine tanada --workloads readrandom,seek10`.
//!
//! Read on in [`workloads`]; an adapter an engine is in [`engines`].

mod data;
mod picks;
mod engine;
mod process;
mod cgroup;
mod measure;
mod row;
mod resident;
mod engines;
mod store;
mod workloads;
mod memory;
mod floor;
mod machine;
mod arguments;
mod rounds;
mod report;

use arguments::Arguments;
use engine::Outcome;

fn main() -> Outcome<()> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    if matches!(arguments.verb.as_str(), "one" | "floor" | "run" | "memory") {
        std::fs::create_dir_all(&arguments.dir)?;
    }
    match arguments.verb.as_str() {
        "one" => one(&arguments),
        "floor" => floor::run(&arguments.dir, &arguments.scale, &arguments.workloads, &mut |row| {
            say(&arguments, row);
        }),
        "run" => {
            let results = rounds::run(&arguments)?;
            report::write(&results, &arguments.docs)?;
            Ok(resident::judge(&report::rows(&results)?)?)
        }
        "memory" => memory::run(&arguments, &mut |row| say(&arguments, row)),
        "report" => {
            report::write(&rounds::results(&arguments.results, &arguments.run), &arguments.docs)
        }
        "write-until-killed" => write_until_killed(&arguments),
        _ => {
            print!("{}", arguments::HELP);
            Ok(())
        }
    }
}

/// One engine's turn: what was asked, in the order in which it was asked.
fn one(arguments: &Arguments) -> Outcome<()> {
    let name = arguments.engine.as_deref().ok_or("say which --engine")?;
    // Names first: a typing mistake should not cost a fill.
    let workloads: Vec<_> = match arguments.workloads.is_empty() {
        true => workloads::ALL.iter().filter(|w| w.kind() == workloads::Base).collect(),
        false => arguments.workloads.iter().map(|w| workloads::find(w)).collect::<Outcome<_>>()?,
    };
    let mut store = store::Store::new(name, arguments.dir.join(name), arguments.quiet);
    for workload in workloads {
        let mut row = workload.run(&mut store, &arguments.scale)?;
        row.engine = name.into();
        say(arguments, row);
    }
    store.remove()
}

/// A row, for a person and for the program that collects them.
fn say(arguments: &Arguments, mut row: row::Row) {
    (row.run, row.round) = (arguments.run.clone(), arguments.round);
    eprintln!("{}", row.describe());
    if arguments.verbose {
        row.notes.iter().for_each(|note| eprintln!("    {note}"));
    }
    if arguments.json {
        println!("{}", row.to_json());
    }
}

/// The writer that [`workloads::open`] kills.
fn write_until_killed(arguments: &Arguments) -> Outcome<()> {
    let name = arguments.engine.as_deref().ok_or("say which --engine")?;
    let engine = engines::open(
        name,
        &engine::Opening {
            dir: arguments.dir.clone(),
            memory: arguments.scale.memory,
            durability: engine::Durability::Kernel,
            confined: false,
        },
    )?;
    workloads::open::write_until_killed(&*engine, arguments.scale.pairs)
}
