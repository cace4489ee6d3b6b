//! `tanada-stress`: the real server, killed, cut off and starved, while clients
//! write and read; and what must be left, judged.
//!
//! The promise that is checked stands in [`promise`], the order of what clients
//! saw in [`linearizability`]; both are pure. [`operation`] and [`stamp`] say
//! what is written, [`workload`] does it, [`history`] keeps what was seen,
//! [`journal`] does so on disk. [`lives`] puts them together; the modes are one
//! file each. What a mode needs of the machine is in [`server`], [`disks`] and
//! [`power_cut`].

mod failure;
mod stamp;
mod operation;
mod history;
mod linearizability;
mod promise;
mod client;
mod journal;
mod workload;
mod contents;
mod shifted_clock;
mod server;
mod power_cut;
mod disks;
mod rig;
mod lives;
mod kill;
mod power;
mod fsync;
mod full;
mod descriptors;
mod readonly;
mod memory;
mod soak;

use clap::{Parser, ValueEnum};
use failure::{Failure, Result};
use rig::{Options, Rig};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use tanada_vfs::Env;

/// The machine lacks what the mode needs, and `--require` was not given. The
/// number is that of automake for a skipped test.
const LACKING: u8 = 77;

/// Set for a run that has mounts of its own already.
const OWN_MOUNTS: &str = "TANADA_STRESS_OWN_MOUNTS";

const EXAMPLES: &str = "\
Examples:
  tanada-stress kill --count 100
  tanada-stress power --count 10 --seed 7
  tanada-stress soak                              an hour of everything, on one database
  tanada-stress kill --count 100 --dir run        a journal stays in run/
  tanada-stress kill --count 100 --dir run --resume --seed 7

Exit code: 0 all promises were kept, 1 one was broken or the run could not go
on, 2 wrong usage, 77 the machine lacks what the mode needs (1 with --require).";

/// Kills, power cuts, failed syncs and full disks for the real server
///
/// Clients write and read over HTTP; whatever happens to the server, what it
/// acknowledged must be there afterwards, and nothing that nobody wrote.
#[derive(Parser, Debug)]
#[command(name = "tanada-stress", version, after_help = EXAMPLES)]
struct Arguments {
    /// What happens to the server
    #[arg(value_enum)]
    mode: Mode,

    /// How many times [default: by mode]
    #[arg(long, value_name = "N")]
    count: Option<u32>,

    /// What decides operations, options and ends [default: random]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Clients at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: u32,

    /// The server's binary [default: tanada beside this one]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,

    /// Where to work; empty, or made [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Go on with what a run of `kill` that died left in --dir
    #[arg(long, requires_all = ["dir", "seed"])]
    resume: bool,

    /// Fail where the machine lacks something, instead of exit code 77
    #[arg(long)]
    require: bool,

    /// In this life of the server kill this program too, to try --resume
    #[arg(long, value_name = "LIFE", hide = true)]
    die_in: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// SIGKILL, again and again
    Kill,
    /// The power of its file system is cut (root, loop devices)
    Power,
    /// Syncs fail (root, loop devices)
    Fsync,
    /// The disk is full (root)
    Full,
    /// There are no more file descriptors
    Descriptors,
    /// Its file system turns read-only (root, loop devices)
    Readonly,
    /// Load and large values, within its memory budget; --count is seconds
    Memory,
    /// All of these on one database, with clocks, quiet spells, copies and queues; --count is
    /// minutes (root for what root needs)
    Soak,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Kill => "kill",
            Mode::Power => "power",
            Mode::Fsync => "fsync",
            Mode::Full => "full",
            Mode::Descriptors => "descriptors",
            Mode::Readonly => "readonly",
            Mode::Memory => "memory",
            Mode::Soak => "soak",
        }
    }

    fn default_count(self) -> u32 {
        match self {
            Mode::Kill => 100,
            Mode::Power => 20,
            Mode::Memory => 45,
            Mode::Soak => 60,
            Mode::Fsync | Mode::Full | Mode::Descriptors | Mode::Readonly => 5,
        }
    }

    fn mounts(self) -> bool {
        !matches!(self, Mode::Kill | Mode::Descriptors | Mode::Memory | Mode::Soak)
    }

    fn run(self, rig: &mut Rig) -> Result<()> {
        match self {
            Mode::Kill => kill::run(rig),
            Mode::Power => power::run(rig),
            Mode::Fsync => fsync::run(rig),
            Mode::Full => full::run(rig),
            Mode::Descriptors => descriptors::run(rig),
            Mode::Readonly => readonly::run(rig),
            Mode::Memory => memory::run(rig),
            Mode::Soak => soak::run(rig),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.resume && arguments.mode != Mode::Kill {
        eprintln!("error: only kill can be resumed; leave out --resume");
        return ExitCode::from(2);
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Lacking(what)) => {
            eprintln!("==================================================================");
            eprintln!(
                "NOT RUN: tanada-stress {}: this machine lacks {what}",
                arguments.mode.name()
            );
            eprintln!("==================================================================");
            ExitCode::from(if arguments.require { 1 } else { LACKING })
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let mode = arguments.mode;
    if mode.mounts() {
        disks::need_root()?;
        own_mounts()?;
    }
    if mode == Mode::Soak && (arguments.require || disks::need_root().is_ok()) {
        disks::need_root()?;
        own_mounts()?;
    }
    let beside = || {
        let own = std::env::current_exe()?;
        Ok::<_, std::io::Error>(own.with_file_name("tanada"))
    };
    let server = match &arguments.server {
        Some(server) => std::path::absolute(server)?,
        None => beside()?,
    };
    let mut rig = Rig::new(Options {
        mode: mode.name(),
        seed: arguments.seed.unwrap_or_else(|| Env::real().random_u64() >> 32),
        count: arguments.count.unwrap_or(mode.default_count()),
        clients: arguments.clients,
        server,
        dir: arguments.dir.as_ref().map(std::path::absolute).transpose()?,
        resume: arguments.resume,
        die_in: arguments.die_in,
        require: arguments.require,
    })?;
    let outcome = mode.run(&mut rig);
    rig.end(outcome)
}

/// Begins again in a mount namespace of its own: what is mounted there is seen
/// by nobody else, and is gone when the run and its servers are, however they end.
fn own_mounts() -> Result<()> {
    if std::env::var_os(OWN_MOUNTS).is_some() {
        return Ok(());
    }
    let namespace = ["--mount", "--propagation", "private", "--"];
    disks::tool("unshare", &[&namespace[..], &["true"]].concat())
        .map_err(|e| Failure::lacking(format!("a mount namespace of its own ({e})")))?;
    let own = std::env::current_exe()?;
    let failed = Command::new("unshare")
        .args(namespace)
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(OWN_MOUNTS, "yes")
        .exec();
    Err(Failure::lacking(format!("unshare, of util-linux ({failed})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
        assert!(Arguments::try_parse_from(["tanada-stress", "kill", "--resume"]).is_err());
    }

    #[test]
    fn every_mode_is_called_what_its_ledger_line_says() {
        for mode in Mode::value_variants() {
            let called = mode.to_possible_value().expect("none is hidden");
            assert_eq!(called.get_name(), mode.name());
        }
    }
}
