//! The program as people and scripts call it.

use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// Runs the program in that folder; arguments have spaces between.
fn bench(folder: &TempDir, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_horq-bench"));
    command.current_dir(folder).args(arguments.split_whitespace()).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// Every key that `--help` and `docs/measuring.md` promise, in the order of the CSV.
const KEYS: &str = "suite,case,engine,unit,m,n,k,order,mode,isa,threads,cycles,ns,macs,limit_fraction,speedup_scalar,\
    speedup_float,spread,rounds,batch,p50,p90,p99,p999,max,throughput,allocations,quantize,bits,epilogue,float,file,arena,rss,\
    peak_rss,minor_faults,major_faults,cpu,commit,rustc,clock,date";

#[test]
fn bad_arguments_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, named) in [
        ("gemm --shape 192x256", "MxNxK"),
        ("gemm --shape 0x1x1", "at least 1"),
        ("gemm --shape 4x4x99999999999999999999", "99999999999999999999"),
        ("gemm --order 9", "1 to 8"),
        ("conv --shape 4x4x4", "HxWxCxN"),
        ("conv --shape 100000x100000x64x64", "100000x100000x64x64"),
        ("conv --mode row", "row"),
        ("curve speed", "speed"),
        ("peak --isa sse9", "sse9"),
        ("peers --only tensorrt", "tensorrt"),
        ("peers --turns 2", "--turns"),
        ("peak --threads 0", "1 to 1024"),
        ("peak --json no/such/folder.json", "no/such/folder.json"),
        ("--shape 1x1x1", "--shape"),
    ] {
        let output = bench(&folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(text(&output.stderr).contains(named), "{arguments:?}: {}", text(&output.stderr));
    }
    let other = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    let output = bench(&folder, &format!("peak --isa {other}"));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("this CPU has only"), "{}", text(&output.stderr));
}

#[test]
fn peers_are_not_installed_by_surprise() {
    let folder = tempfile::tempdir().unwrap();
    let output = bench(&folder, "peers --budget 1");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--install"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let output = bench(&folder, "peers --case alexnet --budget 1");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("alexnet"), "{}", text(&output.stderr));
}

#[test]
fn an_output_folder_that_cannot_be_made_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("taken"), "").unwrap();
    let output = bench(&folder, "--out taken/out");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("taken/out"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
}

