//! The suite `peers`: what a user could pick instead, on the same cases, in turns with ours.
//!
//! Each peer runs in a process of its own (`bench/peers/`), which holds its models ready and waits. A turn goes once through all of
//! ours and all of theirs, so that they see the same clock rate and neighbours, and what counts is the quotient within a turn.

mod cases;
mod cold;
mod figures;
mod install;
mod process;
mod ratio;
mod report;

use crate::harness::Harness;
use crate::report::crossover;
use crate::report::record::{self, Record};
use cases::{Case, Kind, ORDERS, Ours};
use clap::Args;
use horq::escaped;
use horq_kernels::ScaleMode;
use horq_probe::peak::Unit;
use install::{Installation, PEERS, Peer};
use process::{Failure, Process};
use ratio::Spread;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use figures::{caption, figures};

/// The options of the suite.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Where the peers are, each with a Python environment of its own
    #[arg(long, value_name = "DIR", default_value = "horq-bench-peers")]
    folder: PathBuf,
    /// First install there what is missing: some 2 GB, by pip
    #[arg(long)]
    install: bool,
    /// The Python that makes the environments; Larq Compute Engine needs 3.8 to 3.12
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,
    /// Only these peers
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = peer)]
    only: Vec<&'static Peer>,
    /// Only the cases whose name holds one of these
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    case: Vec<String>,
    /// How often ours and theirs take turns
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(3..=1000))]
    turns: u16,
    /// Compare the answers of the peers with numpy, too
    #[arg(long)]
    check: bool,
}

fn peer(name: &str) -> Result<&'static Peer, String> {
    let names = || PEERS.map(|peer| peer.name).join(", ");
    PEERS.iter().find(|peer| peer.name == name).ok_or_else(|| format!("the peers are {}", names()))
}

/// What a peer says about itself.
#[derive(Deserialize)]
struct Hello {
    version: String,
    settings: Vec<String>,
}

#[derive(Deserialize)]
struct Loaded {
    id: usize,
    detail: String,
}

#[derive(Deserialize)]
struct Sampled {
    ns: Vec<f64>,
}

#[derive(Deserialize)]
struct Checked {
    error: f64,
}

#[derive(Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Request<'a> {
    Hello,
    Load { case: &'a Case, variant: &'a str },
    Run { id: usize, ns: u128 },
    Check { id: usize },
    Cold { case: &'a Case, variant: &'a str },
}

/// A peer that answers.
struct Running {
    peer: &'static Peer,
    process: Process,
    /// Nanoseconds of a call that does next to nothing.
    call: f64,
}

/// One of the engines that take turns, and what it took.
struct Entry {
    label: String,
    engine: &'static str,
    unit: Unit,
    order: Option<usize>,
    mode: Option<ScaleMode>,
    /// What a peer says about how it computes this.
    detail: String,
    macs: f64,
    side: Side,
    /// Nanoseconds a call, the median of each turn.
    turns: Vec<f64>,
}

enum Side {
    Ours(Ours),
    /// Which peer, and the model in its process.
    Theirs(usize, usize),
}

/// Largest difference to numpy over the largest value that is the same answer still, if that can be said: f32; 8 bits in both
/// operands of a product; networks in int8 add up what their layers round, by scales that nobody trained.
fn tolerance(case: &Case, unit: Unit) -> Option<f64> {
    match (unit, case.layer()) {
        (Unit::Int8, Some(_)) => Some(0.03),
        (Unit::Int8, None) => None,
        _ => Some(1e-4),
    }
}

/// Runs the suite.
///
/// # Errors
/// A message if there are no peers, or if something of ours fails; what a peer cannot do is reported and goes on.
pub(crate) fn run(harness: &mut Harness, arguments: &Arguments) -> Result<(), String> {
    if harness.threads() != 1 {
        return Err("peers are compared on one thread; leave --threads out".into());
    }
    let cases: Vec<Case> = Case::all().into_iter().filter(|case| chosen(&case.name, &arguments.case)).collect();
    if cases.is_empty() {
        let names: Vec<String> = Case::all().into_iter().map(|case| case.name).collect();
        return Err(format!("no case has {} in its name: they are {}", arguments.case.join(" or "), names.join(", ")));
    }
    let installation = Installation::open(&arguments.folder, arguments.install)?;
    harness.suite("peers");
    let mut peers = start(harness, &installation, arguments);
    for case in &cases {
        compare(harness, case, &mut peers, arguments)?;
        if matches!(case.kind, Kind::Network { network: cold::NETWORK }) {
            cold::compare(harness, &installation, &peers)?;
        }
    }
    let contests = crossover::contests(&harness.records);
    harness.say(&crossover::table("from which order on others win", &contests));
    Ok(())
}

/// Reads a kept record of this suite.
///
/// # Errors
/// A message that names the file.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>, String> {
    let rows = record::read(path)?;
    if rows.iter().any(|row| row.suite == report::SUITE) {
        return Ok(rows);
    }
    Err(format!(
        "{} holds no results of the suite peers; `horq-bench peers --record DIR` makes such a record",
        escaped(path)
    ))
}

fn chosen(name: &str, parts: &[String]) -> bool {
    parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()))
}

