use super::*;

fn row(case: &str, cycles: f64) -> Record {
    let (suite, engine) = ("conv".into(), "horq".into());
    Record { suite, case: case.into(), engine, threads: 1, cycles: Some(cycles), ns: cycles / 3.0, ..Record::default() }
}

/// Runs of one case that took so long.
fn runs(cycles: &[f64]) -> Vec<Vec<Record>> {
    cycles.iter().map(|&cycles| vec![row("a", cycles)]).collect()
}

fn verdict(old: &[f64], new: &[f64]) -> Verdict {
    let blocks = [[runs(old), runs(new)]];
    let comparison = Comparison::new(&blocks, 1);
    comparison.pairs[0].verdict(comparison.deciding)
}

#[test]
fn orders_are_counted_as_they_are() {
    // Every order of three and three, one by one: bit r of the mask says whether the r-th run is a new one.
    let mut counted = vec![0.0; 10];
    for mask in (0u32..64).filter(|mask| mask.count_ones() == 3) {
        let first = |run: u32| (run + 1..6).filter(|&other| mask >> other & 1 == 0).count();
        counted[(0..6).filter(|&run| mask >> run & 1 == 1).map(first).sum::<usize>()] += 1.0;
    }
    assert_eq!(ways(3, 3), counted);
    assert_eq!((ways(1, 1), ways(2, 1).len(), ways(8, 8).iter().sum::<f64>()), (vec![1.0, 1.0], 3, 12870.0));
    // 2 / 20^3 times 40 cases is just 1 %.
    assert_eq!([40, 41].map(|cases| deciding([[3; 2]; 3], cases)), [Some(0), None]);
    assert_eq!([1, 3, 4, 42, 43, 615, 616].map(|cases| blocks(3, cases)), [3, 3, 4, 4, 5, 5, 6]);
}

#[test]
fn all_orders_are_drawn_about_as_often() {
    let mut drawn = HashMap::new();
    let mut numbers = Numbers::new(4);
    for _ in 0..20_000 {
        *drawn.entry(shuffled(3, &mut numbers)).or_insert(0) += 1;
    }
    assert_eq!(drawn.len(), 20);
    assert!(drawn.values().all(|count| (800..1200).contains(count)), "{drawn:?}");
}

#[test]
fn few_runs_cannot_tell() {
    assert_eq!(verdict(&[100.0], &[900.0]), Verdict::CannotTell);
    assert_eq!(verdict(&[100.0; 3], &[900.0; 3]), Verdict::CannotTell);
    let (old, new) = ([100.0, 101.0, 102.0, 103.0, 104.0, 105.0], [110.0, 111.0, 112.0, 113.0, 114.0, 115.0]);
    assert_eq!((verdict(&old, &new), verdict(&new, &old)), (Verdict::Slower, Verdict::Faster));
    assert_eq!(verdict(&old, &old), Verdict::Same);
    // Beyond doubt, but too small to matter.
    assert_eq!(verdict(&old.map(|old| 1000.0 + old / 1e3), &new.map(|new| 1001.0 + new / 1e3)), Verdict::Same);
    let blocks = [[runs(&[100.0]), runs(&[900.0])]];
    let comparison = Comparison::new(&blocks, 1);
    assert!(comparison.regressions().unwrap_err().contains("1 run(s) of the old and 1 of the new cannot tell"));
    assert!(comparison.summary()[0].starts_with("no verdict"));
    assert_eq!(comparison.rows(false)[0][7..], ["+800.0 %", "-", "cannot tell"].map(String::from));
}

/// A machine of the worst kind: for minutes it is slower by 1.4, it warms up, and some runs are far off. Time passes a run at a time.
struct Machine {
    numbers: Numbers,
    slow: bool,
    time: f64,
}

impl Machine {
    fn chance(&mut self) -> f64 {
        self.numbers.below(1 << 20) as f64 / f64::from(1 << 20)
    }

    /// A run of so many cases by a program that takes `share` of what it should.
    fn run(&mut self, cases: usize, share: f64, phases: f64) -> Vec<Record> {
        self.time += 1.0;
        self.slow ^= self.chance() < phases;
        let speed = if self.slow { 1.4 } else { 1.0 } * (1.0 + 0.001 * self.time);
        let mut case = |case: usize| {
            let noise = 1.0 + 0.03 * self.chance() + if self.chance() < 0.03 { self.chance() } else { 0.0 };
            row(&case.to_string(), 1000.0 * share * speed * noise)
        };
        (0..cases).map(&mut case).collect()
    }

