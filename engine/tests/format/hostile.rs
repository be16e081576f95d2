//! Headers made to take memory: whatever a stranger writes into one, opening takes the file's size and a bounded number of bytes for
//! each of the header's.

use horq::Model;
use serde_json::{Value, json};

use crate::forge::{self, Forge};
use crate::memory::peak;
use crate::zoo::small;

/// What `Limits::header_bytes` promises.
const BYTES_A_BYTE: usize = 32;

/// As many bytes of a part, repeated, as the longest header has room for beside a small model; `width` counts escapes.
fn fill(width: usize, part: impl Fn(usize) -> String) -> String {
    let room = horq::MAX_HEADER_BYTES - 8000;
    (0..room / width).map(part).collect()
}

/// A key of three characters that need no escape: short ones take the most memory for their length.
fn key(i: usize) -> String {
    const LETTERS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%&()*+-.:;<=>?@^_|~";
    [i / LETTERS.len() / LETTERS.len(), i / LETTERS.len(), i]
        .map(|i| LETTERS[i % LETTERS.len()] as char)
        .iter()
        .collect()
}

/// Headers of their own, without a model.
fn bare() -> Vec<(&'static str, String)> {
    let entry = |fields: String| format!(r#"{{"a":{{"dtype":"F32","shape":[],"data_offsets":[0,4]{fields}}}}}"#);
    vec![
        ("an array for an entry", format!(r#"{{"a":[{}0]}}"#, fill(2, |_| "0,".into()))),
        ("arrays for an entry", format!(r#"{{"a":[{}0]}}"#, fill(4, |_| "[0],".into()))),
        (
            "a shape of many sizes",
            format!(r#"{{"a":{{"dtype":"F32","shape":[{}0],"data_offsets":[0,0]}}}}"#, fill(2, |_| "0,".into())),
        ),
        ("arrays in an unknown field", entry(format!(r#","b":[{}0]"#, fill(4, |_| "[0],".into())))),
        ("keys of an unknown field", entry(format!(r#","b":{{{}"":0}}"#, fill(8, |i| format!("\"{}\":0,", key(i)))))),
        ("entries of no object", format!(r#"{{{}"":0}}"#, fill(14, |i| format!("\"{}\":[0,0],", key(i))))),
        (
            "tensors",
            format!(
                r#"{{{}"":{{"dtype":"F4","shape":[0],"data_offsets":[0,0]}}}}"#,
                fill(54, |i| format!(r#""{}":{{"dtype":"F4","shape":[0],"data_offsets":[0,0]}},"#, key(i)))
            ),
        ),
        ("metadata", format!(r#"{{"__metadata__":{{{}"":""}}}}"#, fill(9, |i| format!("\"{}\":\"\",", key(i))))),
        (
            "escaped keys of the metadata",
            format!(
                r#"{{"__metadata__":{{{}"":""}}}}"#,
                fill(14, |i| format!("\"{}\\u{:04x}\":\"\",", &key(i)[..2], i % 0xd000))
            ),
        ),
    ]
}

/// Changes of a small model, each of which fills its header.
fn models() -> Vec<(&'static str, Forge)> {
    let changed = |what, change: &dyn Fn(&mut Forge)| {
        let mut forge = Forge::open(&small().to_bytes("logits").unwrap());
        change(&mut forge);
        (what, forge)
    };
    // Text in place of a value, since the library that writes JSON here knows no duplicate and takes memory of its own.
    let field = |what, text: String| {
        changed(what, &move |forge: &mut Forge| {
            forge.node("flat")["later"] = json!("PLACE");
            forge.metadata.insert("graph".into(), forge.graph.to_string().replace("\"PLACE\"", &text));
        })
    };
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let node = json!({ "name": "a", "inputs": ["x"], "op": "relu" });
    let strings = |count| Value::Array(vec![json!(""); count]);
    vec![
        changed("nodes", &|forge| forge.graph["nodes"] = Value::Array(vec![node.clone(); horq::MAX_NODES])),
        changed("values that are no nodes", &|forge| forge.graph["nodes"] = Value::Array(vec![json!(0); 500_000])),
        changed("inputs", &|forge| forge.node("flat")["inputs"] = strings(200_000)),
        changed("bases", &|forge| {
            forge.node("binary")["bases"] = Value::Array(vec![json!({ "weight": "", "alpha": "" }); 30_000]);
        }),
        changed("a long shape", &|forge| forge.graph["input"]["shape"] = Value::Array(vec![json!(0); 500_000])),
        changed("short notes", &|forge| {
            forge.metadata.extend((0..70_000).map(|i| (format!("note.{}", key(i)), String::new())));
        }),
        changed("a note of escapes", &|forge| drop(forge.metadata.insert("note.a".into(), "\n".repeat(500_000)))),
        changed("a long producer", &|forge| drop(forge.metadata.insert("producer".into(), "\"".repeat(500_000)))),
        changed("inputs of the graph", &|forge| {
            forge.graph["more_inputs"] = Value::Array(vec![json!({ "name": "", "shape": [1] }); 30_000]);
        }),
        changed("outputs of the graph", &|forge| forge.graph["more_outputs"] = strings(200_000)),
        changed("golden tensors", &|forge| {
            let names = format!("[{}\"\"]", "\"\",".repeat(100_000));
            let golden =
                format!(r#"{{"samples":1,"input":"a","more_inputs":{names},"output":"b","more_outputs":{names}}}"#);
            forge.metadata.insert("golden".into(), golden);
        }),
        changed("golden values that are none", &|forge| {
            forge.metadata.insert("golden".into(), format!("[{}0]", "[0],".repeat(250_000)));
        }),
        field("an unknown field 110 deep", format!("[{}0]", fill(221, |_| deep(110) + ","))),
        field("an unknown field of arrays", format!("[{}0]", fill(4, |_| "[0],".into()))),
        field("an unknown field of numbers", format!("[{}0]", fill(2, |_| "0,".into()))),
        field("an unknown field of keys", format!("{{{}\"\":0}}", fill(10, |i| format!("\"{}\":0,", key(i))))),
        field("an unknown field of objects", format!("[{}0]", fill(10, |_| "{\"a\":0},".into()))),
        field("an unknown field of strings", format!("[{}0]", fill(5, |_| "\"\",".into()))),
        field("an unknown field of escapes", format!("[{}0]", fill(8, |_| "\"\\n\",".into()))),
        field("unknown fields", format!("0{}", fill(10, |i| format!(",\"{}\":0", key(i))))),
    ]
}

/// Every hostile file.
fn files() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let bare = bare().into_iter().map(|(what, header)| (what, forge::assemble(&header, 64, &[])));
    bare.chain(models().into_iter().map(|(what, forge)| (what, forge.seal())))
}

#[test]
fn the_memory_for_a_hostile_header_is_bounded_by_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.horq");
    for (what, file) in files() {
        let header = forge::data_start(&file);
        assert!(header > horq::MAX_HEADER_BYTES / 5, "{what}: a header of {header} bytes tells little");
        std::fs::write(&path, &file).unwrap();
        for (opened, held) in [peak(|| Model::from_bytes(&file)), peak(|| Model::open(&path))] {
            let text = opened.map_or_else(|error| error.to_string(), |model| format!("{model:?}"));
            println!("{what}: {:.1} bytes a byte: {text:.100}", (held as f64 - file.len() as f64) / header as f64);
            assert!(!text.contains("more than the limit"), "{what}: the header was not read at all: {text}");
            assert!(
                held <= file.len() + BYTES_A_BYTE * header,
                "{what}: {held} bytes for a header of {header}: {text}"
            );
        }
    }
}

/// Not a test of its own: what the processes that `hostile_headers_end_no_process_with_little_memory` starts do.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "run by hostile_headers_end_no_process_with_little_memory with a limit set"]
fn child_with_little_memory() {
    let path = std::path::PathBuf::from(std::env::var_os("HORQ_TEST_PATH").expect("set by the caller"));
    let room: u64 = std::env::var("HORQ_TEST_ROOM").unwrap().parse().unwrap();
    // What this process has now, and so much more.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap().trim().trim_end_matches(" kB");
    let limit = size.parse::<u64>().unwrap() * 1024 + room;
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: the limit outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
    match Model::open(path) {
        Ok(model) => println!("opened {} nodes", model.graph().nodes.len()),
        Err(error) => println!("refused as {:?}: {error:.100}", error.kind()),
    }
}

/// The limit of the operating system, not a count of ours: with little room each hostile file is an error (or a model), never an abort.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))] // where the tests run in an emulator, they cannot start themselves
#[test]
fn hostile_headers_end_no_process_with_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.horq");
    let (mut tried, mut without) = (0, 0);
    for (what, file) in files() {
        std::fs::write(&path, &file).unwrap();
        for room in [1 << 20, 8 << 20, 40 << 20_u64] {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            child.args(["--ignored", "--exact", "hostile::child_with_little_memory", "--nocapture"]);
            child.env("HORQ_TEST_PATH", &path).env("HORQ_TEST_ROOM", room.to_string()).env("MALLOC_ARENA_MAX", "1");
            let output = child.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            let ended = output.status.success() && said.contains("1 passed");
            assert!(ended, "{what}, {room} bytes: {} {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
            tried += 1;
            without += usize::from(said.contains("refused as Resource"));
        }
    }
    println!("{tried} tried, {without} of them had too little memory");
    assert!(without >= 20, "{without} of {tried}: the limits are too wide to tell anything");
}
