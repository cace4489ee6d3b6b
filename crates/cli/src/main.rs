//! The `tanada` command: serves a database, and works on one from a shell.
//!
//! One file a verb, under `verbs`; each says what it takes, does it through
//! [`target::Target`], and prints through [`terminal::Output`]. Only the
//! engine's and the server's public APIs are used.

mod failure;
mod units;
mod record;
mod terminal;
mod condition;
mod input;
mod place;
mod client;
mod target;
mod verbs;

use clap::{Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;
use verbs::{
    checkpoint, clock, compact, delete, dump, get, load, put, repair, scan, serve, stats, verify,
};

const LONG_ABOUT: &str = "\
Tanada is a persistent key-value store on a log-structured merge tree.

Every verb but `serve` and `repair` works on a directory (--data, ./data by
default) or on a running server (--url). A directory belongs to one process at a time: while
a server has it, use --url.

On a terminal answers are for people; otherwise, or with --json, for programs.
Exit code: 0 done, 1 not done (the reason is on standard error), 2 wrong usage, 3 not done
because the key is not as --if-absent or --if-version wants it.";

const EXAMPLES: &str = "\
A first minute:
  tanada put greeting hello
  tanada get greeting --explain
  tanada scan --limit 10
  tanada stats
  tanada serve

`tanada help VERB` shows more examples.";

/// A persistent key-value store on a log-structured merge tree
#[derive(Parser, Debug)]
#[command(name = "tanada", version, long_about = LONG_ABOUT, after_help = EXAMPLES)]
#[command(arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Serve(serve::Serve),
    Put(put::Put),
    Get(get::Get),
    Delete(delete::Delete),
    Scan(scan::Scan),
    Load(load::Load),
    Dump(dump::Dump),
    Stats(stats::Stats),
    Compact(compact::Compact),
    Checkpoint(checkpoint::Checkpoint),
    Verify(verify::Verify),
    Clock(clock::Clock),
    Repair(repair::Repair),
}

fn main() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(e) if e.kind() == clap::error::ErrorKind::InvalidUtf8 => {
            eprintln!(
                "error: an argument is not UTF-8; give such keys and values in base64, with --base64"
            );
            return ExitCode::from(2);
        }
        Err(e) => e.exit(),
    };
    // A table may have a file each: what is not allowed costs speed, so that it is not
    // allowed is no reason to stop.
    let _ = tanada::vfs::raise_descriptor_limit();
    let done = match command.verb {
        Verb::Serve(verb) => verb.run(),
        Verb::Put(verb) => verb.run(),
        Verb::Get(verb) => verb.run(),
        Verb::Delete(verb) => verb.run(),
        Verb::Scan(verb) => verb.run(),
        Verb::Load(verb) => verb.run(),
        Verb::Dump(verb) => verb.run(),
        Verb::Stats(verb) => verb.run(),
        Verb::Compact(verb) => verb.run(),
        Verb::Checkpoint(verb) => verb.run(),
        Verb::Verify(verb) => verb.run(),
        Verb::Clock(verb) => verb.run(),
        Verb::Repair(verb) => verb.run(),
    };
    match done {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Command::command().debug_assert();
    }

    #[test]
    fn a_directory_and_a_server_exclude_each_other() {
        assert!(
            Command::try_parse_from(["tanada", "get", "k", "--data", "d", "--url", "u"]).is_err()
        );
        assert!(Command::try_parse_from(["tanada", "get", "k", "--url", "http://x"]).is_ok());
    }

    #[test]
    fn every_verb_has_examples() {
        for verb in Command::command().get_subcommands() {
            assert!(verb.get_after_help().is_some(), "{} has no examples", verb.get_name());
        }
    }
}
