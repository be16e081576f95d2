//! The command `horq`.

use std::process::ExitCode;

fn main() -> ExitCode {
    horq_tools::main()
}
