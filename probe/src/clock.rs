//! Time and core cycles of short pieces of work, on machines that others use at the same time (`docs/measuring.md`).

use std::time::{Duration, Instant};

/// What one run of a piece of work took.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Nanoseconds: CPU time of the thread where one thread works, wall time where several do.
    pub ns: f64,
    /// Core cycles; not a number where there is no way to know them.
    pub cycles: f64,
    /// How much longer than this others took that were measured beside it (of one turn the median sample, of several rounds the
    /// slowest one), as a part of this; not a number where nobody knows.
    pub spread: f64,
}

impl Timing {
    /// How many times longer this is than another: by cycles where they are known, because the frequency may have changed in
    /// between.
    pub fn over(self, other: Self) -> f64 {
        let by_cycles = self.cycles / other.cycles;
        if by_cycles.is_nan() { self.ns / other.ns } else { by_cycles }
    }

    /// The shorter of two.
    pub fn min(self, other: Self) -> Self {
        if self.over(other) > 1.0 { other } else { self }
    }

    /// The time of `share` of the work.
    pub fn scale(self, share: f64) -> Self {
        Self { ns: self.ns * share, cycles: self.cycles * share, spread: self.spread }
    }
}

/// Which clock to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ClockChoice {
    /// Perf events where the kernel allows them, else time.
    Auto,
    /// Perf events, or an error.
    Perf,
    /// CPU time of the thread (wall time on several threads) and the frequency of a dependent chain.
    Time,
}

/// Which time a sample takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// What the scheduler gave this thread: does not run while another process has the core.
    #[cfg(unix)]
    Thread,
    /// What passed.
    Wall,
}

impl Watch {
    /// The best one for work on so many threads.
    fn for_threads(threads: usize) -> Self {
        #[cfg(unix)]
        if threads == 1 {
            return Self::Thread;
        }
        let _ = threads;
        Self::Wall
    }

    const fn name(self) -> &'static str {
        match self {
            #[cfg(unix)]
            Self::Thread => "cpu-time",
            Self::Wall => "time",
        }
    }

    /// Nanoseconds since some point in the past.
    fn now(self) -> f64 {
        match self {
            #[cfg(unix)]
            Self::Thread => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
            }
            Self::Wall => {
                static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
                START.elapsed().as_nanos() as f64
            }
        }
    }

    /// What reading it twice costs.
    fn overhead(self) -> f64 {
        (0..1000).map(|_| -(self.now() - self.now())).fold(f64::INFINITY, f64::min)
    }
}

/// Counts cycles: by perf events where the kernel allows it, else as time multiplied by the frequency of the core, which a
/// chain of dependent instructions measures right before and after each sample.
pub struct Clock {
    #[cfg(target_os = "linux")]
    counter: Option<perf_event::Counter>,
    watch: Watch,
    /// What reading the watch twice costs.
    watch_overhead: f64,
    /// What reading the wall clock twice costs; the chains are timed by it, because it is the quicker one to read.
    wall_overhead: f64,
    source: String,
    samples: u64,
    /// Samples in which something else had the core for a while.
    disturbed: u64,
}

/// How often a piece of work runs in one sample, which its first turn finds out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repeats {
    times: u64,
    /// One sample takes so long that it warms itself.
    long: bool,
}

/// A sample shorter than this is repeated inside one reading of the clock, which costs some tens of nanoseconds by time and
/// some microseconds by perf events.
const SHORTEST_SAMPLE: Duration = Duration::from_micros(40);

