//! The command line.

pub(crate) const USAGE: &str = "\
usage: slashnet-sim [--seeds N] [--from K] [--jobs J] [--all]    play N seeds from K (200 from 0)
       slashnet-sim [--trace] [--packets] SEED                   replay one seed
  --jobs J    threads (default: one for each processor)
  --all       go on after a finding, and list all of them at the end
  --trace     show all events;  --packets  and all packets";
pub(crate) const EXIT_USAGE: u8 = 64;
/// More threads than any machine has processors.
const JOBS_MAX: u64 = 1024;

/// What is wanted.
pub(crate) struct Options {
    pub(crate) seeds: u64,
    pub(crate) from: u64,
    pub(crate) jobs: u64,
    pub(crate) all: bool,
    pub(crate) replay: Option<u64>,
    pub(crate) trace: bool,
    pub(crate) packets: bool,
}

impl Options {
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Self {
            seeds: 200,
            from: 0,
            jobs: processors as u64,
            all: false,
            replay: None,
            trace: false,
            packets: false,
        };
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            let mut number = |name: &str| -> Result<u64, String> {
                let text = args.next().ok_or(format!("{name} needs a number"))?;
                text.parse()
                    .map_err(|_| format!("{name}: `{text}` is not a number"))
            };
            match arg.as_str() {
                "--seeds" => options.seeds = number("--seeds")?,
                "--from" => options.from = number("--from")?,
                "--jobs" => options.jobs = number("--jobs")?.clamp(1, JOBS_MAX),
                "--all" => options.all = true,
                "--trace" => options.trace = true,
                "--packets" => options.packets = true,
                text => {
                    let seed = text.parse();
                    options.replay = Some(seed.map_err(|_| format!("`{text}` is not a seed"))?);
                }
            }
        }
        Ok(options)
    }
}
