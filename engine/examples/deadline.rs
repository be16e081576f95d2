//! Requests with deadlines that differ: how many are missed, and what the answers are worth, where each run takes the best operating
//! point that there is time for, and where one point is fixed. Alone and beside a busy process a core.
//!
//!     cargo run --release -p horq --example deadline -- tuned.horq 100000
//!
//! Deadlines are drawn evenly between the 99.9th percentile of the fastest point's times and that of the slowest's, measured first, alone.

use horq::{Error, Model, RunOptions, Session, SessionOptions};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The argument with which this program starts itself as a busy neighbour.
const SPIN: &str = "--spin";
/// Runs of each point from which the range of deadlines is taken.
const FIRST: usize = 2000;

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

/// Numbers that look random, the same each time: splitmix64.
struct Draw(u64);

impl Draw {
    /// Evenly from 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == SPIN) {
        let end = Instant::now() + Duration::from_secs(3600);
        while Instant::now() < end {
            (0..10_000).for_each(|_| std::hint::spin_loop());
        }
        return Ok(());
    }
    let [path, requests, ..] = &arguments[..] else {
        return Err("give a file with operating points and a number".into());
    };
    let (model, requests) = (Model::open(path)?, requests.parse::<usize>()?);
    let cores = std::thread::available_parallelism()?.get();
    let mut session = Session::new(&model, SessionOptions::new())?;
    session.calibrate(Duration::from_millis(500))?;
    let range = range(&mut session, &model)?;
    println!(
        "{path}: {} points, {}, {requests} requests, deadlines from {:.1?} to {:.1?}, {cores} cores\n",
        model.points().all.len(),
        session.isa(),
        range[0],
        range[1]
    );
    println!(
        "| busy processes a core | point | missed | mean loss of the answers | mean order | p50, us | p99, us | p99.9, us |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for busy in [0, 1] {
        let _neighbours = Neighbours::new(busy * cores)?;
        serve(&mut session, &model, None, requests, range, busy)?;
        for point in &model.points().all {
            serve(&mut session, &model, Some(&point.name), requests, range, busy)?;
        }
    }
    Ok(())
}

/// The shortest and the longest deadline.
fn range(session: &mut Session, model: &Model) -> Result<[Duration; 2], Error> {
    let (input, mut output) = (vec![0.5; session.input_len()], vec![0.0; session.output_len()]);
    let mut highs = Vec::new();
    for point in &model.points().all {
        session.set_point(&point.name)?;
        let mut times = Vec::with_capacity(FIRST);
        for _ in 0..FIRST {
            let began = Instant::now();
            session.run(&input, &mut output)?;
            times.push(began.elapsed());
        }
        times.sort();
        highs.push(times[FIRST * 999 / 1000]);
    }
    let of = |pick: fn(Duration, Duration) -> Duration| highs.iter().copied().reduce(pick).unwrap_or_default();
    Ok([of(Duration::min), of(Duration::max)])
}

/// Answers the requests one after another, and prints how that went.
fn serve(
    session: &mut Session,
    model: &Model,
    point: Option<&str>,
    requests: usize,
    [least, most]: [Duration; 2],
    busy: usize,
) -> Result<(), Error> {
    let (input, mut output) = (vec![0.5; session.input_len()], vec![0.0; session.output_len()]);
    let points = &model.points().all;
    let highest = |node: &horq::graph::Node| Some((node.name.clone(), node.op.quantizer()?.order));
    let layers: Vec<(String, usize)> = model.graph().nodes.iter().filter_map(highest).collect();
    let order = |point: usize| {
        let of = |(name, most): &(String, usize)| points[point].orders.get(name).map_or(*most, |order| order.get());
        layers.iter().map(of).sum::<usize>() as f64 / layers.len() as f64
    };
    let (mut draw, mut missed, mut loss, mut orders) = (Draw(1), 0, 0.0, 0.0);
    let mut times = Vec::with_capacity(requests);
    for _ in 0..requests {
        let began = Instant::now();
        let mut options = RunOptions::new().deadline(began + least + (most - least).mul_f64(draw.next()));
        options.point = point;
        let outcome = session.run_within(&input, &mut output, &options);
        times.push(began.elapsed().as_nanos() as f64 / 1000.0);
        match outcome {
            Ok(answer) if !answer.is_late() => {
                loss += points[answer.point].loss.as_ref().map_or(0.0, |loss| loss.value);
                orders += order(answer.point);
            }
            Ok(_) | Err(Error::Interrupted(_)) => missed += 1,
            Err(error) => return Err(error),
        }
    }
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[(part * (times.len() - 1) as f64).round() as usize];
    let answered = (requests - missed).max(1) as f64;
    println!(
        "| {busy} | {} | {:.3} % | {:.3} | {:.2} | {:.1} | {:.1} | {:.1} |",
        point.unwrap_or("best in time"),
        100.0 * missed as f64 / requests as f64,
        loss / answered,
        orders / answered,
        at(0.5),
        at(0.99),
        at(0.999)
    );
    Ok(())
}
