//! The tools that build the kernel: found, checked, and named in the hash.

use rapidswap_cli::in_path;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use crate::Variant;
use crate::compilers::Compilers;
use crate::definition::Tools;
use crate::error::{Error, Result};

/// Programs that the kernel's build runs besides the compilers, with the
/// packages that hold them.
const PROGRAMS: [(&str, &str); 10] = [
    ("make", "make"),
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("perl", "perl"),
    ("tar", "tar"),
    ("xz", "xz-utils"),
    ("git", "git"),
];

/// The debug kernel's configuration asks for all of it. That takes a third
/// longer to compile, and line tables cost no time.
fn debug_info(variant: Variant) -> &'static [&'static str] {
    match variant {
        Variant::Debug => &[],
        Variant::Release | Variant::Host => {
            &["KCFLAGS=-g1", "KRUSTFLAGS=-Cdebuginfo=line-tables-only"]
        }
    }
}

/// A complete set of tools.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    pub(crate) bindgen: PathBuf,
    /// Directory of the libclang that bindgen loads.
    pub(crate) libclang: PathBuf,
    pub(crate) compilers: Compilers,
    /// Arguments of make that say how much debug information there is to be.
    pub(crate) debug_info: &'static [&'static str],
    /// What goes into the hash, by label.
    pub(crate) identity: Vec<(String, String)>,
}

/// Those of each variant that were found. The tools of a checkout stay the same
/// while a program runs, and asking each for its version takes long.
static FOUND: [OnceLock<Toolchain>; Variant::ALL.len()] =
    [const { OnceLock::new() }; Variant::ALL.len()];

impl Toolchain {
    /// A variant's tools: as [`Toolchain::probe`] finds them the first time.
    pub(crate) fn of(variant: Variant, wanted: &Tools, installed: &Path) -> Result<Toolchain> {
        let found = &FOUND[variant as usize];
        if let Some(known) = found.get() {
            return Ok(known.clone());
        }
        let probed = Toolchain::probe(wanted, installed, variant)?;
        Ok(found.get_or_init(|| probed).clone())
    }

    /// Finds a variant's tools, or names all that are missing at once.
    fn probe(wanted: &Tools, installed: &Path, variant: Variant) -> Result<Toolchain> {
        let libclang = find_libclang();
        let beside = libclang.as_ref().map(|(dir, _)| dir.as_path());
        let compilers = Compilers::of(variant, beside.unwrap_or(Path::new("")));
        let [(cc_label, cc), (ld_label, ld)] = compilers.programs();
        // Side by side: most of the time goes into the loading of compilers.
        let (rustc, bindgen, cc, ld) = thread::scope(|scope| {
            let rustc = scope.spawn(|| find_rustc(&rustc_candidates(&wanted.rustc), &wanted.rustc));
            let bindgen = scope.spawn(|| find_bindgen(installed, &wanted.bindgen));
            let cc = scope.spawn(|| first_line(cc, &["--version"]));
            let ld = first_line(ld, &["--version"]);
            let joined = "a probe does not panic";
            (
                rustc.join().expect(joined),
                bindgen.join().expect(joined),
                cc.join().expect(joined),
                ld,
            )
        });
        let mut missing = missing_programs();
        if libclang.is_ok() {
            missing.extend(compilers.missing());
        }
        match (rustc, bindgen, libclang, cc, ld) {
            (Ok(rustc), Ok(bindgen), Ok(libclang), Some(cc), Some(ld)) if missing.is_empty() => {
                let identity = [
                    ("rustc", rustc.1),
                    ("bindgen", bindgen.1),
                    ("libclang", libclang.1),
                    (cc_label, cc),
                    (ld_label, ld),
                ];
                Ok(Toolchain {
                    rustc: rustc.0,
                    bindgen: bindgen.0,
                    libclang: libclang.0,
                    compilers,
                    debug_info: debug_info(variant),
                    identity: identity
                        .map(|(label, version)| (label.to_owned(), version))
                        .into(),
                })
            }
            (rustc, bindgen, libclang, ..) => {
                missing.extend(rustc.err());
                missing.extend(bindgen.err());
                missing.extend(libclang.err());
                Err(Error::Tools(missing))
            }
        }
    }

