//! Which kernel the nodes run, and what of it and for it has to be there
//! before they boot.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;
use rapidswap_kernel::{Kernel, Variant};
use rapidswap_progress::Reporter;
use serde::{Deserialize, Serialize};

use crate::cluster::options::UpOptions;
use crate::cluster::prepare::failed;
use crate::cluster::profile::CLIENT;
use crate::error::{Error, IoContext, Result};

/// The module without which there is no remote swap.
const REMOTESWAP: &str = "remoteswap.ko";

/// Which kernel the nodes run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NodeKernel {
    /// This checkout's.
    Variant(Variant),
    /// What is built of a source tree.
    Tree {
        /// The tree.
        tree: PathBuf,
    },
    /// One that is there already.
    Image {
        /// A vmlinux or bzImage.
        image: PathBuf,
    },
}

impl NodeKernel {
    /// How many times longer than on the release kernel something may take.
    pub(crate) fn patience(&self) -> u32 {
        match self {
            NodeKernel::Variant(variant) => variant.patience(),
            NodeKernel::Tree { .. } => Variant::Release.patience(),
            // Nobody knows what an image does before it is up.
            NodeKernel::Image { .. } => Variant::Debug.patience(),
        }
    }
}

impl From<Variant> for NodeKernel {
    fn from(variant: Variant) -> NodeKernel {
        NodeKernel::Variant(variant)
    }
}

impl FromStr for NodeKernel {
    type Err = Error;

    /// The name of a variant, or a path.
    fn from_str(text: &str) -> Result<NodeKernel> {
        if let Ok(variant) = Variant::from_str(text, false) {
            return Ok(variant.into());
        }
        match fs::canonicalize(text) {
            Ok(tree) if tree.is_dir() => Ok(NodeKernel::Tree { tree }),
            Ok(image) => Ok(NodeKernel::Image { image }),
            Err(_) => {
                let variants = Variant::value_variants().iter();
                let variants: Vec<_> = variants.map(ToString::to_string).collect();
                let variants = variants.join(", ");
                Err(Error::BadOption(format!(
                    "there is no kernel `{text}`: use {variants}, a source tree of Linux, or an image"
                )))
            }
        }
    }
}

impl fmt::Display for NodeKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeKernel::Variant(variant) => write!(f, "{variant}"),
            NodeKernel::Tree { tree } => write!(f, "of {}", tree.display()),
            NodeKernel::Image { image } => write!(f, "{}", image.display()),
        }
    }
}

/// A folder of modules of somebody's own, and the node that loads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFolder {
    /// The node.
    pub node: String,
    /// The folder, with a `Kbuild` or `Makefile` of kbuild's.
    pub folder: PathBuf,
}

impl FromStr for ModuleFolder {
    type Err = Error;

    /// `DIR`, for the client, or `NODE=DIR`.
    fn from_str(text: &str) -> Result<ModuleFolder> {
        let (node, folder) = match text.split_once('=') {
            Some((node, folder)) if !node.contains('/') => (node, folder),
            _ => (CLIENT, text),
        };
        let found = fs::canonicalize(folder).ok().filter(|path| path.is_dir());
        Ok(ModuleFolder {
            node: node.to_owned(),
            folder: found.ok_or_else(|| {
                Error::BadOption(format!("there is no folder `{folder}` with a module in it"))
            })?,
        })
    }
}

/// A module that a node loads when it is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeModule {
    /// The node.
    pub node: String,
    /// The module's file name.
    pub module: String,
}

/// A kernel that is ready for nodes.
pub(crate) struct Ready {
    /// What QEMU boots.
    pub(crate) image: PathBuf,
    /// What the kernel calls itself, as far as is known.
    pub(crate) release: String,
    /// All modules for it.
    pub(crate) modules: Vec<PathBuf>,
    /// Which of those nodes load beyond what remote swap needs.
    pub(crate) loads: Vec<NodeModule>,
}

/// Makes a kernel, and of it and for it what `options` ask for.
pub(crate) fn ensure(
    kernel: &NodeKernel,
    options: &UpOptions,
    reporter: &Reporter,
) -> Result<Ready> {
    match kernel {
        NodeKernel::Variant(variant) => {
            let kernel = rapidswap_kernel::ensure(*variant, reporter).map_err(failed)?;
            with_modules(kernel, *variant, true, options, reporter)
        }
        NodeKernel::Tree { tree } => {
            let variant = Variant::Release;
            let kernel = rapidswap_kernel::build_tree(tree, variant, reporter).map_err(failed)?;
            // One without the series has no remote swap to build a module for.
            with_modules(kernel, variant, options.swap, options, reporter)
        }
        NodeKernel::Image { image } => as_it_is(image, options),
    }
}

/// Adds a module's file. Nodes find all of them by name in one folder.
fn add(modules: &mut Vec<PathBuf>, module: PathBuf) -> Result<()> {
    let named = |other: &&PathBuf| other.file_name() == module.file_name();
    match modules.iter().find(named) {
        Some(other) if *other != module => Err(Error::BadOption(format!(
            "{} and {} are modules of one name: give them two",
            other.display(),
            module.display()
        ))),
        Some(_) => Ok(()),
        None => {
            modules.push(module);
            Ok(())
        }
    }
}

