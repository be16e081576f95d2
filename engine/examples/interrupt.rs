//! How long a run goes on after it was called off: from a token's cancellation and from a deadline to the return of
//! `Session::run_with`, at 3 x 3 layers of 14 x 14 x 256.
//!
//! `cargo run --release --example interrupt -- [ROUNDS]`

use horq::graph::{Op, Shape};
use horq::ops::{Basis, BinaryConv2d, Conv2d, Quantizer};
use horq::{
    Builder, CancelToken, ErrorKind, Model, Order, PlainValues, RunOptions, ScaleMode, Session, SessionOptions,
    Threads, Window,
};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CHANNELS: usize = 256;
const SHAPE: Shape = Shape::Image { height: 14, width: 14, channels: CHANNELS };
/// Layers one behind the other.
const LAYERS: usize = 4;
/// Samples of a run: far more than come through before it is called off.
const BATCH: usize = 2000;

fn main() -> Result<(), Box<dyn Error>> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(1000), |count| count.parse())?;
    let weight: Vec<f32> = (0..CHANNELS * 9 * CHANNELS).map(|i| (i * 37 % 101) as f32 / 50.5 - 1.0).collect();
    let alpha = vec![1.0 / (9 * CHANNELS) as f32; CHANNELS];
    let window = Window::square(3).with_padding(1);
    let binary = |order| -> Result<Op<PlainValues<'_>>, horq::Error> {
        let quantize = Quantizer::new(Order::new(order)?, ScaleMode::Image);
        Ok(BinaryConv2d::new(window, CHANNELS, quantize, [Basis::new(&weight, &alpha)]).into())
    };
    let float = Conv2d::new(window, CHANNELS, &weight).bias(&alpha).into();
    let input: Vec<f32> = (0..BATCH * SHAPE.len()).map(|i| (i * 53 % 97) as f32 / 48.5 - 1.0).collect();

    println!("from the call to the end, in microseconds, {rounds} runs each\n");
    println!("| layers | threads | ended by | p50 | p99 | most |");
    println!("|---|---:|---|---:|---:|---:|");
    for (name, op) in [("binary, order 1", binary(1)?), ("binary, order 4", binary(4)?), ("float", float)] {
        let model = model(&op)?;
        for threads in [1, 2] {
            let options = SessionOptions::new().batch(BATCH).threads(Threads::Own(threads));
            let mut session = Session::new(&model, options)?;
            let mut output = vec![0.0; BATCH * session.output_len()];
            let mut run = |options: &RunOptions<'_>| match session.run_with(&input, &mut output, options) {
                Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Instant::now()),
                Err(error) => Err(error.to_string()),
                Ok(()) => Err("a run came to its end before it was called off".into()),
            };
            let mut late = Vec::with_capacity(rounds);
            for round in 0..rounds {
                let deadline = Instant::now() + after(round);
                late.push(run(&RunOptions::new().deadline(deadline))?.saturating_duration_since(deadline));
            }
            report(name, threads, "deadline", &mut late);
            for round in 0..rounds {
                late.push(cancelled(after(round), &mut run)?);
            }
            report(name, threads, "token", &mut late);
        }
    }
    Ok(())
}

/// When the run of that round is called off: anywhere in a layer, after the input was looked at.
fn after(round: usize) -> Duration {
    Duration::from_micros(150_000 + (round as u64 * 7919) % 3000)
}

/// How long a run takes after another thread has cancelled it.
fn cancelled(
    after: Duration,
    run: &mut impl FnMut(&RunOptions<'_>) -> Result<Instant, String>,
) -> Result<Duration, String> {
    let (token, begun) = (CancelToken::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            while !begun.load(Ordering::Acquire) {
                thread::yield_now();
            }
            thread::sleep(after);
            let now = Instant::now();
            token.cancel();
            now
        });
        begun.store(true, Ordering::Release);
        let end = run(&RunOptions::new().cancel(&token));
        let called = other.join().map_err(|_| "the other thread panicked")?;
        Ok(end?.saturating_duration_since(called))
    })
}

fn model(op: &Op<PlainValues<'_>>) -> Result<Model, horq::Error> {
    let mut builder = Builder::new("x", SHAPE);
    let mut before = "x".to_owned();
    for layer in 0..LAYERS {
        let name = format!("layer{layer}");
        builder.add(&name, &[&before], op.clone())?;
        before = name;
    }
    Model::from_bytes(&builder.to_bytes(&before)?)
}

fn report(name: &str, threads: usize, by: &str, late: &mut Vec<Duration>) {
    late.sort();
    let at = |share: usize| late.get((late.len() * share / 100).min(late.len().saturating_sub(1)));
    let micros = |share| at(share).map_or(0.0, |late| late.as_secs_f64() * 1e6);
    println!("| {name} | {threads} | {by} | {:.0} | {:.0} | {:.0} |", micros(50), micros(99), micros(100));
    late.clear();
}
