//! Cold starts on VGG-small: the model's bytes to the first result, each time in a process of its own.

use super::cases::{Case, network_bytes, variant};
use super::install::{Installation, Peer};
use super::process::Failure;
use super::ratio::Spread;
use super::report::SUITE;
use super::{Hello, Request, Running, label};
use crate::cold::{Setup, starts};
use crate::harness::Harness;
use crate::networks::Network;
use crate::report::record::Record;
use crate::text;
use horq::escaped;
use horq_kernels::ScaleMode;
use horq_probe::clock::Timing;
use horq_probe::peak::Unit;
use serde::Deserialize;
use std::io::Write;
use std::time::Instant;

/// The network that starts.
pub(super) const NETWORK: Network = Network::VggSmall;
/// What the cases are called, behind the network.
pub(super) const SUFFIX: &str = "/cold";
/// The variants of peers that start; orders above 1 say nothing new.
const VARIANTS: [&str; 3] = ["binary1", "int8", "f32"];
/// Our session's order, of a model that holds as many.
const ORDER: usize = 2;
const TIMES: usize = 5;

#[derive(Deserialize)]
struct Cold {
    ns: f64,
}

/// Nanoseconds until the engine is there, and from there to the first result.
type Phases = [f64; 2];

/// Prints and keeps the cold starts of ours and of the peers.
///
/// # Errors
/// A message if ours fails or a line cannot be written.
pub(super) fn compare(harness: &mut Harness, installation: &Installation, peers: &[Running]) -> Result<(), String> {
    let case = Case::network(NETWORK);
    let isa = harness.isas[0];
    let unwritten = |error: std::io::Error| format!("cannot write a temporary file: {error}");
    let mut file = tempfile::NamedTempFile::new().map_err(unwritten)?;
    file.write_all(&network_bytes(NETWORK, ScaleMode::Fixed, ORDER)?).map_err(unwritten)?;
    let setup = Setup { order: ORDER, batch: 1, threads: 1, isa };
    let variants: Vec<(&Peer, &str)> = peers
        .iter()
        .flat_map(|running| VARIANTS.into_iter().map(|variant| (running.peer, variant)))
        .filter(|(peer, variant)| peer.variants.contains(variant))
        .collect();
    let mut ours: Vec<Phases> = Vec::new();
    let mut theirs: Vec<Vec<Phases>> = vec![vec![]; variants.len()];
    for turn in 1..=TIMES {
        harness.step(&format!("peers {}{SUFFIX}: turn {turn} of {TIMES}", case.name));
        let start = starts(file.path(), setup, 1)?;
        ours.extend(start.iter().map(|start| [start.started as f64, (start.answered - start.started) as f64]));
        for ((peer, variant), times) in variants.iter().zip(&mut theirs) {
            match start_cold(installation, peer, &case, variant) {
                Ok(phases) => times.push(phases),
                Err(reason) => harness.say(&format!("{}, cold: stopped: {}", label(peer, variant), escaped(&reason))),
            }
        }
    }
    let phase = |times: &[Phases], phase: usize| Spread::of(times.iter().map(|phases| phases[phase])).median;
    let first = |times: &[Phases]| times.iter().map(|phases| phases[1]).collect::<Vec<f64>>();
    let mut rows = vec![row(format!("horq fixed, order {ORDER}"), &phase, &ours, "-".into())];
    let name = format!("{}{SUFFIX}", case.name);
    let timing = |ns| Timing { ns, cycles: f64::NAN, spread: f64::NAN };
    let record = Record::new(SUITE, &name, "horq", Unit::Mixed, f64::NAN, timing(phase(&ours, 1)));
    let mut records = vec![record.on(isa).with_order(Some(ORDER), Some(ScaleMode::Fixed))];
    for ((peer, kind), times) in variants.iter().zip(&theirs).filter(|(_, times)| times.len() == TIMES) {
        let ratio = Spread::of_turns(&first(&ours), &first(times)).text();
        rows.push(row(label(peer, kind), &phase, times, ratio));
        let (unit, order) = variant(kind);
        let record = Record::new(SUITE, &name, peer.name, unit, f64::NAN, timing(phase(times, 1)));
        records.push(record.with_order(order, None));
    }
    let header = "engine | until it is there, ms | load and first result, ms | ours over theirs";
    harness.table(&format!("peers {name}: cold starts, a process each"), header, rows);
    records.into_iter().try_for_each(|record| harness.emit(record))
}

fn row(label: String, phase: &dyn Fn(&[Phases], usize) -> f64, times: &[Phases], ratio: String) -> Vec<String> {
    let ms = |index| text::number(Some(phase(times, index) / 1e6));
    vec![label, ms(0), ms(1), ratio]
}

/// One process from its start to the first result.
fn start_cold(installation: &Installation, peer: &Peer, case: &Case, variant: &str) -> Result<Phases, String> {
    let readable = |failure: Failure| failure.reason().to_owned();
    let start = Instant::now();
    let mut process = installation.start(peer)?;
    let _: Hello = process.ask(&Request::Hello).map_err(readable)?;
    let there = start.elapsed().as_nanos() as f64;
    let cold: Cold = process.ask(&Request::Cold { case, variant }).map_err(readable)?;
    Ok([there, cold.ns])
}
