//! How much of a machine others used meanwhile.

use std::time::Instant;

/// The machine's accounts at some moment.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    start: Instant,
    accounts: Accounts,
    /// Seconds of CPU time of this process.
    own: f64,
}

/// Ticks of all cores since the machine was started, and how many cores there are.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Accounts {
    busy: f64,
    idle: f64,
    cores: usize,
}

impl Load {
    /// From now on; none where the system tells nobody.
    pub fn start() -> Option<Self> {
        Some(Self { start: Instant::now(), accounts: Accounts::now()?, own: own_seconds()? })
    }

    /// Cores that others kept busy since then on the mean, and how many cores there are.
    pub fn of_others(&self) -> Option<(f64, usize)> {
        let now = Self::start()?;
        let all = now.accounts.cores_since(self.accounts)?;
        let own = (now.own - self.own) / self.start.elapsed().as_secs_f64();
        Some(((all - own).max(0.0), now.accounts.cores))
    }
}

impl Accounts {
    fn now() -> Option<Self> {
        Self::read(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// Reads /proc/stat: user, nice, system, idle, waiting for a disk, interrupts (two), time that other guests had.
    fn read(text: &str) -> Option<Self> {
        let mut cpus = text.lines().filter(|line| line.starts_with("cpu"));
        let ticks = cpus.next()?.split_whitespace().skip(1).take(8).map(|field| field.parse().ok());
        let ticks: Vec<f64> = ticks.collect::<Option<_>>()?;
        let idle = ticks.get(3)? + ticks.get(4)?;
        Some(Self { busy: ticks.iter().sum::<f64>() - idle, idle, cores: cpus.count() })
    }

    /// Cores that were busy since `then` on the mean; none if no tick passed.
    fn cores_since(self, then: Self) -> Option<f64> {
        let (busy, idle) = (self.busy - then.busy, self.idle - then.idle);
        let cores = busy / (busy + idle) * self.cores as f64;
        cores.is_finite().then_some(cores)
    }
}

#[cfg(unix)]
fn own_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

#[cfg(not(unix))]
fn own_seconds() -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted() {
        let then = Accounts::read("cpu  100 20 30 400 50 0 5 6 7 8\ncpu0 1\ncpu1 1\nintr 5\n").unwrap();
        assert_eq!(then, Accounts { busy: 161.0, idle: 450.0, cores: 2 });
        let now = Accounts { busy: 311.0, idle: 500.0, cores: 2 };
        assert_eq!((now.cores_since(then), then.cores_since(then)), (Some(1.5), None));
        assert_eq!(Accounts::read("cpu 1 2 x\n"), None);
        assert_eq!(Accounts::read(""), None);
    }
}
