//! The C compiler and linker of each variant: GNU's, or for the checks that
//! only LLVM's can build into Rust as well, those.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::Variant;

/// What compiles and links C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compilers {
    /// gcc and GNU ld, from `PATH`.
    Gnu,
    /// clang, lld and LLVM's other tools, from one directory.
    Llvm(PathBuf),
}

impl Compilers {
    /// Those of a variant. LLVM's are taken from beside libclang, because what
    /// bindgen reads and what clang compiles must be the same.
    pub(crate) fn of(variant: Variant, libclang: &Path) -> Compilers {
        match variant {
            Variant::Release | Variant::Host => Compilers::Gnu,
            Variant::Debug => Compilers::Llvm(libclang.with_file_name("bin")),
        }
    }

    /// The programs whose versions are part of a kernel's hash, by label.
    pub(crate) fn programs(&self) -> [(&'static str, PathBuf); 2] {
        match self {
            Compilers::Gnu => [("gcc", "gcc".into()), ("ld", "ld".into())],
            Compilers::Llvm(bin) => [("clang", bin.join("clang")), ("lld", bin.join("ld.lld"))],
        }
    }

    /// What is to be installed if they are not there.
    pub(crate) fn missing(&self) -> Option<String> {
        let Compilers::Llvm(bin) = self else {
            // make and its like are looked for together with these.
            return None;
        };
        let there = ["clang", "ld.lld", "llvm-ar", "llvm-nm", "llvm-objcopy"]
            .iter()
            .all(|program| bin.join(program).is_file());
        // Debian's are in /usr/lib/llvm-19.
        let llvm = bin.parent().and_then(Path::file_name).unwrap_or_default();
        let suffix = llvm.to_str().and_then(|name| name.strip_prefix("llvm"));
        let suffix = suffix.unwrap_or_default();
        (!there).then(|| {
            format!(
                "the debug kernel needs clang in {}: apt-get install clang{suffix} lld{suffix} \
                 llvm{suffix}",
                bin.display()
            )
        })
    }

    /// What tells make of them; GNU's are its default.
    pub(crate) fn argument(&self) -> Option<OsString> {
        let Compilers::Llvm(bin) = self else {
            return None;
        };
        let mut argument = OsString::from("LLVM=");
        argument.push(bin);
        // Without it make takes this for the suffix of the programs' names.
        argument.push("/");
        Some(argument)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_is_the_one_of_libclang() {
        let libclang = Path::new("/usr/lib/llvm-19/lib");
        let release = Compilers::of(Variant::Release, libclang);
        assert_eq!(release, Compilers::Gnu);
        assert_eq!(release.argument(), None);
        let debug = Compilers::of(Variant::Debug, libclang);
        assert_eq!(debug, Compilers::Llvm("/usr/lib/llvm-19/bin".into()));
        assert_eq!(
            debug.argument().expect("is needed"),
            "LLVM=/usr/lib/llvm-19/bin/"
        );
        assert_eq!(
            debug.programs(),
            [
                ("clang", "/usr/lib/llvm-19/bin/clang".into()),
                ("lld", "/usr/lib/llvm-19/bin/ld.lld".into()),
            ]
        );
    }

    #[test]
    fn what_is_missing_is_asked_for_by_package() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let libclang = dir.path().join("llvm-7/lib");
        let missing = Compilers::of(Variant::Debug, &libclang).missing();
        let missing = missing.expect("none is there");
        assert!(
            missing.ends_with(": apt-get install clang-7 lld-7 llvm-7"),
            "{missing}"
        );
    }
}
