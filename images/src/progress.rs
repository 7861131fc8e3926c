//! How far mmdebstrap is, from what it prints.

/// Stages in order: how each announces itself, what it is called to people,
/// and how much is done by the time it starts.
const STAGES: &[(&str, &str, f64)] = &[
    (
        "I: running apt-get update",
        "reading the package index",
        0.0,
    ),
    (
        "I: downloading packages",
        "downloading the base system",
        0.08,
    ),
    ("I: extracting archives", "unpacking the base system", 0.12),
    (
        "I: installing essential",
        "installing the base system",
        0.20,
    ),
    (
        "I: installing remaining",
        "installing the declared packages",
        0.40,
    ),
    ("I: cleaning package", "cleaning up", 0.96),
    ("I: creating tarball", "collecting the files", 0.97),
    ("I: success", "finished", 1.0),
];

/// What dpkg says of a package while installing it.
const PER_PACKAGE: &[&str] = &["Unpacking ", "Setting up "];

/// Follows the output line by line.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    stage: Option<usize>,
    /// Packages of the transaction apt announced last.
    packages: usize,
    /// Lines about single packages since the stage began.
    seen: usize,
}

impl Progress {
    /// Takes in one line; returns the name of a stage that began with it.
    pub(crate) fn line(&mut self, line: &str) -> Option<&'static str> {
        if let Some(index) = STAGES
            .iter()
            .position(|(start, ..)| line.starts_with(start))
        {
            // Lines repeat in some modes; progress only goes forward.
            if self.stage.is_none_or(|stage| index > stage) {
                self.stage = Some(index);
                self.seen = 0;
                return Some(STAGES[index].1);
            }
        } else if PER_PACKAGE.iter().any(|start| line.starts_with(start)) {
            self.seen += 1;
        } else if let Some(count) = newly_installed(line) {
            self.packages = count;
        }
        None
    }

    /// How much is done, 0.0 to 1.0.
    pub(crate) fn fraction(&self) -> f64 {
        let Some(stage) = self.stage else { return 0.0 };
        let start = STAGES[stage].2;
        let end = STAGES.get(stage + 1).map_or(1.0, |stage| stage.2);
        let expected = (self.packages * PER_PACKAGE.len()).max(1);
        let within = (self.seen as f64 / expected as f64).min(1.0);
        start + (end - start) * within
    }
}

fn newly_installed(line: &str) -> Option<usize> {
    let (before, _) = line.split_once(" newly installed")?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packages_move_the_fraction_within_their_stage() {
        let mut progress = Progress::default();
        assert_eq!(
            progress.line("I: running apt-get update..."),
            Some("reading the package index")
        );
        progress.line("I: installing remaining packages inside the chroot...");
        assert!((progress.fraction() - 0.40).abs() < 1e-9);
        progress.line("0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.");
        for line in [
            "Unpacking a (1) ...",
            "Unpacking b (1) ...",
            "Setting up b (1) ...",
            "Setting up a (1) ...",
        ] {
            progress.line(line);
        }
        assert!((progress.fraction() - 0.96).abs() < 1e-9);
        progress.line("I: success in 30.0 seconds");
        assert!((progress.fraction() - 1.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn it_never_goes_back(lines in prop::collection::vec(
            prop::sample::select(vec![
                "I: running apt-get update...", "I: extracting archives...",
                "I: installing essential packages...", "Unpacking a", "Setting up a",
                "I: installing remaining packages", "I: creating tarball...", "I: success",
                "noise",
            ]), 0..40))
        {
            let mut progress = Progress::default();
            let mut last = 0.0;
            for line in lines {
                progress.line(line);
                let now = progress.fraction();
                prop_assert!((last..=1.0).contains(&now));
                last = now;
            }
        }
    }
}
