//! The limits of this machine: how many multiply-accumulates its instructions can do, measured in registers.

#[cfg(target_arch = "aarch64")]
#[path = "peak/aarch64.rs"]
mod arch;
#[cfg(target_arch = "x86_64")]
#[path = "peak/x86_64.rs"]
mod arch;

use crate::clock::{Clock, Repeats, Timing};
use horq_kernels::Isa;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a loop counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Binary multiply-accumulates.
    Bit,
    /// Activations of several planes, whose scales halve, times binary weights: the products of all planes count as one.
    Table,
    /// f32 activations times binary weights.
    #[serde(rename = "sign")]
    BinaryWeight,
    /// f32 activations times entries of a codebook.
    #[serde(rename = "code")]
    Codebook,
    /// f32 multiply-accumulates.
    Float,
    /// 8-bit multiply-accumulates into 32 bits.
    Int8,
    /// Bytes loaded.
    Load,
    /// Multiply-accumulates of several kinds: a whole network.
    #[default]
    Mixed,
}

impl Unit {
    /// What a table calls one of them.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bit => "bMAC",
            Self::Table => "MAC of all planes",
            Self::BinaryWeight => "f32 x sign MAC",
            Self::Codebook => "f32 x code MAC",
            Self::Float => "f32 MAC",
            Self::Int8 => "int8 MAC",
            Self::Load => "byte",
            Self::Mixed => "MAC",
        }
    }
}

/// A loop that runs at a limit of the machine, in one or more forms of which the fastest counts.
#[derive(Clone, Copy)]
pub struct Limit {
    /// Its name in tables and records.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// The backend that it bounds, if it bounds one.
    pub isa: Option<Isa>,
    /// The orders that it bounds, the first and the last; of byte tables only.
    orders: [usize; 2],
    /// Units of one round of any form.
    per_round: u32,
    forms: &'static [unsafe fn(u64)],
    available: bool,
}

/// What bounds any order.
const ALL: [usize; 2] = [1, usize::MAX];

#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(dead_code))]
impl Limit {
    const fn bits(name: &'static str, isa: Isa, per_round: u32, forms: &'static [unsafe fn(u64)]) -> Self {
        Self { name, unit: Unit::Bit, isa: Some(isa), orders: ALL, per_round, forms, available: true }
    }