fn with_modules(
    kernel: Kernel,
    variant: Variant,
    remoteswap: bool,
    options: &UpOptions,
    reporter: &Reporter,
) -> Result<Ready> {
    let mut modules = modules_in(&kernel.modules)?;
    if remoteswap {
        let module = rapidswap_kernel::module(&kernel, variant, reporter);
        add(&mut modules, module.map_err(failed)?)?;
    }
    let mut loads = Vec::new();
    for ModuleFolder { node, folder } in &options.modules {
        let built = rapidswap_kernel::modules(&kernel, variant, folder, reporter);
        for module in built.map_err(failed)? {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            loads.push(NodeModule {
                node: node.clone(),
                module: name.into_owned(),
            });
            add(&mut modules, module)?;
        }
    }
    Ok(Ready {
        image: kernel.vmlinux,
        release: kernel.release,
        modules,
        loads,
    })
}

/// Nothing can be built for a kernel without its source: the modules are those
/// beside it.
fn as_it_is(image: &Path, options: &UpOptions) -> Result<Ready> {
    let beside = |name| image.with_file_name(name);
    let modules = match beside("modules") {
        dir if dir.is_dir() => modules_in(&dir)?,
        _ => Vec::new(),
    };
    let refuse = |what: &str| {
        Err(Error::BadOption(
            format!(
                "{what} cannot be built for {}, which is no source tree: name the tree, or",
                image.display()
            ) + match what {
                REMOTESWAP => " use --no-swap",
                _ => " leave out --module",
            },
        ))
    };
    let name = |path: &PathBuf| path.file_name().is_some_and(|name| name == REMOTESWAP);
    if options.swap && !modules.iter().any(name) {
        return refuse(REMOTESWAP);
    }
    if !options.modules.is_empty() {
        return refuse("a module");
    }
    let release = fs::read_to_string(beside("release"));
    Ok(Ready {
        image: image.to_owned(),
        release: release.map_or("unknown".to_owned(), |text| text.trim().to_owned()),
        modules,
        loads: Vec::new(),
    })
}

fn modules_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let problem = || format!("cannot read {}", dir.display());
    let mut modules = Vec::new();
    for entry in fs::read_dir(dir).what(problem)? {
        let path = entry.what(problem)?.path();
        if path.extension().is_some_and(|extension| extension == "ko") {
            modules.push(path);
        }
    }
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_a_variant_a_tree_or_an_image() {
        let dir = tempfile::tempdir().expect("directory");
        let image = dir.path().join("bzImage");
        fs::write(&image, "x").expect("file");
        let read = |text: &Path| text.to_str().expect("text").parse::<NodeKernel>();
        let debug = "debug".parse::<NodeKernel>().expect("a variant");
        assert_eq!(debug, Variant::Debug.into());
        assert!(matches!(read(dir.path()), Ok(NodeKernel::Tree { .. })));
        assert!(matches!(read(&image), Ok(NodeKernel::Image { .. })));
        let error = "fast".parse::<NodeKernel>().expect_err("none").to_string();
        assert!(
            error.starts_with("there is no kernel `fast`: use release, debug"),
            "{error}"
        );
    }

    #[test]
    fn what_status_says_of_it_is_one_value() {
        let json = |kernel: &NodeKernel| serde_json::to_string(kernel).expect("json");
        assert_eq!(json(&Variant::Release.into()), "\"release\"");
        let tree = NodeKernel::Tree { tree: "/x".into() };
        assert_eq!(json(&tree), "{\"tree\":\"/x\"}");
        assert_eq!(
            serde_json::from_str::<NodeKernel>(&json(&tree)).expect("back"),
            tree
        );
    }

    #[test]
    fn modules_are_the_clients_unless_a_node_is_named() {
        let read = |text: &str| text.parse::<ModuleFolder>();
        assert_eq!(read("/").expect("a folder").node, "client");
        let named = read("server2=/usr").expect("a folder");
        assert_eq!(
            (named.node.as_str(), named.folder),
            ("server2", "/usr".into())
        );
        assert!(read("client=/nowhere").is_err());
    }

    #[test]
    fn two_modules_of_one_name_are_refused() {
        let mut modules = Vec::new();
        let mut add = |module: &str| add(&mut modules, module.into());
        assert!(add("/v1/drv.ko").is_ok() && add("/v1/other.ko").is_ok());
        assert!(add("/v1/drv.ko").is_ok(), "for another node as well");
        let error = add("/v2/drv.ko").expect_err("two").to_string();
        assert!(error.contains("/v1/drv.ko and /v2/drv.ko"), "{error}");
        assert_eq!(modules.len(), 2);
    }

    #[test]
    fn without_its_source_a_kernel_gets_no_module() {
        let dir = tempfile::tempdir().expect("directory");
        let image = dir.path().join("vmlinux");
        let options = |swap| UpOptions {
            swap,
            ..UpOptions::default()
        };
        let ready = as_it_is(&image, &options(false)).expect("as it is");
        assert_eq!(
            (ready.modules.len(), ready.release.as_str()),
            (0, "unknown")
        );
        let error = as_it_is(&image, &options(true))
            .err()
            .expect("refused")
            .to_string();
        assert!(
            error.ends_with("name the tree, or use --no-swap"),
            "{error}"
        );
        fs::create_dir(dir.path().join("modules")).expect("folder");
        fs::write(dir.path().join("modules/remoteswap.ko"), "x").expect("file");
        assert_eq!(
            as_it_is(&image, &options(true))
                .expect("good")
                .modules
                .len(),
            1
        );
    }
}