impl Clock {
    /// Opens the clock for work on so many threads.
    ///
    /// # Errors
    /// If perf events are demanded and the kernel refuses them, or on several threads, of which a counter counts one.
    pub fn open(choice: ClockChoice, threads: usize) -> Result<Self, String> {
        let choice = match choice {
            ClockChoice::Perf if threads > 1 => return Err("--clock perf counts one thread only; leave it out".into()),
            ClockChoice::Auto if threads > 1 => ClockChoice::Time,
            choice => choice,
        };
        let watch = Watch::for_threads(threads);
        let mut clock = Self {
            #[cfg(target_os = "linux")]
            counter: None,
            watch,
            watch_overhead: watch.overhead(),
            wall_overhead: Watch::Wall.overhead(),
            source: String::new(),
            samples: 0,
            disturbed: 0,
        };
        if choice != ClockChoice::Time {
            match clock.open_counter() {
                Ok(()) => {
                    clock.source = "perf".into();
                    return Ok(clock);
                }
                Err(error) if choice == ClockChoice::Perf => {
                    return Err(format!(
                        "no cycle counter: {error}; use `--clock time`, or allow perf events (kernel.perf_event_paranoid, CAP_PERFMON)"
                    ));
                }
                Err(_) => {}
            }
        }
        clock.source = clock.check_chains();
        Ok(clock)
    }

    /// Where cycles come from: `perf`, `cpu-time` or `time`, perhaps with a remark.
    pub fn source(&self) -> &str {
        &self.source
    }

