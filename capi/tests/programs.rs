//! Programs in C and C++ over an installed library: the suite, the wrapper, the examples, and the programs of the documentation.
//!
//! `.ci/capi` runs them again under valgrind and with AddressSanitizer: `HORQ_CAPI_RUNNER` is put before each program, and
//! `HORQ_CAPI_FLAGS` goes to the compilers.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use horq::Builder;
use horq::graph::Shape;
use horq::ops::{Add, Relu};
use tempfile::TempDir;

const WARNINGS: [&str; 6] = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wshadow", "-O1"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the library is installed, as `capi/install` lays it out, for all tests of this process.
fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let built = test.parent().unwrap();
        let prefix = built.parent().unwrap().join("capi-prefix");
        let _ = std::fs::remove_dir_all(&prefix);
        run(Command::new(root().join("install")).arg("--prefix").arg(&prefix).arg("--from").arg(built));
        prefix
    })
}

/// Runs a command that must succeed; what it printed.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}; please install it"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{}{}", text(&stdout), text(&stderr));
    text(&stdout)
}

fn pkg_config(what: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig")).args(what).arg("horq");
    run(&mut command).split_whitespace().map(str::to_owned).collect()
}

/// Compiles a program with the flags of pkg-config.
fn compile(compiler: &str, flags: &[&str], sources: &[PathBuf], folder: &TempDir) -> PathBuf {
    let program = folder.path().join("program");
    let extra = std::env::var("HORQ_CAPI_FLAGS").unwrap_or_default();
    let mut command = Command::new(compiler);
    command.args(WARNINGS).args(flags).args(extra.split_whitespace()).args(pkg_config(&["--cflags"])).args(sources);
    run(command.arg("-o").arg(&program).args(pkg_config(&["--libs"])).args(["-lpthread", "-lm"]));
    program
}

/// A command for a program that finds the installed library, under the runner that the environment names.
fn start(program: &Path) -> Command {
    let runner = std::env::var("HORQ_CAPI_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let mut command = match words.next() {
        None => Command::new(program),
        Some(runner) => {
            let mut command = Command::new(runner);
            command.args(words).arg(program);
            command
        }
    };
    command.env("LD_LIBRARY_PATH", prefix().join("lib"));
    command
}

fn models() -> PathBuf {
    root().join("../models")
}

fn lenet() -> PathBuf {
    models().join("lenet5.horq")
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Source files of the tests in C.
fn sources(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| root().join("tests/c").join(name)).collect()
}

#[test]
fn the_suite_in_c_passes() {
    let folder = folder();
    let files = sources(&["suite.c", "models.c", "sessions.c", "endings.c"]);
    let program = compile("cc", &["-std=c11"], &files, &folder);
    let printed = run(start(&program).arg(models()));
    assert!(printed.contains("12 tests passed"), "{printed}");
}

#[test]
fn the_wrapper_in_cpp_works_with_exceptions_and_without() {
    for flags in [&["-std=c++17"][..], &["-std=c++20"], &["-std=c++17", "-DHORQ_NO_EXCEPTIONS", "-fno-exceptions"]] {
        let folder = folder();
        let program = compile("c++", flags, &sources(&["wrapper.cpp"]), &folder);
        assert!(run(start(&program).arg(models())).contains("the wrapper works"));
    }
}

#[test]
fn a_warm_run_allocates_nothing() {
    // Sanitizers and valgrind have allocators of their own.
    if std::env::var_os("HORQ_CAPI_RUNNER").is_some() || std::env::var_os("HORQ_CAPI_FLAGS").is_some() {
        return;
    }
    let folder = folder();
    let program = compile("cc", &["-std=c11", "-fno-builtin"], &sources(&["allocations.c"]), &folder);
    let several = folder.path().join("several.horq");
    let mut builder = Builder::new("a", Shape::Flat(2));
    builder.add_input("b", Shape::Flat(2)).unwrap().add("sum", &["a", "b"], Add).unwrap();
    builder.add("positive", &["sum"], Relu).unwrap().write_many(&["positive", "sum"], &several).unwrap();
    assert_eq!(run(start(&program).arg(models()).arg(&several)), "0 allocations in 3000 warm runs\n");
}

