//! A session's profile as JSON.

use horq::{LayerProfile, Session, Stage};
use serde_json::{Map, Value, json};

/// The layers in the order of execution, in the words of the Python package's `Session.profile`.
pub(crate) fn json(session: &Session) -> String {
    let layers: Vec<Value> = session.profile().iter().map(layer).collect();
    json!({ "isa": session.isa().name(), "batch": session.batch(), "layers": layers }).to_string()
}

fn layer(profile: &LayerProfile) -> Value {
    let stage = |stage: Stage| (stage.name().to_owned(), profile.stage(stage).into());
    let nanoseconds: Map<String, Value> = Stage::ALL.map(stage).into_iter().collect();
    json!({
        "name": profile.name, "op": profile.op, "fused": profile.fused, "output": Vec::from(profile.output),
        "order": profile.order(), "max_order": profile.binary.map(|binary| binary.max_order),
        "runs": profile.runs, "samples": profile.samples,
        "nanoseconds": nanoseconds, "wall_nanoseconds": profile.wall_nanoseconds,
        "bit_macs": profile.macs.bit, "sign_macs": profile.macs.binary_weight, "code_macs": profile.macs.codebook,
        "float_macs": profile.macs.float, "int8_macs": profile.macs.int8,
        "weight_bytes": profile.weight_bytes, "activation_bytes": profile.activation_bytes, "packed": profile.packed,
    })
}
