//! How every program here takes its command line, answers and finds others: what
//! is wrong is said on one line, and addresses and times are written alike.

#![forbid(unsafe_code)]

mod output;
mod path;

use std::net::{IpAddr, SocketAddr};
use std::process::exit;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use clap::error::{Error, ErrorKind};

pub use output::{finish, print, say};
pub use path::in_path;

/// What a program ends with when its command line is wrong.
pub const WRONG_USAGE: u8 = 2;

/// The command line of `program`. As [`Parser::parse`], ends the process where
/// it is wrong, and with 0 where help or a version was asked for.
pub fn parse<C: Parser>(program: &str) -> C {
    C::try_parse().unwrap_or_else(|error| exit(i32::from(complain(program, &error))))
}

/// Prints what is wrong with a command line on one line of stderr, or the help
/// that was asked for; what the program ends with.
pub fn complain(program: &str, error: &Error) -> u8 {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    match error.kind() {
        DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand => {
            // A closed output is no reason for another error.
            let _ = error.print();
        }
        _ => say(format_args!("{program}: {} (see `--help`)", line(error))),
    }
    match error.use_stderr() {
        true => WRONG_USAGE,
        false => 0,
    }
}

/// What is wrong, on one line.
fn line(error: &Error) -> String {
    let text = error.to_string();
    // Hints and usage follow after an empty line.
    let what: Vec<&str> = text
        .lines()
        .take_while(|line| !line.is_empty())
        .flat_map(str::split_whitespace)
        .collect();
    let what = what.join(" ");
    what.strip_prefix("error: ").unwrap_or(&what).to_owned()
}

/// Reads an address, with or without a port.
pub fn address(text: &str, port: u16) -> Result<SocketAddr, String> {
    let whole = text.parse::<SocketAddr>();
    let alone = |_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    whole
        .or_else(alone)
        .map_err(|_| format!("not an address: write one as 10.77.0.2 or 10.77.0.2:{port}"))
}

/// The longest time that people can give, a year: any longer is a slip, and an end
/// of all time that can be told.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads a time in seconds, up to the longest.
pub fn seconds() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(..=LONGEST.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[arg(long, value_parser = |text: &str| address(text, 9400))]
        listen: SocketAddr,
        #[arg(long, value_parser = seconds(), default_value_t = 1)]
        grace: u64,
    }

    fn parsed(line: &str) -> Result<Cli, Error> {
        Cli::try_parse_from(line.split(' '))
    }

    fn wrong(words: &str) -> String {
        line(&parsed(words).expect_err(words))
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        assert_eq!(
            wrong("x"),
            "the following required arguments were not provided: --listen <LISTEN>"
        );
        assert_eq!(
            wrong("x --listen nowhere"),
            "invalid value 'nowhere' for '--listen <LISTEN>': \
             not an address: write one as 10.77.0.2 or 10.77.0.2:9400"
        );
        assert_eq!(
            wrong("x --listen 10.77.0.2 --grance 1"),
            "unexpected argument '--grance' found"
        );
    }

    #[test]
    fn help_is_no_failure() {
        let help = |words| complain("x", &parsed(words).expect_err("not a command line"));
        assert_eq!(help("x --help"), 0);
        assert_eq!(help("x --port"), WRONG_USAGE);
    }

    #[test]
    fn an_address_has_a_port() {
        let listen = |text: &str| address(text, 9400).map(|address| address.to_string());
        assert_eq!(listen("10.77.0.2").as_deref(), Ok("10.77.0.2:9400"));
        assert_eq!(listen("10.77.0.2:9401").as_deref(), Ok("10.77.0.2:9401"));
        assert_eq!(listen("::1").as_deref(), Ok("[::1]:9400"));
        assert_eq!(listen("[::1]:9401").as_deref(), Ok("[::1]:9401"));
        for bad in ["", "nowhere", "10.77.0.999", "10.77.0.2:70000"] {
            assert!(listen(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_time_is_beyond_all_times() {
        let grace = |text: &str| parsed(&format!("x --listen ::1 --grace {text}"));
        assert_eq!(grace("31536000").expect("a year").grace, 31_536_000);
        for beyond in ["31536001", "18446744073709551615"] {
            let error = grace(beyond).expect_err("beyond all times").to_string();
            assert!(error.contains("31536000"), "{error}");
        }
    }
}