/// Installs what is asked for, starts the peers and prints their settings, or why they are not there.
fn start(harness: &Harness, installation: &Installation, arguments: &Arguments) -> Vec<Running> {
    let mut peers = Vec::new();
    for peer in PEERS.iter().filter(|peer| arguments.only.is_empty() || arguments.only.contains(peer)) {
        if arguments.install && !installation.has(peer) {
            harness.say(&format!("installing {}", peer.name));
            if let Err(reason) = installation.install(peer, &arguments.python) {
                harness.say(&format!("{}: not compared, it cannot be installed: {}", peer.name, escaped(&reason)));
                continue;
            }
        }
        harness.step(&format!("peers: starting {}", peer.name));
        match greet(installation, peer) {
            Ok((running, hello)) => {
                let settings = [peer.environment_settings(), hello.settings].concat().join("; ");
                let call = running.call / 1000.0;
                let said = format!("{}: {settings}; an empty call takes {call:.1} us", hello.version);
                harness.say(&format!("{} {}", peer.name, escaped(&said)));
                peers.push(running);
            }
            Err(reason) => harness.say(&format!("{}: not compared: {}", peer.name, escaped(&reason))),
        }
    }
    peers
}

fn greet(installation: &Installation, peer: &'static Peer) -> Result<(Running, Hello), String> {
    let mut process = installation.start(peer)?;
    let readable = |failure: Failure| failure.reason().to_owned();
    let hello: Hello = process.ask(&Request::Hello).map_err(readable)?;
    let load = Request::Load { case: &Case::empty(), variant: peer.variants[0] };
    let loaded: Loaded = process.ask(&load).map_err(readable)?;
    let run = Request::Run { id: loaded.id, ns: Duration::from_millis(50).as_nanos() };
    let empty: Sampled = process.ask(&run).map_err(readable)?;
    // The quickest quarter: an underestimate of what a call costs favours the peer less than an overestimate.
    let call = Spread::of(empty.ns).low;
    Ok((Running { peer, process, call }, hello))
}

/// Lets ours and theirs take turns on a case.
fn compare(harness: &mut Harness, case: &Case, peers: &mut [Running], arguments: &Arguments) -> Result<(), String> {
    let isa = harness.isas[0];
    harness.step(&format!("peers {}: loading", case.name));
    let ours = case.ours(isa)?.into_iter().map(|ours| Entry {
        label: format!("horq {}", ours.variant.label()),
        engine: ours.variant.engine(),
        unit: ours.variant.unit(),
        order: ours.variant.order(),
        mode: ours.variant.mode(),
        detail: String::new(),
        macs: ours.macs,
        side: Side::Ours(ours),
        turns: vec![],
    });
    let mut entries: Vec<Entry> = ours.collect();
    // The products of one plane, which a network's float layers have too.
    let macs = entries.iter().map(|entry| entry.macs).fold(f64::NAN, f64::min);
    for index in 0..peers.len() {
        entries.extend(theirs(harness, case, peers, index, macs, arguments.check));
    }
    let budget = harness.budget / u32::from(arguments.turns);
    for turn in 1..=arguments.turns {
        harness.step(&format!("peers {}: turn {turn} of {}", case.name, arguments.turns));
        let mut failed = Vec::new();
        for (index, entry) in entries.iter_mut().enumerate() {
            let median = match &mut entry.side {
                Side::Ours(ours) => Spread::of(cases::sample(&mut ours.run, budget)).median,
                Side::Theirs(peer, id) => {
                    let peer = &mut peers[*peer];
                    match peer.process.ask::<Sampled>(&Request::Run { id: *id, ns: budget.as_nanos() }) {
                        Ok(sampled) => Spread::of(sampled.ns).median - peer.call,
                        Err(failure) => {
                            harness.say(&format!(
                                "{} of {}: stopped: {}",
                                entry.label,
                                case.name,
                                escaped(failure.reason())
                            ));
                            failed.push(index);
                            continue;
                        }
                    }
                }
            };
            entry.turns.push(median);
        }
        failed.into_iter().rev().for_each(|index| drop(entries.remove(index)));
    }
    report::case(harness, case, &entries)
}

/// What a peer has for a case; what it has not is said.
fn theirs(harness: &Harness, case: &Case, peers: &mut [Running], index: usize, macs: f64, check: bool) -> Vec<Entry> {
    let Running { peer, process, .. } = &mut peers[index];
    let mut entries = Vec::new();
    for variant in peer.variants {
        let (unit, order) = cases::variant(variant);
        let label = label(peer, variant);
        let refuse =
            |reason: &str| harness.say(&format!("{label} of {}: not compared: {}", case.name, escaped(reason)));
        let loaded: Loaded = match process.ask(&Request::Load { case, variant }) {
            Ok(loaded) => loaded,
            Err(failure) => {
                refuse(failure.reason());
                continue;
            }
        };
        if check {
            match process.ask::<Checked>(&Request::Check { id: loaded.id }) {
                Ok(Checked { error }) => {
                    let verdict = match tolerance(case, unit).map(|bound| error <= bound) {
                        Some(true) => "as numpy",
                        Some(false) => "NOT as numpy, not compared",
                        None => "beside numpy in f32",
                    };
                    harness
                        .say(&format!("{label} of {}: {verdict}, off by {error:.1e} of the largest value", case.name));
                    if tolerance(case, unit).is_some_and(|bound| error > bound) {
                        continue;
                    }
                }
                Err(failure) => {
                    harness.say(&format!("{label} of {}: not checked: {}", case.name, escaped(failure.reason())))
                }
            }
        }
        let side = Side::Theirs(index, loaded.id);
        let entry = Entry {
            label,
            engine: peer.name,
            unit,
            order,
            mode: None,
            detail: loaded.detail,
            macs: macs * order.unwrap_or(1) as f64,
            side,
            turns: vec![],
        };
        entries.push(entry);
    }
    entries
}

/// A peer and its variant in tables.
fn label(peer: &Peer, variant: &str) -> String {
    match cases::variant(variant).1 {
        Some(order) => format!("{} binary, order {order}", peer.name),
        None => format!("{} {variant}", peer.name),
    }
}
