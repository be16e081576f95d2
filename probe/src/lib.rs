//! What a machine is and what it can do: a clock for machines that others use at the same time, the limits of their instructions,
//! their names. And what programs print of text from outside.

pub mod clock;
pub mod display;
pub mod load;
pub mod machine;
pub mod peak;
