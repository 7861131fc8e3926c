//! What programs print: results on stdout, all else on stderr. Neither panics
//! where it cannot be written, as the macros of the standard library do.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::{ExitCode, Termination};

/// Prints a result. That it cannot be written is an error: whoever asked for
/// it has it not.
pub fn print(result: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{result}")
}

/// Says something to people, who may have closed stderr: that is no reason for
/// an error.
pub fn say(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Ends `program` with what came of it: an error is one line.
pub fn finish<T: Termination>(program: &str, result: Result<T, impl Display>) -> ExitCode {
    match result {
        Ok(done) => done.report(),
        Err(error) => {
            say(format_args!("{program}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
