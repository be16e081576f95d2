//! A fixed number of sessions over one model, lent to whoever asks first.

#![expect(clippy::vec_box, reason = "a session goes from hand to hand as one pointer")]

use super::{Session, SessionOptions};
use crate::error::{InputError, ResourceError};
use crate::threads::Process;
use crate::{Error, Model, Order};
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A fixed number of sessions over one model for any number of threads. A clone is another handle to the same sessions.
///
/// Whoever takes a session out has it alone: no lock is held while it runs. It comes back when it is dropped, also while a
/// panic unwinds. The weights are there once; each session has the memory that [`Session::memory_bytes`] tells. Those who
/// wait get sessions in the order in which they came, and nobody who comes later is served before.
///
/// ```
/// use std::time::Duration;
///
/// use horq::graph::Shape;
/// use horq::ops::Relu;
/// use horq::{Builder, ErrorKind, Model, RunOptions, SessionOptions, SessionPool};
///
/// let model = Model::from_bytes(&Builder::new("x", Shape::Flat(2)).add("y", &["x"], Relu)?.to_bytes("y")?)?;
/// let pool = SessionPool::new(&model, SessionOptions::new(), 1)?;
/// let mut session = pool.get_timeout(Duration::from_millis(50))?;
/// assert_eq!(pool.try_get().unwrap_err().kind(), ErrorKind::Resource); // answer "busy" instead of queueing
/// let mut answer = [0.0; 2];
/// session.run_with(&[1.0, -1.0], &mut answer, &RunOptions::new().timeout(Duration::from_millis(50)))?;
/// drop(session);
/// pool.try_get()?;
/// # Ok::<(), horq::Error>(())
/// ```
///
/// In a forked child the pool has all its sessions again: those that were idle go on, and those that were out in threads
/// which the child does not have are made anew when they are needed. Sessions on a [`Threads::Pool`](crate::Threads::Pool) are refused
/// there, as always.
#[derive(Clone)]
pub struct SessionPool(Arc<Shared>);

/// A session that was taken out of a pool, which has it back when this is dropped, with the order that it was made with.
pub struct PooledSession {
    /// None only while it is dropped.
    session: Option<Box<Session>>,
    /// The one that took it.
    process: Process,
    pool: Arc<Shared>,
}

/// What the handles share.
struct Shared {
    model: Model,
    options: SessionOptions,
    sessions: usize,
    first: Generation,
}

/// The sessions as one process has them. A fork leaves a lock in the state that it had, perhaps taken by a thread that is
/// gone, so a child begins with a state of its own.
struct Generation {
    process: Process,
    state: Mutex<State>,
    /// That of a child of the process, in the child's memory.
    next: OnceLock<Box<Generation>>,
}

struct State {
    idle: Vec<Box<Session>>,
    /// Sessions that this process may still make: those that a fork has lost.
    lost: usize,
    /// Those who wait, longest first; only while no session is idle or lost.
    waiting: VecDeque<Arc<Waiter>>,
}

/// One who waits.
#[derive(Default)]
struct Waiter {
    handed: Mutex<Option<Turn>>,
    bell: Condvar,
}

/// What somebody may take.
enum Turn {
    Session(Box<Session>),
    /// The right to make one in place of one that is lost.
    Lost,
}

impl State {
    /// The next one to take, if there is any.
    fn take(&mut self) -> Option<Turn> {
        if let Some(session) = self.idle.pop() {
            return Some(Turn::Session(session));
        }
        self.lost = self.lost.checked_sub(1)?;
        Some(Turn::Lost)
    }

    /// Gives it to the one who waits longest, or keeps it.
    fn give(&mut self, turn: Turn) {
        match (self.waiting.pop_front(), turn) {
            (Some(waiter), turn) => {
                *lock(&waiter.handed) = Some(turn);
                waiter.bell.notify_one();
            }
            (None, Turn::Session(session)) => self.idle.push(session),
            (None, Turn::Lost) => self.lost += 1,
        }
    }
}

impl SessionPool {
    /// Makes `sessions` sessions of `model`, all alike. Options with [`Threads::Own`](crate::Threads::Own) give each threads of
    /// its own.
    ///
    /// # Errors
    /// [`InputError::NoSessions`](crate::error::InputError::NoSessions) for none; as [`Session::new`].
    pub fn new(model: &Model, options: SessionOptions, sessions: usize) -> Result<Self, Error> {
        if sessions == 0 {
            return Err(InputError::NoSessions.into());
        }
        let process = Process::current()
            .map_err(|error| ResourceError::ThreadPool { count: sessions, reason: error.to_string() })?;
        let mut idle = Vec::new();
        for _ in 0..sessions {
            idle.push(Box::new(Session::new(model, options.clone())?));
        }
        let first = Generation::new(process, idle, 0);
        Ok(Self(Arc::new(Shared { model: model.clone(), options, sessions, first })))
    }

    /// A session, if one is idle now.
    ///
    /// # Errors
    /// [`ResourceError::PoolBusy`](crate::error::ResourceError::PoolBusy) if none is; in a forked child also as [`Session::new`].
    pub fn try_get(&self) -> Result<PooledSession, Error> {
        let turn = lock(&self.0.state()?.state).take();
        turn.map_or_else(|| Err(self.0.busy(Duration::ZERO)), |turn| self.0.serve(turn))
    }

    /// A session, waiting for one as long as it takes.
    ///
    /// # Errors
    /// In a forked child as [`Session::new`].
    pub fn get(&self) -> Result<PooledSession, Error> {
        self.wait(None)
    }