#[test]
fn json_lines_hold_every_key_and_nothing_else_goes_to_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "gemm --shape 5x33x70 --order 2 --isa portable --budget 1 --json -";
    let output = bench(&folder, arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect();
    assert_eq!(lines.len(), 3);
    for line in &lines {
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.len(), KEYS.split(',').count());
        assert!(KEYS.split(',').all(|key| keys.contains(&key)), "{keys:?}");
        assert_eq!((&line["m"], &line["n"], &line["k"]), (&5.into(), &33.into(), &70.into()));
        assert!(line["ns"].as_f64().unwrap() > 0.0);
    }
    let bits = lines.iter().find(|line| line["engine"] == "horq").unwrap();
    assert_eq!((&bits["isa"], &bits["order"], &bits["unit"]), (&"portable".into(), &2.into(), &"bit".into()));
    assert_eq!(bits["macs"], serde_json::json!(2.0 * 5.0 * 33.0 * 70.0));
    // Tables go to standard error, and a bare suite leaves no files.
    assert!(text(&output.stderr).contains("5x33x70"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_curve_leaves_results_a_record_and_figures() {
    let folder = tempfile::tempdir().unwrap();
    let output = bench(&folder, "curve order --budget 1 --out a/b --record kept");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read = |name: &str| std::fs::read(folder.path().join("a/b").join(name)).expect(name);
    assert!(text(&read("curve-order.svg")).starts_with("<svg"));
    assert_eq!(&read("curve-order.png")[1..4], b"PNG");
    assert!(text(&read("times.svg")).contains("at their limit"));
    assert!(text(&output.stdout).contains("each further order adds"), "{}", text(&output.stdout));
    let csv = text(&read("results.csv"));
    assert_eq!(csv.lines().next().unwrap(), KEYS);
    // Three float engines, and eight orders in four modes.
    assert_eq!(csv.lines().count(), 1 + 3 + 32);
    assert_eq!(text(&read("results.jsonl")).lines().count(), 3 + 32);
    // A line for each mode, a bar with its two ends for each point, and one caption that says what it is.
    let drawn = text(&read("curve-order.svg"));
    assert_eq!(drawn.matches("stroke-width=\"1.5\"").count(), 2 * 32 * 3);
    assert!(
        drawn.contains("halving scales") && drawn.contains("fixed scales") && drawn.contains("the fastest of 5 rounds")
    );
    let cpus: Vec<_> = std::fs::read_dir(folder.path().join("kept")).unwrap().collect();
    assert_eq!(cpus.len(), 1);
    let record = std::fs::read_dir(cpus[0].as_ref().unwrap().path()).unwrap().next().unwrap().unwrap();
    assert_eq!(text(&std::fs::read(record.path()).unwrap()), csv);
}

/// A record of `peers` with one layer: ours takes 10 us an order, int8 `int8` us, float 200 us.
fn peers_record(folder: &Path, name: &str, int8: f64) {
    let header = "suite,case,engine,unit,order,mode,isa,threads,cycles,ns,macs,spread,cpu,commit,rustc,clock,date";
    let row = |engine: &str, unit: &str, order: &str, mode: &str, us: f64| {
        let ns = us * 1e3;
        format!("peers,14x14x256x256 k3 s1,{engine},{unit},{order},{mode},,1,,{ns},1000,0.02,c,x,r,perf,2026-01-02")
    };
    let mut rows = vec![header.to_owned()];
    rows.extend((1..=4).map(|order| row("horq", "bit", &order.to_string(), "image", 10.0 * f64::from(order))));
    rows.extend([row("litert", "int8", "", "", int8), row("openvino-vectors", "int8", "", "", 45.0)]);
    rows.extend([row("openvino", "bit", "1", "", 20.0), row("ncnn", "float", "", "", 200.0)]);
    std::fs::write(folder.join(name), rows.join("\n") + "\n").unwrap();
}

#[test]
fn a_curve_shows_where_others_win_by_a_record_of_them() {
    let folder = tempfile::tempdir().unwrap();
    peers_record(folder.path(), "p.csv", 25.0);
    let output = bench(&folder, "curve order --budget 1 --out out --peers p.csv");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for expected in ["the record of 2026-01-02", "litert  25.0  3 (2.", "about 5 (4.50)", "about 21 (20.0)"] {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&printed).contains(&words(expected)), "{expected}: {printed}");
    }
    let drawn = |name: &str| std::fs::read_to_string(folder.path().join("out").join(name)).unwrap();
    assert!(drawn("peers-1.svg").contains("int8: litert") && drawn("peers-1.svg").contains("14x14x256x256"));
    assert!(drawn("times.svg").contains("best int8 of the record beside: litert"));
    // A record of something else is refused before anything is measured.
    record(folder.path(), "r.csv", 1000.0);
    for (file, named) in [("r.csv", "no results of the suite peers"), ("none.csv", "cannot read none.csv")] {
        let output = bench(&folder, &format!("curve order --peers {file}"));
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        assert!(text(&output.stderr).contains(named), "{}", text(&output.stderr));
    }
}

