//! `rxe-setup hold`.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cli::{Hold, Sides};
use crate::peer::Extent;
use crate::prove::{Met, Report, follow, in_time, lead, meet, role};

/// One page when the two sides meet, one when they are asked again.
const EXTENT: Extent = Extent {
    count: 1,
    rounds: 2,
};

/// Connects, moves a page each way, and another one when asked.
pub fn run(options: &Hold) -> Result<()> {
    match options.reports.as_slice() {
        [first, second] => ask(&options.sides, first, second),
        _ => stand_by(&options.sides),
    }
}

/// The side that is asked.
fn ask(sides: &Sides, first: &Path, second: &Path) -> Result<()> {
    let met = in_time(sides, |time| meet(sides, EXTENT, time));
    let mut met = answer(&mut reader(first)?, sides, met)?;
    let mut reader = reader(second)?;
    let met = in_time(sides, |time| {
        met.peer.set_deadline(time.deadline());
        met.found = lead(&mut met.peer, &met.other, 1)?;
        Ok(met)
    });
    answer(&mut reader, sides, met).map(drop)
}

/// The side that takes part when the other one is asked.
fn stand_by(sides: &Sides) -> Result<()> {
    let mut met = in_time(sides, |time| meet(sides, EXTENT, time))?;
    met.peer.rest()?;
    in_time(sides, |time| {
        met.peer.set_deadline(time.deadline());
        met.found = follow(&mut met.peer, &met.other, 1)?;
        met.peer.part()
    })?;
    report(sides, &met).verdict()
}

/// Waits until somebody opens the FIFO to read it.
fn reader(fifo: &Path) -> Result<File> {
    let opened = File::options().write(true).open(fifo);
    opened.with_context(|| format!("cannot write to {}: make one with `mkfifo`", fifo.display()))
}

/// Tells whoever reads what came of a round, be it an error.
fn answer(reader: &mut File, sides: &Sides, came: Result<Met>) -> Result<Met> {
    let came = came.map(|met| (report(sides, &met), met));
    let said = match &came {
        Ok((report, _)) => serde_json::to_string(report)?,
        Err(error) => format!("{error:#}"),
    };
    writeln!(reader, "{said}").context("nobody reads what was found")?;
    let (report, met) = came?;
    report.verdict()?;
    Ok(met)
}

fn report(sides: &Sides, met: &Met) -> Report {
    Report::of(role(sides), EXTENT.count, met)
}
