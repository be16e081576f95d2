//! What a caller waits for an answer while others use the same cores: the middle, 99th and 99.9th percentile of single runs, alone and beside
//! two and four busy processes a core, on the calling thread and with threads.
//!
//!     cargo run --release -p horq --example latency -- models/lenet5.horq models/vgg-small.horq

use horq::{Error, Isa, Model, Session, SessionOptions, Threads};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The argument with which this program starts itself as a busy neighbour.
const SPIN: &str = "--spin";
/// Runs are timed for so long, each case.
const BUDGET: Duration = Duration::from_secs(4);

/// Busy processes, which end with it.
struct Neighbours(Vec<Child>);

impl Neighbours {
    fn new(count: usize) -> std::io::Result<Self> {
        let program = std::env::current_exe()?;
        let spin = |_| Command::new(&program).arg(SPIN).spawn();
        (0..count).map(spin).collect::<Result<_, _>>().map(Self)
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended by itself is none to end.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == SPIN) {
        let end = Instant::now() + Duration::from_secs(600);
        while Instant::now() < end {
            (0..10_000).for_each(|_| std::hint::spin_loop());
        }
        return Ok(());
    }
    let cores = std::thread::available_parallelism()?.get();
    println!("{} on {cores} cores; microseconds a run of one sample\n", Isa::from_env().map_err(Error::from)?);
    println!("| model | threads | busy processes a core | p50 | p99 | p99.9 | longest | runs |");
    println!("|---|---|---|---|---|---|---|---|");
    for path in &arguments {
        let model = Model::open(path)?;
        for threads in [1, cores] {
            for busy in [0, 2, 4] {
                let _neighbours = Neighbours::new(busy * cores)?;
                let times = times(&model, threads)?;
                let at = |part: f64| times[(part * (times.len() - 1) as f64).round() as usize];
                println!(
                    "| {path} | {threads} | {busy} | {:.1} | {:.1} | {:.1} | {:.1} | {} |",
                    at(0.5),
                    at(0.99),
                    at(0.999),
                    at(1.0),
                    times.len()
                );
            }
        }
    }
    Ok(())
}

/// Microseconds of single runs, the shortest first, with a pause between them as a service has.
fn times(model: &Model, threads: usize) -> Result<Vec<f64>, Error> {
    let mut session = Session::new(model, SessionOptions::new().threads(Threads::Own(threads)))?;
    let (input, mut output) = (vec![0.5; session.input_len()], vec![0.0; session.output_len()]);
    for _ in 0..100 {
        session.run(&input, &mut output)?;
    }
    let (mut times, end) = (Vec::with_capacity(1 << 16), Instant::now() + BUDGET);
    while Instant::now() < end && times.len() < times.capacity() {
        let start = Instant::now();
        session.run(&input, &mut output)?;
        times.push(start.elapsed().as_nanos() as f64 / 1000.0);
        std::thread::sleep(Duration::from_micros(200));
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