    /// As `programs::take_turns`, with an order of its own.
    fn compare(&mut self, cases: usize, share: f64, phases: f64) -> Vec<Block> {
        let mut done: Vec<Block> = Vec::new();
        loop {
            let mut block = Block::default();
            for side in shuffled(3, &mut self.numbers) {
                block[side].push(self.run(cases, [1.0, share][side], phases));
            }
            done.push(block);
            if done.len() >= blocks(3, cases) || !Comparison::new(&done, blocks(3, cases)).is_open() {
                return done;
            }
        }
    }
}

#[test]
fn a_program_is_the_same_as_itself_on_the_worst_machine() {
    let mut machine = Machine { numbers: Numbers::new(5), slow: false, time: 0.0 };
    let (mut false_alarms, mut runs) = (0, 0);
    for comparison in 0..2000 {
        machine.time = 0.0;
        // From a machine that never changes its speed to one that may do so at every run.
        let done = machine.compare(30, 1.0, f64::from(comparison % 5) / 8.0);
        let compared = Comparison::new(&done, blocks(3, 30));
        false_alarms += usize::from(compared.count(Verdict::Same) != 30);
        runs += compared.runs[0];
    }
    // One in a hundred is the bound; the change must be large enough, too, and cases hang together.
    assert!(false_alarms <= 20, "{false_alarms} of 2000");
    // Most end early.
    assert!(runs < 2000 * 11, "{runs}");
}

#[test]
fn a_slowdown_is_found_on_a_bad_machine() {
    let mut machine = Machine { numbers: Numbers::new(6), slow: false, time: 0.0 };
    for (share, expected) in [(1.1, Verdict::Slower), (0.9, Verdict::Faster)] {
        let mut found = 0;
        for _ in 0..100 {
            (machine.time, machine.slow) = (0.0, false);
            let done = machine.compare(12, share, 0.01);
            found += Comparison::new(&done, blocks(3, 12)).count(expected);
        }
        assert!(found > 1200 * 8 / 10, "{found} of 1200 {}", expected.name());
    }
}

#[test]
fn cycles_count_before_nanoseconds_where_all_runs_have_them() {
    let at = |cycles, ns| vec![vec![Record { cycles, ns, ..row("a", 0.0) }]];
    let change = |blocks: &[Block]| Comparison::new(blocks, 1).pairs[0].change();
    assert_eq!(change(&[[at(Some(1000.0), 300.0), at(Some(1000.0), 600.0)]]), 0.0);
    assert_eq!(change(&[[at(Some(1000.0), 300.0), at(None, 600.0)]]), 1.0);
}

#[test]
fn cases_are_matched_by_all_that_names_them() {
    let with = |change: fn(&mut Record)| {
        let mut row = row("a", 2000.0);
        change(&mut row);
        vec![vec![row]]
    };
    let different: [fn(&mut Record); 7] = [
        |row| row.suite = "gemm".into(),
        |row| row.case = "b".into(),
        |row| row.engine = "horq-f32".into(),
        |row| row.order = Some(2),
        |row| row.mode = Some("image".into()),
        |row| row.isa = Some("avx2".into()),
        |row| row.batch = Some(8),
    ];
    for change in different {
        let blocks = [[runs(&[1000.0]), with(change)]];
        let comparison = Comparison::new(&blocks, 1);
        assert_eq!((comparison.pairs.len(), comparison.only), (0, [1, 1]));
    }
    let blocks = [[runs(&[1000.0]), with(|row| row.batch = Some(1))]];
    assert_eq!(Comparison::new(&blocks, 1).cases(), 1);
}

#[test]
fn baselines_are_no_regressions_and_moved_limits_are_noted() {
    let limit = |cycles| Record { engine: "limit".into(), ..row("fma", cycles) };
    let old = vec![limit(100.0), row("a", 100.0), row("b", 100.0), row("c", 100.0)];
    let new = vec![limit(150.0), row("a", 150.0), row("b", 50.0), row("c", 100.0)];
    let blocks: Vec<Block> = (0..4).map(|_| [vec![old.clone(); 3], vec![new.clone(); 3]]).collect();
    let comparison = Comparison::new(&blocks, 1);
    assert_eq!(comparison.regressions(), Ok(1));
    let summary = comparison.summary().join("\n");
    assert!(summary.contains("1 slower, 1 faster, 1 the same"), "{summary}");
    assert!(summary.contains("limits moved by +50.0 %"), "{summary}");
    let rows = comparison.rows(false);
    assert_eq!((rows.len(), rows[0].len()), (2, Comparison::HEADER.split('|').count()));
    assert_eq!((rows[0][0].as_str(), rows[0][9].as_str()), ("conv a", "slower"));
    assert_eq!(comparison.rows(true).len(), 3);
}

#[test]
fn other_machines_are_noted() {
    let on = |cpu: &str| vec![vec![Record { cpu: cpu.into(), ..row("a", 1.0) }]];
    assert!(Comparison::new(&[[on("A"), on("B")]], 1).summary().join("\n").contains("the CPU differs: A, now B"));
}
