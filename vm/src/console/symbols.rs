//! Where in the sources the functions of a call trace are, by the line tables
//! of the kernel that printed it and of its modules.

mod linked;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use object::{Object, ObjectSymbol, SymbolKind};
use tempfile::NamedTempFile;

/// What ends the part of a source's path that differs between machines.
const TREE: &str = "/kernel/linux/";

/// Those of a kernel and of the modules that it is given.
pub(crate) struct Sources<F> {
    kernel: Symbols,
    /// The file of the module of some name.
    file: F,
    /// What has been looked for.
    modules: HashMap<String, Option<Symbols>>,
}

impl<F: Fn(&str) -> Option<PathBuf>> Sources<F> {
    /// Reads those of a kernel; one without line tables is an error. Those of
    /// modules are read as they are met.
    pub(crate) fn load(vmlinux: &Path, file: F) -> Result<Sources<F>, String> {
        Ok(Sources {
            kernel: Symbols::load(vmlinux)?,
            file,
            modules: HashMap::new(),
        })
    }

    /// A line of a trace, with the places in the sources behind it; inlined
    /// functions are on the way to the outer one.
    pub(crate) fn annotate(&mut self, line: &str) -> String {
        let sources = place(line).and_then(|place| self.symbols(place.module)?.sources(&place));
        match sources {
            Some(sources) => format!("{line} ({sources})"),
            None => line.to_owned(),
        }
    }

    fn symbols(&mut self, module: Option<&str>) -> Option<&Symbols> {
        let Some(name) = module else {
            return Some(&self.kernel);
        };
        if !self.modules.contains_key(name) {
            // A trace through a module without line tables stays as it is.
            let symbols = (self.file)(name).and_then(|file| Symbols::load(&file).ok());
            self.modules.insert(name.to_owned(), symbols);
        }
        self.modules.get(name)?.as_ref()
    }
}

/// The functions and line tables of one file.
struct Symbols {
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
    /// The module that the function is of.
    module: Option<&'a str>,
    offset: u64,
    size: u64,
    /// The place itself, or else the one to which a call returns.
    exact: bool,
}

impl Symbols {
    fn load(path: &Path) -> Result<Symbols, String> {
        let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let bytes = fs::read(path).map_err(|error| problem(&error))?;
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
                        address: linked::base(&file, symbol.section_index()) + symbol.address(),
                        size: symbol.size(),
                    });
            }
        }
        let lines = match linked::linked(&bytes).map_err(|error| problem(&error))? {
            Cow::Borrowed(_) => Loader::new(path).map_err(|error| problem(&error))?,
            Cow::Owned(linked) => {
                // The loader takes a file, which it keeps open.
                let mut file = NamedTempFile::new().map_err(|error| problem(&error))?;
                file.write_all(&linked).map_err(|error| problem(&error))?;
                Loader::new(file.path()).map_err(|error| problem(&error))?
            }
        };
        Ok(Symbols { functions, lines })
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

/// The place that a line of a trace is about.
fn place(line: &str) -> Option<Place<'_>> {
    let mut words = line.split_whitespace();
    let word = words.find(|word| word.contains("+0x") && word.contains("/0x"))?;
    // `[module]`, or with the build's own number, `[module 0123abcd]`.
    let module = words.next().and_then(|next| next.strip_prefix('['));
    let module = module.map(|name| name.trim_end_matches(']'));
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
        module,
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
        let of = |function, module, exact| {
            Some(Place {
                function,
                module,
                offset: 0x1f,
                size: 0x80,
                exact,
            })
        };
        let at = |function, exact| of(function, None, exact);
        let trace = "[   12.000000]  ? do_swap_page+0x1f/0x80";
        assert_eq!(place(trace), at("do_swap_page", false));
        let register = "[   12.000000] RIP: 0010:do_swap_page+0x1f/0x80";
        assert_eq!(place(register), at("do_swap_page", true));
        for line in [
            "[   12.000000]  lkdtm_WARNING+0x1f/0x80 [lkdtm]",
            "[   12.000000]  lkdtm_WARNING+0x1f/0x80 [lkdtm 0123abcd]",
        ] {
            assert_eq!(place(line), of("lkdtm_WARNING", Some("lkdtm"), false));
        }
        for other in [
            "[   12.000000] Call Trace:",
            "[   12.000000] RAX: 0000000000000000 RBX: ffff888",
        ] {
            assert_eq!(place(other), None, "{other}");
        }
    }

    fn no_file(_: &str) -> Option<PathBuf> {
        None
    }

    #[test]
    fn a_function_of_this_program_is_in_this_file() {
        let program = std::env::current_exe().expect("this program");
        let mut sources = Sources::load(&program, no_file).expect("tests have line tables");
        let mut names = sources.kernel.functions.keys();
        let name = names.find(|name| name.contains("a_function_of_this_program_is_in_this"));
        let line = format!("  {}+0x0/0x10", name.expect("this function"));
        let annotated = sources.annotate(&line);
        assert!(annotated.starts_with(&line), "{annotated}");
        assert!(
            annotated.contains("vm/src/console/symbols.rs:"),
            "{annotated}"
        );
        let unknown = "  no_such_place+0x0/0x10";
        assert_eq!(sources.annotate(unknown), unknown);
        let elsewhere = format!("{line} [module]");
        assert_eq!(sources.annotate(&elsewhere), elsewhere);
    }

    /// As modules are: not linked, and with code in sections of their own.
    #[test]
    fn a_function_of_a_file_that_is_not_linked_is_in_its_source() {
        let dir = tempfile::tempdir().expect("directory");
        let source = dir.path().join("module.c");
        let text = "__attribute__((section(\".init.text\"))) int first(int a) { return a / 3; }\n\
                    int other(int a) { return a / 5; }\n";
        fs::write(&source, text).expect("a file");
        let object = dir.path().join("module.ko");
        let built = std::process::Command::new("cc")
            .args(["-g", "-O1", "-c", "-o"])
            .args([&object, &source])
            .status();
        assert!(built.expect("a compiler").success());
        let program = std::env::current_exe().expect("this program");
        let file = |name: &str| (name == "module").then(|| object.clone());
        let mut sources = Sources::load(&program, file).expect("tests have line tables");
        for (function, line) in [("first", 1), ("other", 2)] {
            let trace = format!(" {function}+0x0/0x10 [module]");
            let annotated = sources.annotate(&trace);
            assert!(
                annotated.ends_with(&format!("module.c:{line})")),
                "{annotated}"
            );
        }
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