#[test]
fn the_library_exports_the_calls_of_the_header_and_nothing_else() {
    let header = std::fs::read_to_string(prefix().join("include/horq.h")).unwrap();
    let listed = run(Command::new("nm").arg("-D").arg("--defined-only").arg(prefix().join("lib/libhorq.so")));
    let exported: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert!(exported.len() > 40, "{exported:?}");
    for name in &exported {
        assert!(name.starts_with("horq_"), "{name} is exported");
        assert!(header.contains(&format!("{name}(")), "{name} is not in the header");
    }
    let calls = header.lines().filter(|line| !line.starts_with("//") && line.contains("(") && line.contains("horq_"));
    let declared =
        |line: &str| line.split('(').next().and_then(|left| left.split([' ', '*']).next_back()).map(str::to_owned);
    for name in calls.filter_map(declared).filter(|name| name.starts_with("horq_")) {
        assert!(exported.contains(&name.as_str()), "{name} is in the header, but not exported");
    }
}

#[test]
fn a_program_can_be_linked_with_the_static_library() {
    let folder = folder();
    let source = folder.path().join("program.c");
    std::fs::write(&source, program_of_the_docs("c")).unwrap();
    let program = folder.path().join("program");
    let libs: Vec<String> = pkg_config(&["--static", "--libs"]).into_iter().filter(|flag| flag != "-lhorq").collect();
    let mut command = Command::new("cc");
    command.args(pkg_config(&["--cflags"])).arg(&source).arg("-o").arg(&program).arg(prefix().join("lib/libhorq.a"));
    run(command.args(libs));
    assert_eq!(run(Command::new(&program).arg(lenet())).lines().count(), 10);
}

/// The first program in that language of the section for C and C++.
fn program_of_the_docs(language: &str) -> String {
    let page = std::fs::read_to_string(root().join("../docs/embedding.md")).unwrap();
    let section =
        page.split("\n## ").find(|section| section.starts_with("From C and C++")).expect("there is a section");
    let fence = format!("```{language}\n");
    let program = section.split(&fence).nth(1).unwrap_or_else(|| panic!("there is no program in {language}"));
    program.split("```").next().unwrap().to_owned()
}

#[test]
fn the_programs_of_the_docs_run() {
    for (compiler, language, standard) in [("cc", "c", "-std=c11"), ("c++", "cpp", "-std=c++17")] {
        let folder = folder();
        let source = folder.path().join(format!("program.{language}"));
        let text = program_of_the_docs(language);
        assert!(text.lines().count() <= 15, "it is a program of some ten lines");
        std::fs::write(&source, text).unwrap();
        let program = compile(compiler, &[standard], &[source], &folder);
        let printed = run(start(&program).arg(lenet()));
        let values: Vec<f32> = printed.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(values.len(), 10, "{printed}");
        let refused = start(&program).arg("no/such/model").output().unwrap();
        assert!(!refused.status.success());
    }
}

/// The lines of the README are not a whole program.
#[test]
fn the_lines_of_the_readme_run() {
    let page = std::fs::read_to_string(root().join("../README.md")).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("In a service")).expect("there is a section");
    let lines = section.split("```c\n").nth(1).unwrap().split("```").next().unwrap();
    let (includes, body): (Vec<&str>, Vec<&str>) = lines.lines().partition(|line| line.starts_with("#include"));
    let folder = folder();
    let source = folder.path().join("program.c");
    let body = body.join("\n");
    let text = format!(
        "{}\n#include <stdio.h>\nint main(void) {{\n{body}\n  else puts(\"it ran\");\n}}\n",
        includes.join("\n")
    );
    std::fs::write(&source, text).unwrap();
    let program = compile("cc", &["-std=c11"], &[source], &folder);
    std::fs::copy(lenet(), folder.path().join("model.horq")).unwrap();
    assert_eq!(
        run(Command::new(&program).current_dir(&folder).env("LD_LIBRARY_PATH", prefix().join("lib"))),
        "it ran\n"
    );
}

