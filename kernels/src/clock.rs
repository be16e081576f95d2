//! Where a layer's time goes: nanoseconds by stage, summed over threads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// The stages of a layer.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Residual quantization and bit packing; of 8-bit layers, making bytes.
    Quantize,
    /// The bit products.
    Bits,
    /// Counts to f32, affine, activation, residual add.
    Epilogue,
    /// Float arithmetic: f32 layers, pooling and the like; the products of 8-bit layers.
    Float,
}

impl Stage {
    /// All stages, in the order in which [`StageClock::nanoseconds`] lists them.
    pub const ALL: [Self; 4] = [Self::Quantize, Self::Bits, Self::Epilogue, Self::Float];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quantize => "quantize",
            Self::Bits => "bits",
            Self::Epilogue => "epilogue",
            Self::Float => "float",
        }
    }
}

/// Hears of each stage on the thread that works on it. A stage may begin and end many times in one layer.
pub trait StageObserver: Send + Sync + fmt::Debug {
    /// A stage begins.
    fn begin(&self, stage: Stage, at: Instant);
    /// The stage that began at `begun` ends.
    fn end(&self, stage: Stage, begun: Instant, at: Instant);
}

/// Sums the time of each stage; shared by the threads of a layer.
#[derive(Debug, Default)]
pub struct StageClock {
    sums: [AtomicU64; 4],
    observer: Option<Arc<dyn StageObserver>>,
}

impl StageClock {
    /// A clock that tells an observer of what it measures, with the same readings.
    pub fn observed(observer: Arc<dyn StageObserver>) -> Self {
        Self { sums: Default::default(), observer: Some(observer) }
    }

    /// Nanoseconds by stage, in the order of [`Stage::ALL`].
    pub fn nanoseconds(&self) -> [u64; 4] {
        std::array::from_fn(|stage| self.sums[stage].load(Relaxed))
    }

    /// Sets every sum to zero.
    pub fn reset(&self) {
        self.sums.iter().for_each(|sum| sum.store(0, Relaxed));
    }
}

/// Times `work` as `stage` where there is a clock; without one it costs a branch.
#[inline(always)]
pub fn timed<R>(clock: Option<&StageClock>, stage: Stage, work: impl FnOnce() -> R) -> R {
    let _timer = Timer::new(clock, stage);
    work()
}

/// Times what happens until it is dropped, where there is a clock.
pub(crate) struct Timer<'a>(Option<(&'a StageClock, Stage, Instant)>);

impl<'a> Timer<'a> {
    #[inline(always)]
    pub(crate) fn new(clock: Option<&'a StageClock>, stage: Stage) -> Self {
        Self(clock.map(|clock| {
            let begun = Instant::now();
            if let Some(observer) = &clock.observer {
                observer.begin(stage, begun);
            }
            (clock, stage, begun)
        }))
    }
}

impl Drop for Timer<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some((clock, stage, begun)) = self.0 {
            let at = Instant::now();
            clock.sums[stage as usize].fetch_add(at.duration_since(begun).as_nanos() as u64, Relaxed);
            if let Some(observer) = &clock.observer {
                observer.end(stage, begun, at);
            }
        }
    }
}
