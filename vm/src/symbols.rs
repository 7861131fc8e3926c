//! Where in the sources the functions of a call trace are, by the line tables
//! of the kernel that printed it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use addr2line::Loader;
use object::{Object, ObjectSymbol, SymbolKind};

/// What ends the part of a source's path that differs between machines.
const TREE: &str = "/kernel/linux/";

/// A kernel's functions and line tables.
pub(crate) struct Symbols {
    functions: HashMap<String, Vec<Function>>,
    lines: Loader,
}

#[derive(Clone, Copy)]
struct Function {
    address: u64,
    size: u64,
}

/// A place as call traces write it: `function+0x1/0x2`.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    function: &'a str,
    offset: u64,
    size: u64,
    /// The place itself, or else the one to which a call returns.
    exact: bool,
}

impl Symbols {
    /// Reads those of a kernel; one without line tables is an error.
    pub(crate) fn load(vmlinux: &Path) -> Result<Symbols, String> {
        let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", vmlinux.display());
        let bytes = fs::read(vmlinux).map_err(|error| problem(&error))?;
        let file = object::File::parse(&*bytes).map_err(|error| problem(&error))?;
        if file.section_by_name(".debug_line").is_none() {
            return Err(problem(&"it has no line tables"));
        }
        let mut functions: HashMap<String, Vec<Function>> = HashMap::new();
        for symbol in file.symbols() {
            if symbol.kind() != SymbolKind::Text {
                continue;
            }
            if let Ok(name) = symbol.name() {
                functions
                    .entry(name.to_owned())
                    .or_default()
                    .push(Function {
                        address: symbol.address(),
                        size: symbol.size(),
                    });
            }
        }
        let lines = Loader::new(vmlinux).map_err(|error| problem(&error))?;
        Ok(Symbols { functions, lines })
    }

    /// A line of a trace, with the places in the sources behind it; inlined
    /// functions are on the way to the outer one.
    pub(crate) fn annotate(&self, line: &str) -> String {
        match place(line).and_then(|place| self.sources(&place)) {
            Some(sources) => format!("{line} ({sources})"),
            None => line.to_owned(),
        }
    }

    fn sources(&self, place: &Place<'_>) -> Option<String> {
        let function = self.function(place)?;
        let address = function.address + place.offset;
        let address = if place.exact { address } else { address - 1 };
        let mut frames = self.lines.find_frames(address).ok()?;
        let mut sources = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let Some(location) = frame.location else {
                continue;
            };
            if let (Some(file), Some(line)) = (location.file, location.line) {
                let file = file.split_once(TREE).map_or(file, |(_, rest)| rest);
                sources.push(format!("{file}:{line}"));
            }
        }
        (!sources.is_empty()).then(|| sources.join(" in "))
    }

    /// Static functions may share a name: the one of about that size, which
    /// the trace counts up to the next function.
    fn function(&self, place: &Place<'_>) -> Option<Function> {
        let candidates = self.functions.get(place.function)?.iter();
        let off = |function: &&Function| function.size.abs_diff(place.size);
        candidates.min_by_key(off).copied()
    }
}

/// Whether a line names a place in a function.
pub(crate) fn is_trace(line: &str) -> bool {
    place(line).is_some()
}

/// The place that a line of a trace is about, unless it is in a module.
fn place(line: &str) -> Option<Place<'_>> {
    let mut words = line.split_whitespace();
    let word = words.find(|word| word.contains("+0x") && word.contains("/0x"))?;
    if words.next().is_some_and(|next| next.starts_with('[')) {
        return None;
    }
    let (function, numbers) = word.split_once("+0x")?;
    let (offset, size) = numbers.split_once("/0x")?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    // A register is written as `RIP: 0010:function+0x1/0x2`.
    let (exact, function) = match function.split_once(':') {
        Some((_, function)) => (true, function),
        None => (false, function),
    };
    let (offset, size) = (hex(offset)?, hex(size)?);
    Some(Place {
        function,
        offset,
        size,
        exact: exact || offset == 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_in_traces() {
        let at = |function, exact| {
            Some(Place {
                function,
                offset: 0x1f,
                size: 0x80,
                exact,
            })
        };
        let trace = "[   12.000000]  ? do_swap_page+0x1f/0x80";
        assert_eq!(place(trace), at("do_swap_page", false));
        let register = "[   12.000000] RIP: 0010:do_swap_page+0x1f/0x80";
        assert_eq!(place(register), at("do_swap_page", true));
        for other in [
            "[   12.000000]  lkdtm_WARNING+0x1f/0x80 [lkdtm]",
            "[   12.000000] Call Trace:",
            "[   12.000000] RAX: 0000000000000000 RBX: ffff888",
        ] {
            assert_eq!(place(other), None, "{other}");
        }
    }

    #[test]
    fn a_function_of_this_program_is_in_this_file() {
        let program = std::env::current_exe().expect("this program");
        let symbols = Symbols::load(&program).expect("tests have line tables");
        let mut names = symbols.functions.keys();
        let name = names.find(|name| name.contains("a_function_of_this_program_is_in_this"));
        let line = format!("  {}+0x0/0x10", name.expect("this function"));
        let annotated = symbols.annotate(&line);
        assert!(annotated.starts_with(&line), "{annotated}");
        assert!(annotated.contains("vm/src/symbols.rs:"), "{annotated}");
        let unknown = "  no_such_place+0x0/0x10";
        assert_eq!(symbols.annotate(unknown), unknown);
    }

    #[test]
    fn a_file_without_line_tables_says_so() {
        assert!(Symbols::load(Path::new("/nowhere")).is_err());
        let error = Symbols::load(Path::new("/bin/true"))
            .err()
            .expect("stripped");
        assert!(error.ends_with("it has no line tables"), "{error}");
    }
}
