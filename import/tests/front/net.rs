//! ONNX files by hand.

use horq_import::graph::{Graph, Tensor as Constant};
use horq_import::onnx::schema::{Attribute, Dimension, Graph as Body, Model, Node, OperatorSet};
use horq_import::onnx::schema::{Shape, Tensor, TensorType, Type, ValueInfo};
use horq_import::onnx::{Options, parse};
use horq_import::{Error, Refusal, fold};
use prost::Message;

/// The code of f32 in `onnx.proto`.
pub(crate) const FLOAT: i32 = 1;
/// The code of i64.
pub(crate) const INT64: i32 = 7;

/// A file under construction.
#[derive(Clone)]
pub(crate) struct Net(pub(crate) Model);

impl Net {
    /// A file without nodes.
    pub(crate) fn new(opset: i64) -> Self {
        let sets = vec![
            OperatorSet { domain: None, version: Some(opset) },
            OperatorSet { domain: Some("qonnx.custom_op.general".into()), version: Some(1) },
        ];
        let graph = Some(Box::new(Body::default()));
        Self(Model { ir_version: Some(8), opset_import: sets, graph, ..Model::default() })
    }

    pub(crate) fn body(&mut self) -> &mut Body {
        self.0.graph.as_mut().expect("a graph")
    }

    /// An input of floats; a size of 0 is open.
    pub(crate) fn input(self, name: &str, shape: &[i64]) -> Self {
        self.typed_input(name, FLOAT, shape)
    }

    pub(crate) fn typed_input(mut self, name: &str, element: i32, shape: &[i64]) -> Self {
        self.body().input.push(info(name, element, shape));
        self
    }

    /// An output, of which the file says no shape.
    pub(crate) fn output(mut self, name: &str) -> Self {
        self.body().output.push(ValueInfo { name: Some(name.into()), r#type: None });
        self
    }

    pub(crate) fn constant(mut self, name: &str, tensor: Tensor) -> Self {
        self.body().initializer.push(Tensor { name: Some(name.into()), ..tensor });
        self
    }

    pub(crate) fn node(mut self, op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Attribute]) -> Self {
        self.body().node.push(node(op, inputs, outputs, attributes));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }

    pub(crate) fn parse(&self) -> Result<Graph, Error> {
        parse(self.bytes(), None, &Options::default())
    }

    pub(crate) fn fold(&self) -> Result<Graph, Error> {
        let mut graph = self.parse()?;
        fold::fold(&mut graph)?;
        Ok(graph)
    }

    /// The refusals of a file that has some.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        match self.fold() {
            Err(Error::Refused(refusals)) => refusals,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("nothing is refused"),
        }
    }

    /// The constant that the first output is.
    pub(crate) fn value(&self) -> Constant {
        let graph = self.fold().unwrap_or_else(|error| panic!("{error}"));
        let output = graph.value(graph.outputs[0]);
        Constant::clone(output.constant.as_ref().unwrap_or_else(|| panic!("{} is no constant", output.name)))
    }

    /// The shape of the first output.
    pub(crate) fn shape(&self) -> Vec<usize> {
        let graph = self.fold().unwrap_or_else(|error| panic!("{error}"));
        graph.value(graph.outputs[0]).shape.clone().expect("a shape")
    }
}

/// A name with a type and a shape.
pub(crate) fn info(name: &str, element: i32, shape: &[i64]) -> ValueInfo {
    let size = |&size: &i64| Dimension {
        dim_value: (size != 0).then_some(size),
        dim_param: (size == 0).then(|| "open".to_owned()),
    };
    let shape = Some(Shape { dim: shape.iter().map(size).collect() });
    let tensor_type = Some(TensorType { elem_type: Some(element), shape });
    ValueInfo { name: Some(name.into()), r#type: Some(Type { tensor_type }) }
}

pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Attribute]) -> Node {
    let (domain, op) = op.rsplit_once("::").map_or((None, op), |(domain, op)| (Some(domain.to_owned()), op));
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Node {
        op_type: Some(op.into()),
        domain,
        input: names(inputs),
        output: names(outputs),
        attribute: attributes.to_vec(),
        ..Node::default()
    }
}

pub(crate) fn floats(shape: &[i64], values: &[f32]) -> Tensor {
    Tensor { dims: shape.to_vec(), data_type: Some(FLOAT), float_data: values.to_vec(), ..Tensor::default() }
}

pub(crate) fn ints(values: &[i64]) -> Tensor {
    shaped_ints(&[values.len() as i64], values)
}

pub(crate) fn shaped_ints(shape: &[i64], values: &[i64]) -> Tensor {
    Tensor { dims: shape.to_vec(), data_type: Some(INT64), int64_data: values.to_vec(), ..Tensor::default() }
}

/// Elements of up to 32 bits, by the code of their type.
pub(crate) fn small(code: i32, shape: &[i64], values: &[i32]) -> Tensor {
    Tensor { dims: shape.to_vec(), data_type: Some(code), int32_data: values.to_vec(), ..Tensor::default() }
}

fn attribute(name: &str, kind: i32) -> Attribute {
    Attribute { name: Some(name.into()), r#type: Some(kind), ..Attribute::default() }
}

pub(crate) fn float(name: &str, value: f32) -> Attribute {
    Attribute { f: Some(value), ..attribute(name, 1) }
}

pub(crate) fn int(name: &str, value: i64) -> Attribute {
    Attribute { i: Some(value), ..attribute(name, 2) }
}

pub(crate) fn text(name: &str, value: &str) -> Attribute {
    Attribute { s: Some(value.as_bytes().to_vec()), ..attribute(name, 3) }
}

pub(crate) fn tensor(name: &str, value: Tensor) -> Attribute {
    Attribute { t: Some(Box::new(value)), ..attribute(name, 4) }
}

pub(crate) fn branch(name: &str, value: Body) -> Attribute {
    Attribute { g: Some(Box::new(value)), ..attribute(name, 5) }
}

pub(crate) fn list(name: &str, values: &[i64]) -> Attribute {
    Attribute { ints: values.to_vec(), ..attribute(name, 7) }
}

pub(crate) fn float_list(name: &str, values: &[f32]) -> Attribute {
    Attribute { floats: values.to_vec(), ..attribute(name, 6) }
}
