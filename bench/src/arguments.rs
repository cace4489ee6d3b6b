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
  memory   Mixed work on one --engine, in this process, for --minutes; fails
           when it takes more memory than it may
  floor    What the machine can do: device, copying, maps in memory
  run      All engines, interleaved, rows appended to --results; then the report
  report   The report from the rows of --run, without measuring

Flags:
  --engine X           one: which engine
  --workloads a,b,c    Which workloads, in this order (default: all; one: but 20m)
  --only a,b,c         The same
  --engines a,b,c      run: which engines (default: all in this build)
  --rounds N           run: rounds (default 3; 1 of engines that are too slow)
  --large-rounds N     run: rounds of the 20m workloads (default 1)
  --quick              run: 1 round, a tenth of the pairs, a fraction of the time
  --run NAME           run, report: name of the run (default: commit and size)
  --results DIR        Rows, a file a run (default: bench/results)
  --docs DIR           Where the report goes (default: docs)
  --pairs N            Pairs of 16 B + 100 B (default 2,000,000)
  --memory MIB         Budget of the warm workloads (default 1024)
  --value-bytes N      memory: length of the values (default 300)
  --minutes N          memory: how long, in whole rounds of its workloads (default 10)
  --time SECONDS       How long a workload of reads runs (default 2)
  --limit SECONDS      When a workload of so many operations is cut (default 30)
  --quiet SECONDS      How long nothing is written at rest (default 5)
  --dir DIR            Where databases are made (default: below the system's /tmp)
  --json               one, floor: print a JSON line a workload as well
  --verbose            one: print settings and counters
";

/// What the command line asks for.
pub struct Arguments {
    pub verb: String,
    pub engine: Option<String>,
    pub workloads: Vec<String>,
    pub engines: Vec<String>,
    pub rounds: u64,
    pub large_rounds: u64,
    pub quick: bool,
    pub scale: Scale,
    pub quiet: Duration,
    /// Length of the values in mixed work.
    pub value_bytes: usize,
    /// How long mixed work goes on.
    pub mixed: Duration,
    pub dir: PathBuf,
    pub results: PathBuf,
    pub docs: PathBuf,
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
            engines: Vec::new(),
            rounds: 3,
            large_rounds: 1,
            quick: false,
            scale: Scale {
                pairs: 2_000_000,
                memory: 1 << 30,
                time: Duration::from_secs(2),
                limit: Duration::from_secs(30),
            },
            quiet: Duration::from_secs(5),
            value_bytes: 100,
            mixed: Duration::from_secs(600),
            dir: std::env::temp_dir().join("tanada-bench"),
            results: "bench/results".into(),
            docs: "docs".into(),
            json: false,
            verbose: false,
            run: String::new(),
            round: 0,
        };
        if arguments.verb == "memory" {
            arguments.mix();
        }
        while let Some(flag) = words.next() {
            match flag.as_str() {
                "--quick" => arguments.hurry(),
                "--json" => arguments.json = true,
                "--verbose" => arguments.verbose = true,
                _ => {
                    let value = words.next().ok_or(format!("{flag} needs a value"))?;
                    arguments.set(&flag, value)?;
                }
            }
        }
        if arguments.run.is_empty() {
            let size = if arguments.quick { "quick" } else { "full" };
            arguments.run = format!("{}-{size}", crate::machine::commit());
        }
        Ok(arguments)
    }

    /// The scale of mixed work: three times more data than memory.
    fn mix(&mut self) {
        self.scale.pairs = 3_000_000;
        self.scale.memory = 384 << 20;
        self.scale.time = Duration::from_secs(5);
        self.scale.limit = Duration::from_secs(300);
        self.value_bytes = 300;
    }

    /// Whether mixed work does without `workload`.
    pub fn skips(&self, workload: &str) -> bool {
        !self.workloads.is_empty() && !self.workloads.iter().any(|w| w == workload)
    }

    /// Enough to see that everything works, too little to quote.
    fn hurry(&mut self) {
        self.quick = true;
        (self.rounds, self.large_rounds) = (1, 1);
        self.scale.pairs = 200_000;
        self.scale.memory = 256 << 20;
        self.scale.time = Duration::from_millis(300);
        self.scale.limit = Duration::from_secs(4);
        self.quiet = Duration::from_millis(500);
    }

    /// The command that makes this run, as a user types it.
    pub fn command(&self) -> String {
        format!("cargo xtask bench{}", if self.quick { " --quick" } else { "" })
    }

    /// Flags that give a child process the same scale.
    pub fn scale_flags(&self, limit: Duration) -> Vec<String> {
        [
            ("--pairs", self.scale.pairs.to_string()),
            ("--memory", (self.scale.memory >> 20).to_string()),
            ("--time", self.scale.time.as_secs_f64().to_string()),
            ("--limit", limit.as_secs_f64().to_string()),
            ("--quiet", self.quiet.as_secs_f64().to_string()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    fn set(&mut self, flag: &str, value: String) -> Outcome<()> {
        match flag {
            "--engine" => self.engine = Some(value),
            "--workloads" | "--only" => self.workloads = list(&value),
            "--engines" => self.engines = list(&value),
            "--rounds" => self.rounds = value.parse()?,
            "--large-rounds" => self.large_rounds = value.parse()?,
            "--results" => self.results = value.into(),
            "--docs" => self.docs = value.into(),
            "--pairs" => self.scale.pairs = value.replace('_', "").parse()?,
            "--memory" => self.scale.memory = value.parse::<u64>()? << 20,
            "--time" => self.scale.time = Duration::from_secs_f64(value.parse()?),
            "--limit" => self.scale.limit = Duration::from_secs_f64(value.parse()?),
            "--quiet" => self.quiet = Duration::from_secs_f64(value.parse()?),
            "--value-bytes" => self.value_bytes = value.parse()?,
            "--minutes" => self.mixed = Duration::from_secs_f64(value.parse::<f64>()? * 60.0),
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

fn list(value: &str) -> Vec<String> {
    value.split(',').map(str::to_owned).collect()
}
