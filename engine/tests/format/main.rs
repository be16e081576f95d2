//! The format `.horq`: what is written, what is read, what is refused.

mod contents;
mod files;
mod foreign;
mod forge;
mod hostile;
mod kinds;
mod memory;
mod mutations;
mod points;
mod reader;
mod rules;
mod seeds;
mod session;
mod spec;
mod windows;
mod writing;
mod zoo;