    /// A limit of other products of one backend.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    const fn own(name: &'static str, unit: Unit, isa: Isa, per_round: u32, forms: &'static [unsafe fn(u64)]) -> Self {
        Self { name, unit, isa: Some(isa), orders: ALL, per_round, forms, available: true }
    }

    const fn other(name: &'static str, unit: Unit, per_round: u32, forms: &'static [unsafe fn(u64)]) -> Self {
        Self { name, unit, isa: None, orders: ALL, per_round, forms, available: true }
    }

    /// The limit of byte tables at the orders `orders[0]` to `orders[1]`.
    const fn tables(
        name: &'static str,
        isa: Isa,
        orders: [usize; 2],
        per_round: u32,
        forms: &'static [unsafe fn(u64)],
    ) -> Self {
        Self { name, unit: Unit::Table, isa: Some(isa), orders, per_round, forms, available: true }
    }

    const fn on(mut self, available: bool) -> Self {
        self.available = available;
        self
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod arch {
    pub(super) fn limits() -> Vec<super::Limit> {
        Vec::new()
    }
}

/// A measured limit.
#[derive(Clone, Copy)]
pub struct Peak {
    /// The loop that was measured.
    pub limit: Limit,
    /// The fastest form.
    form: unsafe fn(u64),
    /// What one round of it takes.
    pub round: Timing,
    /// What it took in the slowest turn so far.
    slowest: Timing,
}

impl Peak {
    /// Measures the limit of one backend's bit products; none for `portable`, which has no instructions of its own.
    pub fn of(isa: Isa, clock: &mut Clock, budget: Duration) -> Option<Self> {
        let bits = |limit: &Limit| limit.isa == Some(isa) && limit.unit == Unit::Bit;
        Self::measured(arch::limits().into_iter().find(bits)?, clock, budget)
    }

    /// Measures the limit of one backend's byte tables at an order; none where the loop was not written.
    pub fn of_tables(isa: Isa, order: usize, clock: &mut Clock, budget: Duration) -> Option<Self> {
        Self::measured(arch::limits().into_iter().find(|limit| limit.bounds_tables(isa, order))?, clock, budget)
    }

    /// The fastest form of a limit.
    fn measured(limit: Limit, clock: &mut Clock, budget: Duration) -> Option<Self> {
        let forms = limit.peaks();
        let budget = budget / forms.len() as u32;
        forms
            .into_iter()
            .map(|mut peak| {
                let taken = clock.best(budget, &mut || peak.run(ROUNDS));
                peak.took(taken);
                peak
            })
            .reduce(Self::faster)
    }

    fn faster(self, other: Self) -> Self {
        if other.round.ns < self.round.ns { other } else { self }
    }

    /// Notes what a turn took.
    fn took(&mut self, turn: Timing) {
        let round = turn.scale(1.0 / ROUNDS as f64);
        let (round, slowest) = match self.round.ns.is_nan() {
            true => (round, round),
            false => (self.round.min(round), if round.over(self.slowest) > 1.0 { round } else { self.slowest }),
        };
        let spread = slowest.over(round) - 1.0;
        (self.round, self.slowest) = (Timing { spread, ..round }, slowest);
    }

    /// Units of one round.
    pub fn per_round(&self) -> f64 {
        f64::from(self.limit.per_round)
    }

    /// Units a cycle.
    pub fn per_cycle(&self) -> f64 {
        self.per_round() / self.round.cycles
    }

    /// Units a nanosecond.
    pub fn per_ns(&self) -> f64 {
        self.per_round() / self.round.ns
    }

    fn run(&self, rounds: u64) {
        // SAFETY: a limit becomes a peak only if this CPU has its instructions.
        unsafe { (self.form)(rounds) }
    }

    /// The part of this limit that `units` in `timing` reach, by cycles where they are known.
    pub fn fraction(&self, units: f64, timing: Timing) -> f64 {
        self.round.scale(units / self.per_round()).over(timing)
    }

    /// How many times more units this limit allows in the same time than another.
    pub fn over(&self, other: &Self) -> f64 {
        1.0 / self.fraction(self.per_round(), other.round.scale(self.per_round() / other.per_round()))
    }
}

/// Rounds of one sample: some ten microseconds.
const ROUNDS: u64 = 500;

impl Limit {
    fn bounds_tables(&self, isa: Isa, order: usize) -> bool {
        self.unit == Unit::Table && self.isa == Some(isa) && (self.orders[0]..=self.orders[1]).contains(&order)
    }

    /// Its forms, not measured yet.
    fn peaks(self) -> Vec<Peak> {
        let unknown = Timing { ns: f64::NAN, cycles: f64::NAN, spread: f64::NAN };
        self.forms.iter().map(|&form| Peak { limit: self, form, round: unknown, slowest: unknown }).collect()
    }
}

/// The limits of this machine.
pub struct Peaks(Vec<Peak>);

impl Peaks {
    /// Measures every limit in so many rounds, in all of which each of its forms has a turn of `budget`.
    pub fn measure(clock: &mut Clock, rounds: usize, budget: Duration, mut step: impl FnMut(&str)) -> Self {
        let mut limits: Vec<Vec<Peak>> = arch::limits().into_iter().map(Limit::peaks).collect();
        for _ in 0..rounds.max(1) {
            for forms in &mut limits {
                step(forms[0].limit.name);
                let budget = budget / forms.len() as u32;
                for peak in forms {
                    let taken = clock.best(budget, &mut || peak.run(ROUNDS));
                    peak.took(taken);
                }
            }
        }
        Self(limits.into_iter().filter_map(|forms| forms.into_iter().reduce(Peak::faster)).collect())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Peak> {
        self.0.iter()
    }

    /// The limit of a backend's bit products; none for `portable`, which has no instructions of its own.
    pub fn of(&self, isa: Isa) -> Option<&Peak> {
        self.0.iter().find(|peak| peak.limit.isa == Some(isa) && peak.limit.unit == Unit::Bit)
    }

    /// The limit of a backend's byte tables at an order; none where the loop was not written.
    pub fn of_tables(&self, isa: Isa, order: usize) -> Option<&Peak> {
        self.0.iter().find(|peak| peak.limit.bounds_tables(isa, order))
    }

    /// What bounds these products on a backend: its own limit if there is one, else the machine's. A weight from a codebook is
    /// an f32 in a register; signs have tables that not every backend is measured on.
    pub fn bound(&self, unit: Unit, isa: Isa) -> Option<&Peak> {
        let own = |unit| self.0.iter().find(|peak| peak.limit.isa == Some(isa) && peak.limit.unit == unit);
        match unit {
            Unit::Bit | Unit::BinaryWeight => own(unit),
            Unit::Codebook | Unit::Float => own(Unit::Float).or_else(|| self.best(Unit::Float)),
            unit => own(unit).or_else(|| self.best(unit)),
        }
    }

    /// The highest limit of a unit.
    pub fn best(&self, unit: Unit) -> Option<&Peak> {
        let of_unit = self.0.iter().filter(|peak| peak.limit.unit == unit);
        of_unit.reduce(|a, b| if b.over(a) > 1.0 { b } else { a })
    }

    /// The limit whose turns differed most, and how much longer its slowest one took than its fastest, as a part of that.
    pub fn moved(&self) -> Option<(&'static str, f64)> {
        let moved = self.0.iter().map(|peak| (peak.limit.name, peak.round.spread));
        moved.max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// One turn of `work`. Samples of the loop of the limit that `bound` names come between its own, and a faster sample of the
    /// limit counts from then on.
    pub fn turn(
        &mut self,
        clock: &mut Clock,
        budget: Duration,
        bound: Option<&str>,
        repeats: &mut Repeats,
        work: &mut dyn FnMut(),
    ) -> Timing {
        let Some(peak) = self.0.iter_mut().find(|peak| Some(peak.limit.name) == bound) else {
            return clock.turn(budget, repeats, work);
        };
        let copy = *peak;
        let own = &mut Repeats::default();
        let (limit, timing) = clock.turn_beside(budget, [own, repeats], &mut || copy.run(ROUNDS), work);
        peak.took(limit);
        timing
    }
}