#[test]
fn a_convolution_of_the_callers_choice_runs_in_every_mode() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "conv --shape 9x7x20x33 --kernel 5 --stride 2 --order 3 --mode window,image,fixed,none --budget 1 --threads 2 \
                     --json lines";
    let output = bench(&folder, arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = std::fs::read_to_string(folder.path().join("lines")).unwrap();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let modes: Vec<&str> = lines.iter().filter_map(|line| line["mode"].as_str()).collect();
    assert_eq!(modes, ["window", "image", "fixed", "none"]);
    for line in &lines {
        assert_eq!((&line["m"], &line["n"], &line["k"]), (&20.into(), &33.into(), &500.into()));
        assert_eq!(line["threads"], if line["engine"] == "scalar" { 1 } else { 2 });
        // Where the clock of the CPU wanders meanwhile, the record says so behind the name.
        assert_eq!(line["clock"].as_str().and_then(|clock| clock.split(' ').next()), Some("time"));
    }
}

/// Where standard error is no terminal, it has a line a suite, and none that shows a value as Rust does.
#[test]
fn progress_is_a_line_a_suite() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, suites) in [
        ("curve order kernel --out out", &["curve-order", "curve-kernel"][..]),
        ("conv --shape 3x3x8x8 --order 1,2,3 --mode fixed,image", &["conv"]),
        ("network --network lenet5 --order 1,2 --runs 10", &["network"]),
    ] {
        let output = bench(&folder, &format!("{arguments} --budget 1"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let expected = ["the limits of this machine"].iter().chain(suites).map(|suite| format!("measuring {suite}\n"));
        assert_eq!(text(&output.stderr), expected.collect::<String>());
    }
}

#[test]
fn layers_are_measured_by_what_their_weights_are() {
    let folder = tempfile::tempdir().unwrap();
    let lines = lines(&bench(&folder, "weights --budget 1 --json -"));
    let of_product: Vec<_> = lines.iter().filter(|line| line["case"] == "1024x1024x1024").collect();
    let named = |key: &str| of_product.iter().map(|line| line[key].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(
        named("engine"),
        ["gemm", "horq-f32", "horq-int8", "horq-code5", "horq-code4", "horq-code3", "horq-sign"]
    );
    assert_eq!(named("unit"), ["float", "float", "int8", "code", "code", "code", "sign"]);
    for line in &of_product {
        assert_eq!(line["macs"], serde_json::json!(1024f64.powi(3)));
        let ours = line["engine"].as_str().unwrap().starts_with("horq");
        assert_eq!((line["speedup_float"].is_f64(), line["isa"].is_string()), (ours, ours));
    }
    assert_eq!(lines.len(), 5 * 7);
}

#[test]
fn networks_that_cannot_run_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broken.horq"), "{}").unwrap();
    let lenet = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/lenet5.horq");
    std::fs::copy(lenet, folder.path().join("lenet5.horq")).unwrap();
    for (arguments, named) in [
        ("--network vgg-large", "quicknet-small"),
        ("--network broken.horq", "broken.horq"),
        ("--network lenet5.horq --order 5", "holds 4"),
        ("--network lenet5.horq --mode image", "--mode"),
        ("--order 0", "1 to 8"),
        ("--batch 0", "4096"),
        ("--runs none", "none"),
    ] {
        let output = bench(&folder, &format!("network {arguments}"));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(text(&output.stderr).contains(named), "{arguments:?}: {}", text(&output.stderr));
    }
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

#[test]
fn a_network_has_latencies_layers_and_a_cold_start() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        "network --network lenet5 --order 1,3 --mode image --batch 2 --runs 1000 --budget 1 --save kept --json -";
    let lines = lines(&bench(&folder, arguments));
    let of = |suite: &str, case: &str| -> Vec<&serde_json::Value> {
        lines.iter().filter(|line| line["suite"] == suite && line["case"] == case).collect()
    };
    for (order, whole) in [1, 3].into_iter().zip(of("network", "lenet5")) {
        let number = |key: &str| whole[key].as_f64().unwrap_or_else(|| panic!("{key} is missing"));
        assert_eq!((&whole["order"], &whole["mode"], &whole["batch"]), (&order.into(), &"image".into(), &2.into()));
        let latencies = ["p50", "p90", "p99", "p999", "max"].map(number);
        assert!(latencies.is_sorted() && latencies[0] > 0.0, "{latencies:?}");
        assert!(number("throughput") > 0.0 && number("spread") >= 0.0);
        assert_eq!(number("allocations"), 0.0);
    }
    for layer in of("network", "lenet5/conv2") {
        let stages: f64 = ["quantize", "bits", "epilogue"].map(|stage| layer[stage].as_f64().unwrap()).iter().sum();
        assert!(stages > 0.0 && stages <= layer["ns"].as_f64().unwrap(), "{layer}");
        assert_eq!(layer["macs"], serde_json::json!(layer["order"].as_f64().unwrap() * 2.0 * 64.0 * 50.0 * 500.0));
    }
    let (all, start) = (of("cold", "lenet5"), of("cold", "lenet5/start"));
    assert_eq!((all.len(), start.len(), of("network", "lenet5/dense4").len()), (2, 2, 2));
    assert!(all[0]["ns"].as_f64().unwrap() > start[0]["ns"].as_f64().unwrap());
    if cfg!(target_os = "linux") {
        let number = |key: &str| all[0][key].as_u64().unwrap();
        assert!(number("minor_faults") > 0 && number("peak_rss") >= number("rss") && number("rss") > number("arena"));
    }
    // What was kept is a model that runs under its own name.
    let arguments = "network --network kept/lenet5-image-3.horq --runs 10 --budget 1 --json -";
    let lines = self::lines(&bench(&folder, arguments));
    let whole: Vec<_> =
        lines.iter().filter(|line| line["case"] == "lenet5-image-3" && line["suite"] == "network").collect();
    assert_eq!(whole.iter().map(|line| line["order"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(whole.iter().all(|line| line["mode"] == "image" && line["p99"].is_null()));
}

/// A record of two cases, the second taking that many cycles.
fn record(folder: &Path, name: &str, cycles: f64) {
    let header = "suite,case,engine,unit,order,isa,threads,cycles,ns,macs,spread,cpu,commit,rustc,clock,date";
    let row = |case: &str, cycles: f64| {
        format!("gemm,{case},horq,bit,1,avx2,1,{cycles},{},1000,0.02,c,x,r,perf,d", cycles / 3.0)
    };
    let csv = [header.to_owned(), row("a", 1000.0), row("b", cycles)].join("\n") + "\n";
    std::fs::write(folder.join(name), csv).unwrap();
}

#[test]
fn records_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    // Two cases, and 2 / C(2n, n) for each: seven runs of each program are enough.
    for side in ["old", "slower", "faster", "few"] {
        std::fs::create_dir(folder.path().join(side)).unwrap();
        let runs = if side == "few" { 3 } else { 7 };
        let cycles =
            [("slower", 1100.0), ("faster", 900.0)].iter().find(|way| way.0 == side).map_or(1000.0, |way| way.1);
        for run in 0..runs {
            record(folder.path(), &format!("{side}/{run}.csv"), cycles + f64::from(run));
        }
    }
    record(folder.path(), "one.csv", 9000.0);
    for (new, summary, status) in [
        ("old", "0 slower, 0 faster, 2 the same", 0),
        ("slower", "1 slower, 0 faster, 1 the same", 1),
        ("faster", "0 slower, 1 faster", 0),
        ("few", "no verdict: 7 run(s) of the old and 3 of the new cannot tell a change of 2 case(s)", 2),
        ("one.csv", "no verdict: 7 run(s) of the old and 1 of the new", 2),
    ] {
        let output = bench(&folder, &format!("compare old {new}"));
        assert!(output.status.success() && text(&output.stdout).contains(summary), "{}", text(&output.stdout));
        let output = bench(&folder, &format!("compare old {new} --fail-on-regression"));
        assert_eq!(output.status.code(), Some(status), "{new}");
    }
    std::fs::write(folder.path().join("text.csv"), "not,a,record\n1,2,3\n").unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    for (file, named) in [
        ("none.csv", "cannot read none.csv"),
        ("text.csv", "text.csv is no record"),
        ("empty", "empty holds no record"),
    ] {
        let output = bench(&folder, &format!("compare old {file}"));
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(named), "{}", text(&output.stderr));
    }
    // Before anything is measured.
    let output = bench(&folder, "gemm --compare none.csv");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
}

#[test]
fn a_run_beside_a_record_shows_changes_but_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let run = "gemm --shape 5x33x70 --isa portable --budget 1";
    let output = bench(&folder, &format!("{run} --out first"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = bench(&folder, &format!("{run} --compare first/results.csv"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for expected in ["gemm: ", "on the mean of 1 cases", "cannot tell", "OLD_PROGRAM NEW_PROGRAM -- SUITE"] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    // A gate that lets everything pass is none.
    let output = bench(&folder, &format!("{run} --compare first/results.csv --fail-on-regression"));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(text(&output.stderr).contains("one run cannot tell"), "{}", text(&output.stderr));
}

#[test]
fn programs_are_compared_in_turns() {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_horq-bench");
    let suite = "gemm --shape 5x33x70 --isa portable --budget 1 --rounds 2";
    let output = bench(&folder, &format!("compare --all {program} {program} --fail-on-regression -- {suite}"));
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("0 slower") && text(&output.stdout).contains("on the mean of 1 cases"));
    let said = text(&output.stderr);
    let order = said.lines().next().and_then(|line| line.strip_prefix("block 1: ")).expect("a line for each block");
    assert_eq!([order[..6].matches('A').count(), order[..6].matches('B').count()], [3, 3], "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    for (arguments, named) in [
        (format!("compare {program} no-such-program -- gemm"), "cannot run no-such-program"),
        (format!("compare {program} {program} -- gemm --shape 4"), "MxNxK"),
        (format!("compare {program} {program} -- peak --isa portable --budget 1"), "no case of ours"),
        (format!("compare {program} {program} --runs 2 -- gemm"), "3 to 20"),
    ] {
        let output = bench(&folder, &arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(text(&output.stderr).contains(named), "{arguments}: {}", text(&output.stderr));
    }
}

#[test]
fn tables_are_written_between_their_marks() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), "r.csv", 1000.0);
    let marked = "# T\n<!-- bench:gemm -->\n<!-- bench:end -->\nend\n";
    std::fs::write(folder.path().join("T.md"), marked).unwrap();
    let output = bench(&folder, "tables r.csv --document T.md");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let written = std::fs::read_to_string(folder.path().join("T.md")).unwrap();
    assert!(written.starts_with("# T\n<!-- bench:gemm from r.csv -->\n\n| M x N x K |"), "{written}");
    assert!(written.ends_with("<!-- bench:end -->\nend\n"), "{written}");
    // Several records in one document: each rewrites its own tables.
    peers_record(folder.path(), "p.csv", 5.0);
    let both = written + "<!-- bench:peers from p.csv -->\n<!-- bench:end -->\n";
    std::fs::write(folder.path().join("T.md"), &both).unwrap();
    for (file, expected) in [("p.csv", "| litert 5.00 | 1 |"), ("r.csv", "| litert 5.00 | 1 |")] {
        let output = bench(&folder, &format!("tables {file} --document T.md"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let written = std::fs::read_to_string(folder.path().join("T.md")).unwrap();
        assert!(written.contains(expected) && written.contains("<!-- bench:gemm from r.csv -->"), "{written}");
    }
    for (arguments, named) in [
        ("tables r.csv", "--document"),
        ("tables r.csv --document no.md", "no.md"),
        ("gemm --document T.md", "--record"),
    ] {
        let output = bench(&folder, arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(named), "{}", text(&output.stderr));
    }
}

#[test]
fn help_names_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let output = bench(&folder, "--help");
    let help = text(&output.stdout);
    assert!(KEYS.split(',').all(|key| help.contains(key)), "{help}");
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/measuring.md")).unwrap();
    assert!(KEYS.split(',').all(|key| document.contains(&format!("`{key}`"))));
}
