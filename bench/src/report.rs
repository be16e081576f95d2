//! What becomes of results: records, tables of them in documents, comparisons.

pub(crate) mod compare;
pub(crate) mod crossover;
pub(crate) mod record;
pub(crate) mod tables;