    /// A session, waiting at most so long for one.
    ///
    /// # Errors
    /// As [`Self::try_get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<PooledSession, Error> {
        self.wait(Instant::now().checked_add(timeout))
    }

    /// A session, waiting for one until then at most: what is left until a deadline is the run's
    /// ([`RunOptions::deadline`](crate::RunOptions::deadline)).
    ///
    /// # Errors
    /// As [`Self::try_get`].
    pub fn get_deadline(&self, deadline: Instant) -> Result<PooledSession, Error> {
        self.wait(Some(deadline))
    }

    fn wait(&self, deadline: Option<Instant>) -> Result<PooledSession, Error> {
        let (began, generation) = (Instant::now(), self.0.state()?);
        let waiter = {
            let mut state = lock(&generation.state);
            if let Some(turn) = state.take() {
                drop(state);
                return self.0.serve(turn);
            }
            let waiter = Arc::new(Waiter::default());
            state.waiting.push_back(waiter.clone());
            waiter
        };
        let mut handed = lock(&waiter.handed);
        loop {
            if let Some(turn) = handed.take() {
                drop(handed);
                return self.0.serve(turn);
            }
            handed = match deadline {
                None => waiter.bell.wait(handed).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    waiter.bell.wait_timeout(handed, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        drop(handed);
        // Whoever gives a session away takes this waiter off the list first, both under the lock.
        let turn = {
            let mut state = lock(&generation.state);
            state.waiting.retain(|other| !Arc::ptr_eq(other, &waiter));
            lock(&waiter.handed).take()
        };
        turn.map_or_else(|| Err(self.0.busy(began.elapsed())), |turn| self.0.serve(turn))
    }

    /// The sessions of the pool.
    pub fn sessions(&self) -> usize {
        self.0.sessions
    }

    /// Sessions that nobody has at this moment: a figure for a display, old when it is read.
    ///
    /// # Errors
    /// [`ResourceError::ThreadPool`](crate::error::ResourceError::ThreadPool) in a forked child if the system does not tell of forks.
    pub fn idle(&self) -> Result<usize, Error> {
        let state = lock(&self.0.state()?.state);
        Ok(state.idle.len() + state.lost)
    }

    /// Callers that wait at this moment.
    ///
    /// # Errors
    /// As [`Self::idle`].
    pub fn waiting(&self) -> Result<usize, Error> {
        Ok(lock(&self.0.state()?.state).waiting.len())
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.0.model
    }
}

impl Generation {
    fn new(process: Process, idle: Vec<Box<Session>>, lost: usize) -> Self {
        let state = Mutex::new(State { idle, lost, waiting: VecDeque::new() });
        Self { process, state, next: OnceLock::new() }
    }
}

impl Shared {
    /// The state of this process.
    ///
    /// # Errors
    /// [`ResourceError::ThreadPool`] if the system does not tell of forks.
    fn state(&self) -> Result<&Generation, Error> {
        let mut generation = &self.first;
        while !generation.process.is_current() {
            if generation.next.get().is_none() {
                let process = Process::current().map_err(|error| {
                    let (count, reason) = (self.sessions, error.to_string());
                    Error::Resource(ResourceError::ThreadPool { count, reason })
                })?;
                // What was idle is as good as ever, unless a thread was at it when the process was forked.
                let idle = generation.state.try_lock().map(|mut state| std::mem::take(&mut state.idle));
                let idle = idle.unwrap_or_default();
                let lost = self.sessions - idle.len();
                // Another thread of this process may have been faster.
                if let Err(late) = generation.next.set(Box::new(Generation::new(process, idle, lost))) {
                    let late = late.state.into_inner().unwrap_or_else(PoisonError::into_inner);
                    let faster = generation.next.get().map(|next| lock(&next.state));
                    if let Some(mut state) = faster.filter(|_| !late.idle.is_empty()) {
                        state.lost = state.lost.saturating_sub(late.idle.len());
                        state.idle.extend(late.idle);
                    }
                }
            }
            generation = generation.next.get().expect("it was just made");
        }
        Ok(generation)
    }

    /// The session of a turn.
    fn serve(self: &Arc<Self>, turn: Turn) -> Result<PooledSession, Error> {
        let session = match turn {
            Turn::Session(session) => session,
            Turn::Lost => match Session::new(&self.model, self.options.clone()) {
                Ok(session) => Box::new(session),
                Err(error) => {
                    if let Ok(generation) = self.state() {
                        lock(&generation.state).give(Turn::Lost);
                    }
                    return Err(error);
                }
            },
        };
        let process = self.state()?.process;
        Ok(PooledSession { session: Some(session), process, pool: self.clone() })
    }

    fn busy(&self, waited: Duration) -> Error {
        ResourceError::PoolBusy { sessions: self.sessions, waited }.into()
    }
}

impl Deref for PooledSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for PooledSession {
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for PooledSession {
    fn drop(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        session.set_order(self.pool.options.order.unwrap_or(Order::MAX));
        let Ok(generation) = self.pool.state() else { return };
        let mut state = lock(&generation.state);
        // One that was out when this process was forked fills a place that counts as lost.
        if !self.process.is_current() {
            match state.lost.checked_sub(1) {
                Some(lost) => state.lost = lost,
                None => return,
            }
        }
        state.give(Turn::Session(session));
    }
}

impl std::fmt::Debug for SessionPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionPool").field("sessions", &self.0.sessions).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PooledSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PooledSession").field("session", &**self).finish()
    }
}

/// Locks what a panic leaves as good as before: every change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