    /// What only a build needs and the hash does not: checked before one.
    pub(crate) fn check_headers(&self) -> Result<()> {
        let present = ["/usr/include", "/usr/local/include"]
            .iter()
            .any(|dir| Path::new(dir).join("gelf.h").exists());
        if present {
            return Ok(());
        }
        Err(Error::Tools(vec![
            "the headers of libelf are missing: install the package libelf-dev".to_owned(),
        ]))
    }
}

type Found = (PathBuf, String);

/// Where a compiler of the wanted version lies on Debian and Ubuntu, in the
/// order of preference. The kernel needs one that comes with the source of
/// `core`, which a rustup toolchain often lacks: what `PATH` has comes last.
fn rustc_candidates(wanted: &str) -> Vec<PathBuf> {
    let mut candidates = vec![
        PathBuf::from("/usr/bin/rustc"),
        PathBuf::from(format!("/usr/bin/rustc-{wanted}")),
        PathBuf::from(format!("/usr/lib/rust-{wanted}/bin/rustc")),
    ];
    candidates.extend(in_path("rustc"));
    candidates
}

/// The first compiler of the wanted version that has the source of `core`.
fn find_rustc(candidates: &[PathBuf], wanted: &str) -> Result<Found, String> {
    let mut why = Vec::new();
    for candidate in candidates.iter().filter(|path| path.exists()) {
        let path = candidate.display();
        let (version, sysroot) = thread::scope(|scope| {
            let sysroot = scope.spawn(|| first_line(candidate, &["--print", "sysroot"]));
            let version = first_line(candidate, &["--version"]);
            (version, sysroot.join().expect("a probe does not panic"))
        });
        let Some(version) = version else {
            why.push(format!("{path} does not run"));
            continue;
        };
        if !is_version(&version, "rustc", wanted) {
            why.push(format!("{path} is {version}"));
            continue;
        }
        let sysroot = sysroot.unwrap_or_default();
        let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/src/lib.rs");
        if !source.exists() {
            why.push(format!("{path} lacks {}", source.display()));
            continue;
        }
        return Ok((candidate.clone(), version));
    }
    if why.is_empty() {
        why.push("none is installed".to_owned());
    }
    Err(format!(
        "rustc {wanted} with its source is needed ({}): install the packages rustc-web and \
         rust-web-src of that version (or rustc and rust-src)",
        why.join(", ")
    ))
}

fn find_bindgen(installed: &Path, wanted: &str) -> Result<Found, String> {
    let candidates = [Some(installed.join("bindgen")), in_path("bindgen")];
    let mut why = Vec::new();
    for candidate in candidates
        .into_iter()
        .flatten()
        .filter(|path| path.exists())
    {
        match first_line(&candidate, &["--version"]) {
            Some(version) if is_version(&version, "bindgen", wanted) => {
                return Ok((candidate, version));
            }
            Some(version) => why.push(format!("{} is {version}", candidate.display())),
            None => why.push(format!("{} does not run", candidate.display())),
        }
    }
    if why.is_empty() {
        why.push("none is installed".to_owned());
    }
    Err(format!(
        "bindgen {wanted} is needed ({}): cargo install --locked --root {} bindgen-cli@{wanted}",
        why.join(", "),
        installed.parent().unwrap_or(installed).display(),
    ))
}

