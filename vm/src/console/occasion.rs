//! During which test a kernel said something. A test writes a line to each
//! kernel's log when it begins and one when it ends; the order of the lines on
//! the console then tells, however late they are printed.

use std::fmt;

use serde::Serialize;

/// How a mark begins in the kernel's log.
const BEGIN: &str = "rapidswap: test begins: ";
const END: &str = "rapidswap: test ends: ";

/// A run of a test, told from every other by its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestRun {
    name: String,
    number: String,
}

impl TestRun {
    /// A run of the test of that name, by this process, now.
    pub fn new(name: &str) -> TestRun {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        TestRun {
            // It becomes the rest of one line.
            name: name.replace(|c: char| c.is_whitespace() || c.is_control(), "_"),
            number: format!("{}.{}", std::process::id(), now.as_nanos()),
        }
    }

    /// The test's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The line that says that it begins.
    pub(crate) fn begin(&self) -> String {
        format!("{BEGIN}{} #{}", self.name, self.number)
    }

    /// The line that says that it ends.
    pub(crate) fn end(&self) -> String {
        format!("{END}{} #{}", self.name, self.number)
    }

    fn parse(rest: &str) -> Option<TestRun> {
        let (name, number) = rest.trim_end().rsplit_once(" #")?;
        Some(TestRun {
            name: name.to_owned(),
            number: number.to_owned(),
        })
    }
}

/// Where in the order of tests a line of a log is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// No test had begun yet.
    #[default]
    BeforeTests,
    /// This one had begun and not ended.
    During(TestRun),
    /// This one had ended and no other begun.
    After(TestRun),
}

impl Occasion {
    /// Goes on by one message of the kernel.
    pub(crate) fn pass(&mut self, message: &str) {
        if let Some(run) = message.strip_prefix(BEGIN).and_then(TestRun::parse) {
            *self = Occasion::During(run);
        } else if let Some(run) = message.strip_prefix(END).and_then(TestRun::parse) {
            *self = Occasion::After(run);
        }
    }

    /// Whether that is while `run` ran.
    pub fn is_during(&self, run: &TestRun) -> bool {
        matches!(self, Occasion::During(other) if other == run)
    }
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Occasion::BeforeTests => f.write_str("before any test"),
            Occasion::During(run) => write!(f, "during {}", run.name),
            Occasion::After(run) => write!(f, "after {}", run.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_from_another_of_the_same_test() {
        let (first, second) = (TestRun::new("a test"), TestRun::new("a test"));
        assert_ne!(first, second);
        let mut occasion = Occasion::default();
        assert_eq!(occasion.to_string(), "before any test");
        occasion.pass(&first.begin());
        assert!(occasion.is_during(&first) && !occasion.is_during(&second));
        assert_eq!(occasion.to_string(), "during a_test");
        occasion.pass("anything else");
        occasion.pass(&first.end());
        assert_eq!(occasion, Occasion::After(first));
        occasion.pass(&second.begin());
        assert!(occasion.is_during(&second));
    }
}
