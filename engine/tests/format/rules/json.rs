//! What JSON must be, wherever it stands: in the header, in the graph, in the golden values.

use horq::error::{FileError, GraphError};
use horq::{Error, Model};
use serde_json::json;

use super::{assert_refused, error_of, refused, refused_full};
use crate::forge::{Forge, assemble, data_start, reseal};
use crate::zoo::small;

/// The small model with its header's text changed, padded and sealed again.
fn edited(change: impl FnOnce(String) -> String) -> Vec<u8> {
    let file = small().to_bytes("logits").unwrap();
    let start = data_start(&file);
    let header = std::str::from_utf8(&file[8..start]).unwrap().trim_end().to_owned();
    let mut file = assemble(&change(header), 64, &file[start..]);
    reseal(&mut file);
    file
}

/// The same with one replacement, which must change something.
fn replaced(from: &str, to: &str) -> Vec<u8> {
    edited(|header| {
        assert!(header.contains(from), "{from} in {header}");
        header.replacen(from, to, 1)
    })
}

#[test]
fn the_header_must_have_each_key_once() {
    assert!(Model::from_bytes(&edited(|header| header)).is_ok());
    let entry = r#""stem.bias":{"dtype":"F32","shape":[16],"data_offsets":[1152,1216]},"#;
    for (from, to, key) in [
        // A tensor, with the same value and with another one.
        (entry, format!("{entry}{entry}"), "stem.bias"),
        (entry, format!("{}{entry}", entry.replace("[16]", "[8,2]")), "stem.bias"),
        // The same name in other letters.
        (entry, format!("{}{entry}", entry.replace("stem", "st\\u0065m")), "stem.bias"),
        // Inside of an entry.
        (r#"{"dtype":"F32","#, r#"{"dtype":"F32","dtype":"F32","#.into(), "dtype"),
        (r#"{"dtype":"F32","#, r#"{"dtype":"U32","dtype":"F32","#.into(), "dtype"),
        (r#"{"dtype":"F32","#, r#"{"more":1,"more":2,"dtype":"F32","#.into(), "more"),
        // In the metadata, known keys and unknown ones, and the metadata itself.
        (r#""producer":"#, r#""producer":"test","producer":"#.into(), "producer"),
        (r#""producer":"#, r#""\u0070roducer":"test","producer":"#.into(), "producer"),
        (r#""graph":"#, r#""graph":"{}","graph":"#.into(), "graph"),
        (r#""format":"#, r#""format":"horq","format":"#.into(), "format"),
        (r#""producer":"#, r#""note.a":"1","note.a":"2","producer":"#.into(), "note.a"),
        (r#""producer":"#, r#""later":"1","later":"1","producer":"#.into(), "later"),
        (r#"{"__metadata__":"#, r#"{"__metadata__":{},"__metadata__":"#.into(), "__metadata__"),
    ] {
        assert_refused!(error_of(&replaced(from, &to)), Error::File(FileError::NotSafetensors { .. }), key, "twice");
    }
}

#[test]
fn the_graph_must_have_each_key_once() {
    let twice = |from: &str, to: &str| {
        refused(|forge| {
            let graph = forge.graph.to_string();
            assert!(graph.contains(from), "{from} in {graph}");
            forge.metadata.insert("graph".into(), graph.replacen(from, to, 1));
        })
    };
    for (from, to, key) in [
        (r#""output":"#, r#""output":"flat","output":"#, "output"),
        (r#""nodes":"#, r#""nodes":[],"nodes":"#, "nodes"),
        (r#"{"name":"x","#, r#"{"name":"x","name":"x","#, "name"),
        (r#""filters":3,"#, r#""filters":3,"filters":3,"#, "filters"),
        (r#""filters":3,"#, r#""filt\u0065rs":4,"filters":3,"#, "filters"),
        (r#""op":"flatten""#, r#""op":"relu","op":"flatten""#, "op"),
        (r#"{"alpha":"#, r#"{"alpha":"a","alpha":"#, "alpha"),
        // Fields that nothing knows, and objects inside of them.
        (r#""filters":3,"#, r#""later":1,"later":1,"filters":3,"#, "later"),
        (r#""filters":3,"#, r#""later":[{"a":{"b":1,"b":1}}],"filters":3,"#, "b"),
    ] {
        assert_refused!(twice(from, to), Error::File(FileError::Malformed { key: "graph", .. }), key, "twice");
    }
}

#[test]
fn the_golden_values_must_have_each_key_once() {
    let golden =
        |text: &'static str| refused_full(move |forge| drop(forge.metadata.insert("golden".into(), text.into())));
    for text in [
        r#"{"samples":2,"samples":2,"input":"golden.input","output":"golden.output"}"#,
        r#"{"samples":2,"input":"golden.input","output":"golden.output","inp\u0075t":"golden.output"}"#,
        r#"{"samples":2,"later":{"a":1,"a":1},"input":"golden.input","output":"golden.output"}"#,
    ] {
        assert_refused!(golden(text), Error::File(FileError::Malformed { key: "golden", .. }), "twice");
    }
    for text in
        [r#"[2,"golden.input","golden.output"]"#, r#"{"samples":2,"input":"golden.input","output":"golden.output"}}"#]
    {
        assert_refused!(golden(text), Error::File(FileError::Malformed { key: "golden", .. }), "golden");
    }
}

#[test]
fn the_header_must_begin_with_a_brace_and_be_padded_with_spaces() {
    for before in [" ", "\n", "\t", "\u{feff}"] {
        let file = edited(|header| format!("{before}{header}"));
        assert_refused!(error_of(&file), Error::File(FileError::NotSafetensors { .. }), "brace", "byte 8");
    }
    for after in ["\t", "\n", "\r", "\0", " \n", "\n ", "\u{a0}"] {
        let file = edited(|header| format!("{header}{after}"));
        assert_refused!(error_of(&file), Error::File(FileError::NotSafetensors { .. }), "not a safetensors file");
    }
    for after in ["}", " }", "{}", "\n}", "garbage}", ",\"a\":{}}"] {
        let file = edited(|header| format!("{header}{after}"));
        assert_refused!(error_of(&file), Error::File(FileError::NotSafetensors { .. }), "trailing");
    }
    // The last bytes of the padding, where they were written as spaces.
    for byte in [b'\t', b'\n', 0] {
        let mut file = edited(|header| format!("{header} "));
        let last = data_start(&file) - 1;
        file[last] = byte;
        reseal(&mut file);
        assert_refused!(error_of(&file), Error::File(FileError::NotSafetensors { .. }), "spaces");
    }
    // White space inside of the object is JSON like any other.
    assert!(Model::from_bytes(&replaced("{\"__metadata__\":", "{\n\t\"__metadata__\" : ")).is_ok());
}

#[test]
fn objects_and_words_must_be_written_as_such() {
    let array = r#"["F32",[16],[1152,1216]]"#;
    let entry = r#"{"dtype":"F32","shape":[16],"data_offsets":[1152,1216]}"#;
    assert_refused!(error_of(&replaced(entry, array)), Error::File(FileError::NotSafetensors { .. }), "an object");
    let word = r#"{"dtype":{"F32":null},"shape":[16],"data_offsets":[1152,1216]}"#;
    assert_refused!(error_of(&replaced(entry, word)), Error::File(FileError::NotSafetensors { .. }), "string");
    let metadata = edited(|_| r#"{"__metadata__":null}"#.into());
    assert_refused!(error_of(&metadata), Error::File(FileError::NotSafetensors { .. }), "null");

    let graph =
        refused(|forge| forge.graph = json!([forge.graph["input"], forge.graph["output"], forge.graph["nodes"]]));
    assert_refused!(graph, Error::File(FileError::Malformed { key: "graph", .. }), "an object");
    let input = refused(|forge| forge.graph["input"] = json!(["x", [4, 4, 2]]));
    assert_refused!(input, Error::File(FileError::Malformed { key: "graph", .. }), "an object");
    let nodes = refused(|forge| forge.graph["nodes"] = json!({ "a": 1 }));
    assert_refused!(nodes, Error::File(FileError::Malformed { key: "graph", .. }), "an array");
    let node = refused(|forge| forge.graph["nodes"][2] = json!(["flat", ["binary"], "flatten"]));
    assert_refused!(node, Error::File(FileError::NodeMalformed { index: 2, .. }), "node 2");
    let base = refused(|forge| forge.node("binary")["bases"] = json!([["binary.weight.0", "binary.alpha.0"]]));
    assert_refused!(base, Error::File(FileError::NodeMalformed { index: 1, .. }), "`bases`", "an object");
    for (field, word) in
        [("mode", json!({ "fixed": null })), ("pad_value", json!({ "valid-taps": null })), ("mode", json!(1))]
    {
        let found = refused(|forge| forge.node("binary")[field] = word);
        assert_refused!(found, Error::File(FileError::NodeMalformed { index: 1, .. }), field, "string");
    }
    let rows =
        refused_full(|forge| forge.node("by_order")["rows"][0] = json!(["by_order.scale.1", "by_order.shift.1"]));
    assert_refused!(rows, Error::File(FileError::NodeMalformed { .. }), "`by_order`", "`rows`", "an object");
}

/// An integer is digits alone, and exact as far as 2^64 - 1.
#[test]
fn integers_must_be_written_as_integers() {
    for number in
        ["3.0", "3e0", "-0", "-3", "18446744073709551616", "1e400", "\"3\"", "true", "null", "[3]", "03", "+3"]
    {
        let found = refused(|forge| {
            let graph = forge.graph.to_string().replacen("\"filters\":3", &format!("\"filters\":{number}"), 1);
            forge.metadata.insert("graph".into(), graph);
        });
        let (error, text) = found;
        assert!(
            matches!(
                error,
                Error::File(FileError::NodeMalformed { index: 0, .. })
                    | Error::File(FileError::Malformed { key: "graph", .. })
            ),
            "{text}"
        );
    }
    for number in ["16.0", "1.6e1", "-0", "18446744073709551616"] {
        let file = replaced("\"shape\":[16]", &format!("\"shape\":[{number}]"));
        assert_refused!(error_of(&file), Error::File(FileError::NotSafetensors { .. }), "usize");
        let file = replaced("[1152,1216]", &format!("[1152,{number}]"));
        assert_refused!(error_of(&file), Error::File(FileError::NotSafetensors { .. }), "usize");
    }
    for samples in ["2.0", "2e0", "-0"] {
        let text = format!(r#"{{"samples":{samples},"input":"golden.input","output":"golden.output"}}"#);
        let found = refused_full(|forge| drop(forge.metadata.insert("golden".into(), text)));
        assert_refused!(found, Error::File(FileError::Malformed { key: "golden", .. }), "usize");
    }
    // Past 2^53 no neighbour takes a number's place, as it would in a binary64.
    let odd = refused(|forge| forge.node("binary")["order"] = json!((1_u64 << 53) + 1));
    assert_refused!(odd, Error::Graph(GraphError::Order { order: 9_007_199_254_740_993, .. }), "9007199254740993");
    let most = refused(|forge| forge.node("binary")["order"] = json!(u64::MAX));
    assert_refused!(most, Error::Graph(GraphError::Order { .. }), "18446744073709551615");
}

/// Also where a reader looks no further: what one takes, every one takes.
#[test]
fn unknown_fields_must_be_json_that_every_reader_takes() {
    let field = |text: &str| {
        let mut forge = Forge::open(&small().to_bytes("logits").unwrap());
        let graph = forge.graph.to_string().replacen("\"filters\":3", &format!("\"filters\":3,\"later\":{text}"), 1);
        forge.metadata.insert("graph".into(), graph);
        forge.seal()
    };
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    // The graph, its nodes and the node are three levels.
    for text in ["2.0", "-0", "1e300", "18446744073709551616", "null", "\"\\ud83d\\ude00\"", &nested(124)] {
        assert!(Model::from_bytes(&field(text)).is_ok(), "{text}");
    }
    for text in ["1e400", "\"\\ud83d\"", "\"\\ude00\"", "\"\u{1}\"", "NaN", "01", "[1,]", "'a'", &nested(125)] {
        assert_refused!(error_of(&field(text)), Error::File(FileError::Malformed { key: "graph", .. }), "graph");
    }
}

/// Messages quote what is wrong, but not a megabyte of it.
#[test]
fn messages_stay_short() {
    let long = "n".repeat(100_000);
    let dtype = replaced("\"dtype\":\"F32\"", &format!("\"dtype\":\"{long}\""));
    assert_refused!(error_of(&dtype), Error::File(FileError::NotSafetensors { .. }), "variant");
    assert_refused!(
        refused(|forge| forge.node("flat")["op"] = json!(long)),
        Error::File(FileError::NodeMalformed { .. }),
        "`flat`",
        "nnn"
    );
    assert_refused!(
        refused(|forge| forge.node("stem")["filters"] = json!(long)),
        Error::File(FileError::NodeMalformed { .. }),
        "filters"
    );
    assert_refused!(
        refused(|forge| forge.graph["nodes"] = json!(long)),
        Error::File(FileError::Malformed { .. }),
        "graph"
    );
    let set = |key: &'static str| refused(|forge| drop(forge.metadata.insert(key.into(), long.clone())));
    assert_refused!(set("format"), Error::File(FileError::NotHorq { .. }), "nnn");
    assert_refused!(set("format_version"), Error::File(FileError::Malformed { .. }), "nnn");
}
