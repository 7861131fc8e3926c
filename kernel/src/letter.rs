//! The letter that a patch comes in: its author and message.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::definition::Text;
use crate::error::{Error, Result};
use crate::git::Tree;

/// What a patch says besides its change.
pub(crate) struct Letter {
    /// Who wrote it and when, as git's environment, as far as it is stated.
    pub(crate) author: Vec<(&'static str, String)>,
    /// File of the message.
    pub(crate) message: PathBuf,
}

impl Letter {
    pub(crate) fn read(tree: &Tree<'_>, patch: &Text, scratch: &Path) -> Result<Letter> {
        let (message, rest) = (scratch.join("message"), scratch.join("patch"));
        let file = File::open(&patch.path).map_err(Error::file("open", &patch.path))?;
        // -b: of the brackets in a subject only [PATCH] is not the author's.
        let info = tree
            .git(["mailinfo", "-b", "--no-scissors"])
            .arg(&message)
            .arg(rest)
            .stdin(file)
            .text()?;
        let field = |name: &str| {
            let mut lines = info.lines();
            let value = lines.find_map(|line| line.strip_prefix(name))?.trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        let subject = field("Subject:").unwrap_or_else(|| patch.name());
        let body = fs::read_to_string(&message).map_err(Error::file("read", &message))?;
        let text = match body.trim() {
            "" => format!("{subject}\n"),
            _ => format!("{subject}\n\n{body}"),
        };
        fs::write(&message, text).map_err(Error::file("write", &message))?;
        let stated = [
            ("GIT_AUTHOR_NAME", field("Author:")),
            ("GIT_AUTHOR_EMAIL", field("Email:")),
            ("GIT_AUTHOR_DATE", field("Date:")),
        ];
        let stated = stated
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        Ok(Letter {
            author: stated.collect(),
            message,
        })
    }
}
