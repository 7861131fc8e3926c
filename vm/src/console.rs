//! What the nodes' kernels say on their consoles.

pub(crate) mod allowed;
pub(crate) mod follow;
pub(crate) mod marks;
pub(crate) mod occasion;
pub(crate) mod splat;
pub(crate) mod symbols;

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use self::occasion::Occasion;
use self::splat::{Splat, SplatKind, classify, kernel_message};

/// Name of the console's file in a node's directory.
pub(crate) const FILE: &str = "console.log";

/// What QEMU calls the console's other side.
pub(crate) const CHARDEV: &str = "console";

/// The socket by which somebody can be at a node's console.
pub(crate) fn socket(run: &Path, node: &str) -> PathBuf {
    run.join(format!("{node}.console"))
}

/// How many lines of a console an error shows.
const TAIL: usize = 12;

/// What the kernel writes where it printed faster than the console took it.
const DROPPED: &str = "printk messages dropped **";

/// A console, read from its beginning.
#[derive(Clone, Debug, Default)]
pub struct ConsoleScan {
    /// Every fault on it.
    pub splats: Vec<Splat>,
    /// When messages were lost: what was in them nobody knows.
    pub gaps: Vec<Occasion>,
}

/// Reads the console in a file. The node is the file's directory.
pub(crate) fn scan(path: &Path) -> io::Result<ConsoleScan> {
    let bytes = fs::read(path)?;
    let node = path.parent().and_then(Path::file_name).unwrap_or_default();
    let node = node.to_string_lossy();
    let mut scan = ConsoleScan::default();
    let mut occasion = Occasion::default();
    for (index, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        if line.trim_end().ends_with(DROPPED) {
            scan.gaps.push(occasion.clone());
        }
        if let Some(message) = kernel_message(line) {
            occasion.pass(message);
        }
        if let Some((kind, text)) = classify(line) {
            scan.splats.push(Splat {
                node: node.to_string(),
                line: index + 1,
                kind,
                text: text.to_owned(),
                occasion: occasion.clone(),
            });
        }
    }
    Ok(scan)
}

/// Whether the kernel said that it panics.
pub(crate) fn panicked(path: &Path) -> bool {
    scan(path).is_ok_and(|scan| {
        let mut kinds = scan.splats.iter().map(|splat| splat.kind);
        kinds.any(|kind| kind == SplatKind::Panic)
    })
}

/// Has who follows it look again, though nothing more is on it.
pub(crate) fn touch(path: &Path) {
    let now = SystemTime::now();
    // Both, or it counts as written to.
    let times = FileTimes::new().set_accessed(now).set_modified(now);
    // One that was never there is followed by nobody.
    let _ = File::open(path).and_then(|file| file.set_times(times));
}

/// The lines from a fault on, or the last lines if there is none; none of a
/// file that cannot be read.
pub(crate) fn telling(path: &Path, splat: Option<&Splat>, count: usize) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let start = match splat {
        Some(splat) => splat.line.saturating_sub(1),
        None => lines.len().saturating_sub(count),
    };
    let shown = lines.iter().skip(start).take(count);
    shown.map(|line| (*line).to_owned()).collect()
}

/// The last lines of a file, none if there are none.
pub(crate) fn tail(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let start = lines.len().saturating_sub(TAIL);
    lines[start..]
        .iter()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::occasion::TestRun;

    fn scanned(text: &str) -> ConsoleScan {
        let temp = tempfile::tempdir().expect("temporary directory");
        let dir = temp.path().join("server");
        fs::create_dir(&dir).expect("directory");
        let path = dir.join(FILE);
        fs::write(&path, text).expect("file");
        scan(&path).expect("scan")
    }

    #[test]
    fn a_splat_knows_its_node_and_line() {
        let splats = scanned("[    0.1] Linux\r\n[    0.2] WARNING: x\r\n").splats;
        assert_eq!(splats.len(), 1);
        assert_eq!((splats[0].node.as_str(), splats[0].line), ("server", 2));
        assert_eq!(
            splats[0].to_string(),
            "warning on server before any test, line 2: WARNING: x"
        );
    }

    #[test]
    fn a_splat_belongs_to_the_test_between_whose_marks_it_is() {
        let (one, two) = (TestRun::new("one"), TestRun::new("two"));
        let text = format!(
            "[ 0.1] WARNING: a\n[ 1.0] {}\n[ 1.1] WARNING: b\n[ 2.0] {}\n\
             [ 2.1] WARNING: c\n[ 3.0] {}\n[ 3.1] WARNING: d\n",
            one.begin(),
            one.end(),
            two.begin()
        );
        let occasions = scanned(&text).splats.into_iter().map(|s| s.occasion);
        let expected = [
            Occasion::BeforeTests,
            Occasion::During(one.clone()),
            Occasion::After(one),
            Occasion::During(two),
        ];
        assert_eq!(occasions.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn messages_that_were_lost_leave_a_gap() {
        let run = TestRun::new("one");
        let gap = "** 12 printk messages dropped **";
        let text = format!("[ 1.0] {}\r\n{gap}\r\n[ 2.0] on it goes\r\n", run.begin());
        assert_eq!(scanned(&text).gaps, [Occasion::During(run)]);
        assert!(scanned("[ 1.0] nothing\n").gaps.is_empty());
    }

    #[test]
    fn a_console_that_cannot_be_read_is_an_error() {
        assert!(scan(Path::new("/nowhere/console.log")).is_err());
    }
}