    #[cfg(target_os = "linux")]
    fn open_counter(&mut self) -> std::io::Result<()> {
        use perf_event::{Builder, events::Hardware};
        let mut counter = Builder::new(Hardware::CPU_CYCLES).build()?;
        // Some hypervisors hand out a counter that stands still, so it has to agree with a chain of known length.
        counter.enable()?;
        chain::rotates(CHAIN_ROUNDS);
        counter.disable()?;
        let (counted, known) = (counter.read()? as f64, chain::ROTATES_CYCLES * CHAIN_ROUNDS as f64);
        if chain::KNOWN && !(0.9..2.0).contains(&(counted / known)) {
            return Err(std::io::Error::other(format!("the counter says {counted} for a chain of {known} cycles")));
        }
        self.counter = Some(counter);
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn open_counter(&mut self) -> std::io::Result<()> {
        Err(std::io::Error::other("perf events exist on Linux only"))
    }

    /// The name of the time clock, with a remark where the two chains do not agree about the frequency.
    fn check_chains(&self) -> String {
        if !chain::KNOWN {
            return format!("{} (no cycles: this architecture has no chain of known length)", self.watch.name());
        }
        let rotates = self.gigahertz();
        let products = self.frequency(chain::products, chain::PRODUCTS_CYCLES);
        if (rotates / products - 1.0).abs() < 0.02 {
            self.watch.name().into()
        } else {
            let name = self.watch.name();
            format!("{name} (chains disagree: rotates {rotates:.2} GHz, products {products:.2} GHz)")
        }
    }

    /// The core's frequency now; not a number where no chain of known length exists.
    pub fn gigahertz(&self) -> f64 {
        if chain::KNOWN { self.frequency(chain::rotates, chain::ROTATES_CYCLES) } else { f64::NAN }
    }

    /// An interruption only ever makes the chain look slower, so the fastest of a few short ones is the frequency.
    fn frequency(&self, chain: fn(u64), cycles_per_round: f64) -> f64 {
        let segment = |_| {
            let start = Watch::Wall.now();
            chain(CHAIN_ROUNDS);
            cycles_per_round * CHAIN_ROUNDS as f64 / (Watch::Wall.now() - start - self.wall_overhead)
        };
        (0..4).map(segment).fold(0.0, f64::max)
    }

    /// One sample of `times` runs, and whether nothing disturbed it.
    fn sample(&mut self, times: u64, work: &mut dyn FnMut()) -> (Timing, bool) {
        #[cfg(target_os = "linux")]
        if self.counter.is_some() {
            return (self.counted(times, work).expect("a counter that was opened can be read"), true);
        }
        let before = self.gigahertz();
        let (wall, start) = (Watch::Wall.now(), self.watch.now());
        (0..times).for_each(|_| work());
        let ns = self.watch.now() - start - self.watch_overhead;
        let wall = Watch::Wall.now() - wall - self.watch_overhead - self.wall_overhead;
        // The larger of the two: a frequency measured too low would make the work look faster than it is.
        let gigahertz = before.max(self.gigahertz());
        // Where another process or another guest had the core in between, the accounts of CPU time are rough.
        let undisturbed = (wall - ns).abs() < 0.02 * ns;
        self.samples += 1;
        self.disturbed += u64::from(!undisturbed);
        let ns = if undisturbed { ns.max(wall) } else { ns };
        (Timing { ns, cycles: ns * gigahertz, spread: f64::NAN }.scale(1.0 / times as f64), undisturbed)
    }

    #[cfg(target_os = "linux")]
    fn counted(&mut self, times: u64, work: &mut dyn FnMut()) -> std::io::Result<Timing> {
        let counter = self.counter.as_mut().expect("only called with a counter");
        counter.reset()?;
        counter.enable()?;
        let start = self.watch.now();
        (0..times).for_each(|_| work());
        let ns = self.watch.now() - start - self.watch_overhead;
        counter.disable()?;
        Ok(Timing { ns, cycles: counter.read()? as f64, spread: f64::NAN }.scale(1.0 / times as f64))
    }

    /// The part of all samples so far in which something else had the core for a while; none if this clock does not see that.
    pub fn disturbed(&self) -> Option<f64> {
        (self.samples > 0 && self.watch != Watch::Wall).then(|| self.disturbed as f64 / self.samples as f64)
    }

    /// The best of as many samples as fit into `budget`, at least one, after a warm run.
    pub fn best(&mut self, budget: Duration, work: &mut dyn FnMut()) -> Timing {
        self.turn(budget, &mut Repeats::default(), work)
    }

    /// The same for work that gets several turns.
    pub fn turn(&mut self, budget: Duration, repeats: &mut Repeats, work: &mut dyn FnMut()) -> Timing {
        let end = Instant::now() + budget;
        let times = repeats.warm(budget, work);
        let mut best = Best::default();
        while best.0.is_empty() || Instant::now() < end {
            best.add(self.sample(times, work));
        }
        best.timing()
    }

    /// The best samples of two pieces of work within `budget`, one after the other, so that both see the same frequency and
    /// neighbours. The first one is short, and its samples are several even where the second one takes all the time.
    pub fn turn_beside(
        &mut self,
        budget: Duration,
        [first_repeats, second_repeats]: [&mut Repeats; 2],
        first: &mut dyn FnMut(),
        second: &mut dyn FnMut(),
    ) -> (Timing, Timing) {
        const FEWEST_OF_FIRST: usize = 8;
        let end = Instant::now() + budget;
        let times = [first_repeats.warm(budget, first), second_repeats.warm(budget, second)];
        let mut best = [Best::default(), Best::default()];
        while best[1].0.is_empty() || Instant::now() < end {
            best[0].add(self.sample(times[0], first));
            best[1].add(self.sample(times[1], second));
        }
        while best[0].0.len() < FEWEST_OF_FIRST {
            best[0].add(self.sample(times[0], first));
        }
        let [first, second] = best.map(Best::timing);
        (first, second)
    }
}

impl Repeats {
    /// Warms the work up for a turn of `budget`; how often it runs in a sample.
    fn warm(&mut self, budget: Duration, work: &mut dyn FnMut()) -> u64 {
        if self.times == 0 {
            let start = Instant::now();
            self.times = runs_per_sample(work);
            self.long = start.elapsed() > budget / 4;
        } else if !self.long {
            (0..self.times).for_each(|_| work());
        }
        self.times
    }
}

/// The samples so far, and whether something disturbed each.
#[derive(Default)]
struct Best(Vec<(Timing, bool)>);

impl Best {
    fn add(&mut self, sample: (Timing, bool)) {
        self.0.push(sample);
    }

