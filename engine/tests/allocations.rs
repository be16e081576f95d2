//! Memory that runs out while a model is opened or a session is made, at every place where that can be.
//!
//! Each case runs in a forked child of its own, since Rust ends a process when a small allocation fails. Two things are tried:
//! - **Memory runs out:** the allocator grants so many bytes and no more. All limits between none and enough are tried that can
//!   make a difference: one byte less than each new peak. Every one must end in an error of kind `Resource`, or in success.
//! - **One allocation fails**, the n-th, whatever its size, and those behind it succeed. No system does that to small ones. Here it
//!   is counted how many end in an error and how many in an abort; nothing else may happen, and large ones must be errors.
//!   With `HORQ_SHOW_ABORTS=1` each abort prints where it was.
//!
//! A program of its own rather than tests of the harness, whose threads a fork would leave behind.

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return; // test runners ask for the names of tests; there are none to choose from
    }
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod linux {
    use super::common::lenet::lenet;
    use horq::{Error, ErrorKind, Model, ScaleMode, Session, SessionOptions, Values};
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::{Cell, RefCell};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

    /// From how many bytes on a refused allocation must be an error.
    const LARGE: usize = 64 << 10;

    /// Models of which every allocation fails alone; `HORQ_ALL_MODELS=1` takes all.
    const FEW: [&str; 3] = ["lenet", "binary_halving", "codebook"];

    thread_local! {
        static HELD: Cell<usize> = const { Cell::new(0) };
        /// The most bytes that may be held.
        static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
        /// Allocations until one is refused.
        static GRANTS: Cell<usize> = const { Cell::new(usize::MAX) };
        static RECORDS: Cell<bool> = const { Cell::new(false) };
    }

    /// Whether a refused allocation says where it was made, on standard error.
    static SHOWS: AtomicBool = AtomicBool::new(false);

    /// Bytes held with each allocation, and its own bytes, while they are recorded.
    static RECORDED: AtomicUsize = AtomicUsize::new(0);
    static RECORD: [[AtomicUsize; 2]; 1 << 15] = [const { [AtomicUsize::new(0), AtomicUsize::new(0)] }; 1 << 15];

    struct Failing;

    /// Whether an allocation that frees `old` bytes and takes `new` is refused; counts it, if not.
    fn refused(old: usize, new: usize) -> bool {
        let held = HELD.get() - old + new;
        let grants = GRANTS.get();
        if grants < usize::MAX {
            GRANTS.set(grants.wrapping_sub(1));
        }
        if held > LIMIT.get() || grants == 0 {
            if SHOWS.swap(false, Relaxed) {
                let before = [HELD.get(), LIMIT.replace(usize::MAX), GRANTS.replace(usize::MAX)];
                eprintln!("{}", std::backtrace::Backtrace::force_capture());
                HELD.set(before[0]);
                LIMIT.set(before[1]);
                GRANTS.set(before[2]);
            }
            return true;
        }
        if RECORDS.get() {
            let [total, own] = &RECORD[RECORDED.fetch_add(1, Relaxed)];
            total.store(held, Relaxed);
            own.store(new, Relaxed);
        }
        HELD.set(held);
        false
    }

    // SAFETY: every call that is not refused goes to the system's allocator unchanged.
    unsafe impl GlobalAlloc for Failing {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            if refused(0, layout.size()) {
                return std::ptr::null_mut();
            }
            // SAFETY: the caller keeps the contract of the same method.
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            if refused(0, layout.size()) {
                return std::ptr::null_mut();
            }
            // SAFETY: the caller keeps the contract of the same method.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            if refused(layout.size(), size) {
                return std::ptr::null_mut();
            }
            // SAFETY: the caller keeps the contract of the same method.
            unsafe { System.realloc(pointer, layout, size) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            HELD.set(HELD.get() - layout.size());
            // SAFETY: the caller keeps the contract of the same method.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: Failing = Failing;

    /// How a child ended.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum End {
        Done,
        Resource,
        Aborted,
        /// Another error, a panic, memory that was not given back, or any other signal.
        Wrong(i32),
    }

    /// What one child does with its faults set.
    fn child(faults: impl FnOnce(), work: &dyn Fn() -> Result<(), Error>) -> End {
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                // SAFETY: what an abort prints is of no use here; both descriptors are open.
                unsafe {
                    if !SHOWS.load(Relaxed) {
                        libc::close(2);
                    }
                    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                    libc::setrlimit(libc::RLIMIT_CORE, &raw const limit);
                }
                let before = HELD.get();
                faults();
                let ended = catch_unwind(AssertUnwindSafe(|| work().map_err(|error| error.kind())));
                LIMIT.set(usize::MAX);
                GRANTS.set(usize::MAX);
                let code = match ended {
                    Ok(_) if HELD.get() != before => 4,
                    Ok(Ok(())) => 0,
                    Ok(Err(ErrorKind::Resource)) => 1,
                    Ok(Err(_)) => 2,
                    Err(_) => 3,
                };
                // SAFETY: nothing of this process is to be put in order.
                unsafe { libc::_exit(code) }
            }
            id => {
                let mut status = 0;
                // SAFETY: `status` is written by the call.
                assert_eq!(unsafe { libc::waitpid(id, &raw mut status, 0) }, id);
                match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
                    (true, 0) => End::Done,
                    (true, 1) => End::Resource,
                    (true, code) => End::Wrong(code),
                    (false, _) if libc::WTERMSIG(status) == libc::SIGABRT => End::Aborted,
                    (false, _) => End::Wrong(-libc::WTERMSIG(status)),
                }
            }
        }
    }

    /// Bytes held and own bytes of each allocation of `work`.
    fn recorded(work: &dyn Fn() -> Result<(), Error>) -> Vec<[usize; 2]> {
        work().expect("it works with all memory");
        RECORDED.store(0, Relaxed);
        RECORDS.set(true);
        work().expect("it works with all memory");
        RECORDS.set(false);
        RECORD[..RECORDED.load(Relaxed)].iter().map(|pair| pair.each_ref().map(|value| value.load(Relaxed))).collect()
    }

    /// Children that ended so.
    #[derive(Default)]
    struct Counts {
        points: usize,
        errors: usize,
        aborts: usize,
    }

    impl Counts {
        fn count(&mut self, end: End) {
            self.points += 1;
            self.errors += usize::from(end == End::Resource);
            self.aborts += usize::from(end == End::Aborted);
        }
    }

    /// Every limit that can make a difference.
    fn runs_out(name: &str, work: &dyn Fn() -> Result<(), Error>, counts: &mut Counts) {
        let base = HELD.get();
        let mut peak = base;
        for [held, _] in recorded(work) {
            if held <= peak {
                continue;
            }
            peak = held;
            let limit = held - 1;
            let end = child(|| LIMIT.set(limit), work);
            assert!(
                end == End::Resource,
                "{name}: with {} bytes, one less than it takes, it ends with {end:?}",
                limit - base
            );
            counts.count(end);
        }
        let end = child(|| LIMIT.set(peak), work);
        assert!(end == End::Done, "{name}: with {} bytes it ends with {end:?}", peak - base);
    }

    /// Every allocation alone.
    fn one_fails(name: &str, work: &dyn Fn() -> Result<(), Error>, counts: &mut Counts) {
        for (n, [_, own]) in recorded(work).into_iter().enumerate() {
            let end = child(|| GRANTS.set(n), work);
            if end == End::Aborted && std::env::var_os("HORQ_SHOW_ABORTS").is_some() {
                eprintln!("=== {name}: allocation {n} of {own} bytes aborts");
                SHOWS.store(true, Relaxed);
                child(|| GRANTS.set(n), work);
                SHOWS.store(false, Relaxed);
            }
            assert!(!matches!(end, End::Wrong(_)), "{name}: without allocation {n} of {own} bytes: {end:?}");
            assert!(own < LARGE || end == End::Resource, "{name}: without allocation {n} of {own} bytes: {end:?}");
            counts.count(end);
        }
    }

    /// Models of every operation, and a network.
    fn models(folder: &Path) -> Vec<PathBuf> {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        let mut found: Vec<PathBuf> = std::fs::read_dir(seeds).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.sort();
        assert!(found.len() >= 20, "{} seeds", found.len());
        let network = folder.join("lenet.horq");
        std::fs::write(&network, lenet(ScaleMode::Halving, 3).bytes()).unwrap();
        found.push(network);
        found
    }

    /// Allocations of the caller's, which none of these faults is to meet.
    fn granted<T>(make: impl FnOnce() -> T) -> T {
        let before = (GRANTS.replace(usize::MAX), RECORDS.replace(false));
        let made = make();
        GRANTS.set(before.0);
        RECORDS.set(before.1);
        made
    }

    /// Makes a session and runs it once, with buffers that are there already.
    fn first_run(model: &Model) -> impl Fn() -> Result<(), Error> {
        let inputs: Vec<Vec<f32>> = model.inputs().map(|(_, shape)| vec![0.5; shape.len()]).collect();
        let outputs: Vec<Vec<f32>> = model.outputs().map(|(_, shape)| vec![0.0; shape.len()]).collect();
        let outputs = RefCell::new(outputs);
        move || {
            let mut session = Session::new(model, SessionOptions::new())?;
            let inputs: Vec<Values<'_>> = granted(|| inputs.iter().map(|values| Values::F32(values)).collect());
            let mut outputs = outputs.borrow_mut();
            let mut outputs: Vec<&mut [f32]> = granted(|| outputs.iter_mut().map(|output| &mut output[..]).collect());
            session.run_many(&inputs, &mut outputs)
        }
    }

    pub(super) fn main() {
        let folder = tempfile::tempdir().unwrap();
        let [mut out, mut open, mut session] = [(); 3].map(|()| Counts::default());
        let models = models(folder.path());
        let mut enumerated = 0;
        for path in &models {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let bytes = std::fs::read(path).unwrap();
            let model = Model::from_bytes(&bytes).unwrap();
            let opened = || Model::open(path).map(drop);
            let copied = || Model::from_bytes(&bytes).map(drop);
            // SAFETY: nobody changes the file while this runs.
            let mapped = || unsafe { Model::map(path) }?.check();
            let shared = || Model::open_shared(path).map(drop);
            let made = || Session::new(&model, SessionOptions::new().batch(2)).map(drop);
            type Way<'a> = (&'a str, &'a dyn Fn() -> Result<(), Error>);
            let ways: [Way<'_>; 5] =
                [("open", &opened), ("from_bytes", &copied), ("map", &mapped), ("shared", &shared), ("session", &made)];
            for (way, work) in ways {
                runs_out(&format!("{name}, {way}"), work, &mut out);
            }
            if FEW.contains(&name) || std::env::var_os("HORQ_ALL_MODELS").is_some() {
                one_fails(&format!("{name}, open"), &opened, &mut open);
                one_fails(&format!("{name}, session and first run"), &first_run(&model), &mut session);
                enumerated += 1;
            }
        }
        assert!(enumerated >= FEW.len(), "{enumerated} models: one of {FEW:?} is missing");
        println!(
            "memory runs out at {} points of {} models: {} errors, {} aborts",
            out.points,
            models.len(),
            out.errors,
            out.aborts
        );
        for (what, counts) in [("open", open), ("session and first run", session)] {
            let Counts { points, errors, aborts } = counts;
            println!(
                "{what}: each of {points} allocations fails alone: {errors} errors, {aborts} aborts, {} went on",
                points - errors - aborts
            );
        }
        assert!(out.points >= 250 && out.aborts == 0);
    }
}
