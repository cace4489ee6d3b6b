//! The command line.

use crate::engine::Outcome;
use crate::workloads::Scale;
use std::path::PathBuf;
use std::time::Duration;

pub const HELP: &str = "\
The judge: the same workloads on Tanada and its peers.

Usage: tanada-bench <VERB> [FLAGS]

Verbs:
  one      Run --workloads on one --engine, in this process

Flags:
  --engine X          Which engine
  --workloads a,b,c   Which workloads, in this order (default: all but 20m)
  --pairs N           Pairs of 16 B + 100 B (default 2,000,000)
  --memory MIB        Budget of the warm workloads (default 1024)
  --time SECONDS      How long a workload of reads runs (default 3)
  --limit SECONDS     When a workload of so many operations is cut (default 60)
  --quiet SECONDS     How long nothing is written at rest (default 5)
  --dir DIR           Where databases are made (default: below the system's /tmp)
  --json              Print a JSON line a workload as well
  --verbose           Print settings and counters
";

/// What the command line asks for.
pub struct Arguments {
    pub verb: String,
    pub engine: Option<String>,
    pub workloads: Vec<String>,
    pub scale: Scale,
    pub quiet: Duration,
    pub dir: PathBuf,
    pub json: bool,
    pub verbose: bool,
    pub run: String,
    pub round: u64,
}

impl Arguments {
    pub fn parse(words: impl Iterator<Item = String>) -> Outcome<Arguments> {
        let mut words = words;
        let mut arguments = Arguments {
            verb: words.next().unwrap_or_default(),
            engine: None,
            workloads: Vec::new(),
            scale: Scale {
                pairs: 2_000_000,
                memory: 1 << 30,
                time: Duration::from_secs(3),
                limit: Duration::from_secs(60),
            },
            quiet: Duration::from_secs(5),
            dir: std::env::temp_dir().join("tanada-bench"),
            json: false,
            verbose: false,
            run: String::new(),
            round: 0,
        };
        while let Some(flag) = words.next() {
            match flag.as_str() {
                "--json" => arguments.json = true,
                "--verbose" => arguments.verbose = true,
                _ => {
                    let value = words.next().ok_or(format!("{flag} needs a value"))?;
                    arguments.set(&flag, value)?;
                }
            }
        }
        Ok(arguments)
    }

    fn set(&mut self, flag: &str, value: String) -> Outcome<()> {
        match flag {
            "--engine" => self.engine = Some(value),
            "--workloads" => self.workloads = value.split(',').map(str::to_owned).collect(),
            "--pairs" => self.scale.pairs = value.replace('_', "").parse()?,
            "--memory" => self.scale.memory = value.parse::<u64>()? << 20,
            "--time" => self.scale.time = Duration::from_secs_f64(value.parse()?),
            "--limit" => self.scale.limit = Duration::from_secs_f64(value.parse()?),
            "--quiet" => self.quiet = Duration::from_secs_f64(value.parse()?),
            "--dir" => self.dir = value.into(),
            "--run" => self.run = value,
            "--round" => self.round = value.parse()?,
            _ => return Err(format!("unknown flag {flag}").into()),
        }
        if self.scale.pairs < 2000 {
            return Err("--pairs: fewer than 2,000 measure nothing".into());
        }
        Ok(())
    }
}