/// Go calls C by its own means. Where there is no Go, `HORQ_REQUIRE_GO` makes this fail.
#[test]
fn a_program_in_go_runs() {
    let there = Command::new("go").arg("version").output().is_ok_and(|output| output.status.success());
    if !there {
        assert!(std::env::var_os("HORQ_REQUIRE_GO").is_none(), "Go is required and not there");
        eprintln!("there is no Go here: its program of the docs was not run");
        return;
    }
    let folder = folder();
    let source = folder.path().join("main.go");
    std::fs::write(&source, program_of_the_docs("go")).unwrap();
    let program = folder.path().join("program");
    let mut build = Command::new("go");
    build.current_dir(folder.path()).env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig")).env("GO111MODULE", "off");
    run(build.args(["build", "-o"]).arg(&program).arg(&source));
    let printed = run(Command::new(&program).env("LD_LIBRARY_PATH", prefix().join("lib")).arg(lenet()));
    assert_eq!(printed.split_whitespace().count(), 10, "{printed}");
}

#[test]
fn the_examples_print_classes() {
    // Images that the file carries with their answers.
    let model = horq::Model::open(lenet()).unwrap();
    let golden = model.golden().unwrap();
    let (samples, classes) = (golden.samples, golden.output().len() / golden.samples);
    let bytes: Vec<u8> = golden.input().iter().map(|&value| value as u8).collect();
    assert!(golden.input().iter().zip(&bytes).all(|(&value, &byte)| value == f32::from(byte)), "they are pixels");
    let idx = |images: &[u8]| [&[0, 0, 8, 3, 0, 0, 0, samples as u8, 0, 0, 0, 28, 0, 0, 0, 28], images].concat();
    let folder = folder();
    let images = folder.path().join("images.idx3-ubyte");
    let best = |scores: &[f32]| (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
    let expected: String = golden
        .output()
        .chunks(classes)
        .enumerate()
        .map(|(number, scores)| format!("image {number}: {}\n", best(scores)))
        .collect();
    let program = compile("cc", &["-std=c11"], &[root().join("examples/digits.c")], &folder);
    std::fs::write(&images, idx(&bytes)).unwrap();
    assert_eq!(run(start(&program).arg(lenet()).arg(&images)), expected);
    for bad in [&[][..], &idx(&bytes[1..]), &bytes] {
        std::fs::write(&images, bad).unwrap();
        let output = start(&program).arg(lenet()).arg(&images).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stderr.starts_with(b"digits: ") && output.stderr.ends_with(b"\n"), "{output:?}");
    }

    let vgg = models().join("vgg-small.horq");
    let model = horq::Model::open(&vgg).unwrap();
    let golden = model.golden().unwrap();
    let picture: Vec<u8> = golden.input()[..32 * 32 * 3].iter().map(|&value| value as u8).collect();
    let program = compile("c++", &["-std=c++17"], &[root().join("examples/picture.cpp")], &folder);
    let file = folder.path().join("picture.ppm");
    std::fs::write(&file, [b"P6\n# made up\n32 32\n255\n", &picture[..]].concat()).unwrap();
    let printed = run(start(&program).arg(&vgg).arg(&file));
    assert!(printed.starts_with(&format!("class {} of 10", best(&golden.output()[..10]))), "{printed}");
    for bad in [&b"P5 32 32 255 "[..], b"P6 32 31 255 ", b"P6 32 32 255 short"] {
        std::fs::write(&file, bad).unwrap();
        let output = start(&program).arg(&vgg).arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
}
