//! Until several inputs and outputs are in.
use horq::graph::Shape;
pub(crate) trait Many {
    fn add_input(&mut self, name: &str, shape: Shape) -> Result<&mut Self, horq::Error>;
    fn to_bytes_many(&self, names: &[&str]) -> Result<Vec<u8>, horq::Error>;
}
impl Many for horq::Builder {
    fn add_input(&mut self, _: &str, _: Shape) -> Result<&mut Self, horq::Error> {
        todo!()
    }
    fn to_bytes_many(&self, names: &[&str]) -> Result<Vec<u8>, horq::Error> {
        self.to_bytes(names[0])
    }
}
pub(crate) trait Inputs {
    fn inputs(&self) -> Vec<(&str, Shape)>;
}
impl Inputs for horq::Model {
    fn inputs(&self) -> Vec<(&str, Shape)> {
        vec![(&self.graph().input.name, self.input_shape())]
    }
}
