//! Local functions of a file, and the versions of its operator sets.

use super::schema;
use std::collections::HashMap;

/// A function's domain, name and overload.
type Key<'a> = (&'a str, &'a str, &'a str);

/// The functions of a file.
pub(super) struct Functions<'a>(HashMap<Key<'a>, &'a schema::Function>);

/// The version of each domain.
pub(super) struct Versions(HashMap<String, i64>);

/// ONNX itself has two names.
pub(super) fn domain(name: Option<&str>) -> &str {
    match name.unwrap_or("") {
        "ai.onnx" => "",
        other => other,
    }
}

impl<'a> Functions<'a> {
    pub(super) fn of(model: &'a schema::Model) -> Self {
        let key = |function: &'a schema::Function| {
            let text = |text: &'a Option<String>| text.as_deref().unwrap_or("");
            (domain(function.domain.as_deref()), text(&function.name), text(&function.overload))
        };
        Self(model.functions.iter().map(|function| (key(function), function)).collect())
    }

    /// The function that a node calls, if it does.
    pub(super) fn called_by(&self, node: &schema::Node) -> Option<&'a schema::Function> {
        let key = (domain(node.domain.as_deref()), node.op_type.as_deref()?, node.overload.as_deref().unwrap_or(""));
        self.0.get(&key).copied()
    }
}

impl Versions {
    pub(super) fn of(sets: &[schema::OperatorSet]) -> Self {
        Self(sets.iter().map(|set| (domain(set.domain.as_deref()).to_owned(), set.version.unwrap_or(1))).collect())
    }

    /// The version of a domain. Files of the first format say none, and mean 1.
    pub(super) fn version(&self, domain: &str) -> i64 {
        self.0.get(domain).copied().unwrap_or(1)
    }
}