/// The newest libclang of the distribution, or the one that
/// `$LIBCLANG_PATH` names.
fn find_libclang() -> Result<Found, String> {
    let mut dirs: Vec<PathBuf> = env::var_os("LIBCLANG_PATH")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    if dirs.is_empty() {
        let llvm = |path: &PathBuf| -> Option<u32> {
            path.file_name()?
                .to_str()?
                .strip_prefix("llvm-")?
                .parse()
                .ok()
        };
        dirs = list(Path::new("/usr/lib"))
            .filter(|path| llvm(path).is_some())
            .collect();
        dirs.sort_by_key(|path| std::cmp::Reverse(llvm(path)));
        dirs = dirs.into_iter().map(|path| path.join("lib")).collect();
    }
    for dir in dirs {
        let mut libraries: Vec<_> = list(&dir)
            .filter(|path| {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                (name.starts_with("libclang.so") || name.starts_with("libclang-"))
                    && name.contains(".so")
                    && path.exists()
            })
            .collect();
        libraries.sort();
        if let Some(library) = libraries.first().and_then(|path| path.canonicalize().ok()) {
            let size = library.metadata().map_or(0, |metadata| metadata.len());
            let name = library.file_name().unwrap_or_default().to_string_lossy();
            let identity = format!("{name}, {size} bytes");
            return Ok((dir, identity));
        }
    }
    Err("libclang is missing, which bindgen loads: install the package libclang-dev".to_owned())
}

fn list(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = dir.read_dir().into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

fn missing_programs() -> Vec<String> {
    let missing = PROGRAMS
        .iter()
        .filter(|(program, _)| in_path(program).is_none());
    let packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "build tools are missing: apt-get install {}",
        packages.join(" ")
    )]
}

/// `rustc 1.85.0 (4d91de4e4 2025-02-17)` is version `1.85`, and so is
/// `rustc 1.85.0`; `rustc 1.850.0` is not.
fn is_version(line: &str, program: &str, wanted: &str) -> bool {
    let version = line.strip_prefix(program).map(str::trim_start);
    let rest = version.and_then(|version| version.strip_prefix(wanted));
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn first_line(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        // Cargo puts its own toolchain's libraries here.
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn script(path: &Path, body: &str) {
        fs::create_dir_all(path.parent().expect("has one")).expect("create");
        fs::write(path, format!("#!/bin/sh\n{body}\n")).expect("write");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }

    #[test]
    fn versions_end_at_a_boundary() {
        assert!(is_version(
            "rustc 1.85.0 (4d91de4e4 2025-02-17)",
            "rustc",
            "1.85"
        ));
        assert!(is_version("bindgen 0.72.1", "bindgen", "0.72.1"));
        assert!(!is_version("rustc 1.850.0", "rustc", "1.85"));
        assert!(!is_version("bindgen 0.72.10", "bindgen", "0.72.1"));
        assert!(!is_version("clang 1.85", "rustc", "1.85"));
    }

    #[test]
    fn a_compiler_needs_the_version_and_the_source() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| dir.path().join(name);
        let rustc = |version: &str, root: &str| {
            let root = at(root);
            format!(
                "if [ \"$1\" = --version ]; then echo 'rustc {version} (x)'; else echo '{}'; fi",
                root.display()
            )
        };
        script(&at("new"), &rustc("1.96.0", "root"));
        script(&at("bare"), &rustc("1.85.1", "bare-root"));
        script(&at("good"), &rustc("1.85.0", "root"));
        script(&at("root/lib/rustlib/src/rust/library/core/src/lib.rs"), "");

        let all = [at("absent"), at("new"), at("bare"), at("good")];
        let found = find_rustc(&all, "1.85").expect("the last one will do");
        assert_eq!(found, (at("good"), "rustc 1.85.0 (x)".to_owned()));

        let error = find_rustc(&all[..3], "1.85").expect_err("neither will do");
        assert!(error.contains("new is rustc 1.96.0 (x)"), "{error}");
        assert!(error.contains("bare lacks"), "{error}");
        let error = find_rustc(&all[..1], "1.85").expect_err("there is none");
        assert!(error.contains("none is installed"), "{error}");
    }

    #[test]
    fn the_installed_bindgen_is_taken_if_it_is_the_wanted_one() {
        let dir = tempfile::tempdir().expect("temporary directory");
        script(&dir.path().join("bindgen"), "echo bindgen 0.0.7");
        let found = find_bindgen(dir.path(), "0.0.7").expect("it is there");
        assert_eq!(found.0, dir.path().join("bindgen"));
        let error = find_bindgen(dir.path(), "0.0.8").expect_err("it is another");
        assert!(error.contains("is bindgen 0.0.7"), "{error}");
        assert!(error.contains("bindgen-cli@0.0.8"), "{error}");
    }
}
