//! What a program does with its memory, step by step, as a test tells it.
//!
//! A step is a verb and what it is about, for instance `check 1 0..256`: pages
//! 0 to 255 must hold what seed 1 names. Several make a line, with `;` between
//! them. With `|` between steps they are done at once, by a thread for each part
//! of the line: `check 1 0..256; pageout 0..256 | fill 2 256..512`.

mod contents;
mod done;
mod handler;
mod perform;
mod session;

use std::ops::Range;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

use crate::memory::Advice;
use crate::pattern::Pattern;

pub use contents::Contents;
pub use done::Done;
pub use perform::Performer;
pub use session::serve;

/// One step. Ranges are of pages where nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `fill CONTENTS PAGES`: writes them.
    Fill(Contents, Range<usize>),
    /// `check CONTENTS PAGES`: compares every byte.
    Check(Contents, Range<usize>),
    /// `rewrite OLD NEW PAGES`: compares every byte of a page and writes it,
    /// page after page.
    Rewrite(Contents, Contents, Range<usize>),
    /// `either CONTENTS PAGES`: compares every byte; a page may also be zero as
    /// a whole.
    Either(Contents, Range<usize>),
    /// `stripe I/N OLD NEW PAGES`: compares word I of each N words of a page
    /// and writes it, page after page, so that N threads rewrite one page at
    /// once. An even I reads its words of a page before it writes the first, an
    /// odd one writes each as it reads it.
    Stripe(usize, usize, Contents, Contents, Range<usize>),
    /// `forked SEED PAGES`: has a child compare every byte of what the seed
    /// names.
    Forked(Pattern, Range<usize>),
    /// `cached CONTENTS PAGES`: compares every byte of those that are unmapped
    /// and in the swap cache.
    Cached(Contents, Range<usize>),
    /// `cut CONTENTS PAGE BYTES`: compares every byte of one page, of which
    /// those bytes must be zero.
    Cut(Contents, usize, Range<usize>),
    /// `pageout`, `willneed`, `dontneed`, `free`, `mergeable`, `unmergeable` or
    /// `huge` `PAGES`.
    Advise(Advice, Range<usize>),
    /// `lock PAGES`.
    Lock(Range<usize>),
    /// `unlock PAGES`.
    Unlock(Range<usize>),
    /// `write CONTENTS PAGES`: writes them by `write(2)`.
    Write(Contents, Range<usize>),
    /// `read CONTENTS PAGES`: compares every byte that `read(2)` gives.
    Read(Contents, Range<usize>),
    /// `truncate BYTES`: makes the file that long.
    Truncate(usize),
    /// `punch BYTES`: makes a hole of a range of bytes of the file.
    Punch(Range<usize>),
    /// `allocated`: counts the file's pages.
    Allocated,
    /// `places PAGES`: counts those in memory, those in swap alone, and those
    /// that are unmapped and in the swap cache, and names the first one's slot.
    Places(Range<usize>),
    /// `settle`: waits until no page is on its way out.
    Settle,
    /// `handle CONTENTS PAGES`: gives pages that are missing from now on these
    /// contents in a handler of its own, which counts them.
    Handle(Contents, Range<usize>),
    /// `protect PAGES`: has the handler count and allow the next write to each.
    Protect(Range<usize>),
}

/// The steps of a line, for each thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line(Vec<Vec<Step>>);

impl FromStr for Line {
    type Err = Error;

    fn from_str(text: &str) -> Result<Line> {
        let steps = |part: &str| part.split(';').map(str::parse).collect::<Result<_>>();
        Ok(Line(text.split('|').map(steps).collect::<Result<_>>()?))
    }
}

impl FromStr for Step {
    type Err = Error;

    fn from_str(text: &str) -> Result<Step> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let step = match words[..] {
            ["fill", contents, pages] => Step::Fill(contents.parse()?, range(pages)?),
            ["check", contents, pages] => Step::Check(contents.parse()?, range(pages)?),
            ["rewrite", old, new, pages] => {
                Step::Rewrite(old.parse()?, new.parse()?, range(pages)?)
            }
            ["either", contents, pages] => Step::Either(contents.parse()?, range(pages)?),
            ["stripe", part, old, new, pages] => {
                let (own, of) = part.split_once('/').context("no part")?;
                let (own, of) = (number(own)?, number(of)?);
                ensure!(own < of, "no part {own} of {of}");
                Step::Stripe(own, of, old.parse()?, new.parse()?, range(pages)?)
            }
            ["forked", seed, pages] => {
                Step::Forked(Pattern::new(number(seed)? as u64), range(pages)?)
            }
            ["cached", contents, pages] => Step::Cached(contents.parse()?, range(pages)?),
            ["cut", contents, page, bytes] => {
                Step::Cut(contents.parse()?, number(page)?, range(bytes)?)
            }
            ["lock", pages] => Step::Lock(range(pages)?),
            ["unlock", pages] => Step::Unlock(range(pages)?),
            ["write", contents, pages] => Step::Write(contents.parse()?, range(pages)?),
            ["read", contents, pages] => Step::Read(contents.parse()?, range(pages)?),
            ["truncate", bytes] => Step::Truncate(number(bytes)?),
            ["punch", bytes] => Step::Punch(range(bytes)?),
            ["allocated"] => Step::Allocated,
            ["places", pages] => Step::Places(range(pages)?),
            ["settle"] => Step::Settle,
            ["handle", contents, pages] => Step::Handle(contents.parse()?, range(pages)?),
            ["protect", pages] => Step::Protect(range(pages)?),
            [name, pages] => {
                let advice = advice(name).with_context(|| format!("no step `{text}`"))?;
                Step::Advise(advice, range(pages)?)
            }
            _ => bail!("no step `{text}`"),
        };
        Ok(step)
    }
}

fn advice(name: &str) -> Option<Advice> {
    Some(match name {
        "pageout" => Advice::PageOut,
        "willneed" => Advice::WillNeed,
        "dontneed" => Advice::DontNeed,
        "free" => Advice::Free,
        "mergeable" => Advice::Mergeable,
        "unmergeable" => Advice::Unmergeable,
        "huge" => Advice::Huge,
        _ => return None,
    })
}

fn range(text: &str) -> Result<Range<usize>> {
    let (start, end) = text
        .split_once("..")
        .with_context(|| format!("no range `{text}`"))?;
    Ok(number(start)?..number(end)?)
}

fn number(text: &str) -> Result<usize> {
    text.parse().with_context(|| format!("no number `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_several_steps() {
        let text = "check 1 0..256; pageout 3..4;settle | stripe 0/2 1 1 0..9";
        let line: Line = text.parse().expect("steps");
        let contents: Contents = "1".parse().expect("contents");
        let one = vec![
            Step::Check(contents, 0..256),
            Step::Advise(Advice::PageOut, 3..4),
            Step::Settle,
        ];
        let other = vec![Step::Stripe(0, 2, contents, contents, 0..9)];
        assert_eq!(line, Line(vec![one, other]));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "",
            "check 1",
            "check x 0..1",
            "settle 1",
            "fill 1 4",
            "nap 1..2",
            "settle;",
            "settle |",
            "stripe 2/2 1 2 0..1",
            "forked zero 0..1",
        ] {
            assert!(line.parse::<Line>().is_err(), "{line}");
        }
    }
}