    /// The sample that a twentieth of the undisturbed ones are faster than; of fewer than twenty, the fastest. A lone sample
    /// faster than the machine allows is a frequency that changed between its measurements. If all were disturbed, all count.
    fn timing(self) -> Timing {
        let any_undisturbed = self.0.iter().any(|&(_, undisturbed)| undisturbed);
        let counts = |&(timing, undisturbed): &(Timing, bool)| (undisturbed || !any_undisturbed).then_some(timing);
        let mut samples: Vec<Timing> = self.0.iter().filter_map(counts).collect();
        let length = |timing: &Timing| if timing.cycles.is_nan() { timing.ns } else { timing.cycles };
        samples.sort_by(|a, b| length(a).total_cmp(&length(b)));
        let (best, median) = (samples[samples.len() / 20], samples[samples.len() / 2]);
        Timing { spread: length(&median) / length(&best) - 1.0, ..best }
    }
}

/// How often to run `work` for one sample; also warms it up.
fn runs_per_sample(work: &mut dyn FnMut()) -> u64 {
    let mut times = 1;
    loop {
        let start = Instant::now();
        (0..times).for_each(|_| work());
        if start.elapsed() >= SHORTEST_SAMPLE || times >= 1 << 12 {
            return times;
        }
        times *= 2;
    }
}

/// Some five microseconds a segment: long beside the timer, short beside a scheduler's slice.
const CHAIN_ROUNDS: u64 = 400;

/// Chains of dependent instructions whose length in cycles is known. Additions of constants will not do: recent cores
/// (Golden Cove) fold them into the register renaming, and the chain shows a frequency several times too high.
#[cfg(target_arch = "x86_64")]
mod chain {
    use std::arch::asm;

    pub(super) const KNOWN: bool = true;
    /// A rotate and an xor take one cycle each, on every core of the last fifteen years.
    pub(super) const ROTATES_CYCLES: f64 = 48.0;
    /// A 64-bit product takes three cycles on Intel cores since Nehalem and AMD's since Zen; five on Intel's small cores.
    pub(super) const PRODUCTS_CYCLES: f64 = 48.0;

    pub(super) fn rotates(rounds: u64) {
        // SAFETY: registers only, and the loop ends after `rounds` rounds.
        unsafe {
            asm!("2:", ".rept 16", "ror {x}, 7", "xor {x}, {y}", "ror {x}, 11", ".endr", "dec {n}", "jnz 2b",
                n = inout(reg) rounds.max(1) => _, x = inout(reg) 3u64 => _, y = in(reg) 5u64, options(nomem, nostack));
        }
    }

    pub(super) fn products(rounds: u64) {
        // SAFETY: registers only, and the loop ends after `rounds` rounds.
        unsafe {
            asm!("2:", ".rept 16", "imul {x}, {y}", ".endr", "dec {n}", "jnz 2b",
                n = inout(reg) rounds.max(1) => _, x = inout(reg) 3u64 => _, y = in(reg) 5u64, options(nomem, nostack));
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod chain {
    use std::arch::asm;

    pub(super) const KNOWN: bool = true;
    /// A rotate and an exclusive or take one cycle each.
    pub(super) const ROTATES_CYCLES: f64 = 48.0;
    /// A 64-bit product takes three cycles on Apple's and most of Arm's large cores, two on the latest, four on small ones.
    pub(super) const PRODUCTS_CYCLES: f64 = 48.0;

    pub(super) fn rotates(rounds: u64) {
        // SAFETY: registers only, and the loop ends after `rounds` rounds.
        unsafe {
            asm!("2:", ".rept 16", "ror {x}, {x}, #7", "eor {x}, {x}, {y}", "ror {x}, {x}, #11", ".endr",
                "subs {n}, {n}, #1", "b.ne 2b",
                n = inout(reg) rounds.max(1) => _, x = inout(reg) 3u64 => _, y = in(reg) 5u64, options(nomem, nostack));
        }
    }

    pub(super) fn products(rounds: u64) {
        // SAFETY: registers only, and the loop ends after `rounds` rounds.
        unsafe {
            asm!("2:", ".rept 16", "mul {x}, {x}, {y}", ".endr", "subs {n}, {n}, #1", "b.ne 2b",
                n = inout(reg) rounds.max(1) => _, x = inout(reg) 3u64 => _, y = in(reg) 5u64, options(nomem, nostack));
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod chain {
    pub(super) const KNOWN: bool = false;
    pub(super) const ROTATES_CYCLES: f64 = f64::NAN;
    pub(super) const PRODUCTS_CYCLES: f64 = f64::NAN;
    pub(super) fn rotates(_: u64) {}
    pub(super) fn products(_: u64) {}
}
