//! A checkout's folder `kernel/`, a tarball and a cache for tests: a tree of a
//! few lines that has the shape of a kernel's, for the real tar, git and make.

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rapidswap_progress::Reporter;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};
use tempfile::TempDir;

use crate::builder::Builder;
use crate::cache::Cache;
use crate::compilers::Compilers;
use crate::definition::{Definition, Origin};
use crate::error::Error;
use crate::toolchain::Toolchain;
use crate::{Kernel, Variant};

const MAKEFILE: &str = "\
VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 3
EXTRAVERSION =
ifdef M
include $(M)/Kbuild
modules:
\t: > $(M)/modules.order
\tfor o in $(obj-m); do \\
\t\tcat $(O)/vmlinux $(M)/*.c > $(M)/$${o%.o}.ko; \\
\t\techo $(M)/$$o >> $(M)/modules.order; \\
\tdone
else
tinyconfig:
\techo started >> $(O)/configured
\techo CONFIG_TINY=y > $(KCONFIG_CONFIG)
olddefconfig:
\tperl scripts/kconfig/conf.pl whole $(KCONFIG_CONFIG) $(KCONFIG_CONFIG)
savedefconfig:
\tperl scripts/kconfig/conf.pl minimal $(KCONFIG_CONFIG) $(O)/defconfig
listnewconfig:
\t@perl scripts/kconfig/conf.pl new $(KCONFIG_CONFIG) /dev/stdout
config:
\tsh $(O)/answers $(KCONFIG_CONFIG)
\tperl scripts/kconfig/conf.pl menu $(KCONFIG_CONFIG) $(KCONFIG_CONFIG)
vmlinux: mm.c
\t@echo '  CC      mm.o'
\t@! grep -n 'syntax error:' mm.c
\t@! test -p $(O)/gate || cat $(O)/gate
\tcp mm.c $(O)/vmlinux
targz-pkg: vmlinux modules
\tsed 's/^/packed /' $(O)/vmlinux > $(O)/linux-6.12.3$(LOCALVERSION)-x86.tar.gz
modules:
\tmkdir -p $(O)/lib $(O)/include/config
\techo x > $(O)/lib/x.ko
\techo lib/x.o > $(O)/modules.order
\techo 6.12.3$(LOCALVERSION) > $(O)/include/config/kernel.release
endif
";

const MERGE: &str = "shift 3; cat \"$@\" >> \"$KCONFIG_CONFIG\"\n";

/// A Kconfig of few rules: NEEDS_MORE is to be had in the menu only, RDMA
/// depends on NET, INET is on by default where NET is, DEBUG selects TRACE.
const CONF: &str = r##"
my ($mode, $from, $to) = @ARGV;
open(my $config, "<", $from) or die "no configuration";
my (%value, @order);
for (<$config>) {
    my ($name, $value) = /^CONFIG_(\w+)=(.*)/ ? ($1, $2) : /^# CONFIG_(\w+) is/ ? ($1, "n") : next;
    push @order, $name unless exists $value{$name};
    $value{$name} = $value;
}
close $config;
my $net = ($value{NET} // "n") eq "y";
my $debug = ($value{DEBUG} // "n") eq "y";
delete $value{NEEDS_MORE} if $mode eq "whole";
delete @value{"RDMA", "INET"} unless $net;
$value{INET} //= "y" if $net;
$value{TRACE} = "y" if $debug;
my %stated = map { $_ => 1 } @order;
my %seen;
my @names = grep { exists $value{$_} && !$seen{$_}++ } @order, "INET", "TRACE";
if ($mode eq "minimal") {
    @names = grep { $value{$_} ne ($_ eq "INET" ? "y" : "n") } @names;
    @names = grep { $_ ne "TRACE" } @names if $debug;
}
if ($mode eq "new") {
    $value{SOUND} //= "n";
    @names = grep { !$stated{$_} && ($_ ne "TRACE" || !$debug) } @names, "SOUND";
}
open(my $result, ">", $to) or die "no result";
for (@names) {
    print $result $value{$_} eq "n" ? "# CONFIG_$_ is not set\n" : "CONFIG_$_=$value{$_}\n";
}
"##;

const CHECKPATCH: &str = r#"
my $remarks = 0;
for my $path (grep { /[.]patch$/ } @ARGV) {
    open(my $patch, "<", $path) or die "no patch";
    for (grep { /ugly/ } <$patch>) {
        print "$path:1: WARNING:UGLY: $_";
        $remarks++;
    }
}
exit($remarks > 0);
"#;

pub(crate) fn patch_to(line: &str) -> String {
    format!("--- a/mm.c\n+++ b/mm.c\n@@ -1 +1 @@\n-plain\n+{line}\n")
}

/// Packs the tree with the times of a release that is years old.
pub(crate) fn pack(dir: &Path) {
    let tar = Command::new("tar")
        .args(["--mtime=2020-01-01", "-cJf", "linux.tar.xz", "linux-6.12.3"])
        .current_dir(dir)
        .status();
    assert!(tar.expect("tar runs").success());
}

/// A checkout, a tarball, and a cache.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) builder: Builder,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("has one")).expect("create");
            path
        };
        let write = |path: &str, content: &str| fs::write(at(path), content).expect("write");
        write("linux-6.12.3/Makefile", MAKEFILE);
        write("linux-6.12.3/Kconfig", "mainmenu \"Test\"\n");
        write("linux-6.12.3/scripts/kconfig/merge_config.sh", MERGE);
        write("linux-6.12.3/scripts/kconfig/conf.pl", CONF);
        write("linux-6.12.3/scripts/checkpatch.pl", CHECKPATCH);
        write("linux-6.12.3/mm.c", "plain\n");
        write("linux-6.12.3/other.c", "other\n");
        write("kernel/patches/0001-one.patch", &patch_to("first"));
        write("kernel/config/base.config", "CONFIG_SWAP=y\n");
        write("kernel/config/vm.config", "# CONFIG_SOUND is not set\n");
        write("kernel/config/debug.config", "CONFIG_CHECKS=y\n");
        write("kernel/config/host.config", "CONFIG_CARDS=y\n");
        write("kernel/config/mlx.config", "CONFIG_MLX=y\n");
        write("kernel/source.toml", include_str!("../source.toml"));
        write("module/Kbuild", "obj-m := remoteswap.o\n");
        write("module/shim.c", "shim\n");
        pack(dir.path());

        let mut definition = Definition::read(&at("kernel")).expect("valid");
        definition.sources.debian.tarball = at("linux.tar.xz");
        let cache = Cache::at(at("cache"));
        let toolchain = Toolchain {
            rustc: "rustc".into(),
            bindgen: "bindgen".into(),
            libclang: "/usr/lib".into(),
            compilers: Compilers::Gnu,
            debug_info: &[],
            identity: vec![("gcc".to_owned(), "12".to_owned())],
        };
        let builder = Builder {
            definition,
            cache,
            toolchain,
        };
        Bench { dir, builder }
    }

    pub(crate) fn write(&mut self, path: &str, content: &str) {
        let folder = self.dir.path().join("kernel");
        fs::write(folder.join(path), content).expect("write");
        self.reload();
    }

    /// Reads the checkout again.
    pub(crate) fn reload(&mut self) {
        let sources = self.builder.definition.sources.clone();
        let folder = self.dir.path().join("kernel");
        self.builder.definition = Definition::read(&folder).expect("valid");
        self.builder.definition.sources = sources;
    }

    pub(crate) fn ensure(&self) -> Result<Kernel, Error> {
        self.builder
            .ensure(Variant::Release, Instant::now(), &Reporter::silent())
    }

    /// Where each build of a variant stops: from when somebody opens this for
    /// writing, which waits for such a build, until that is closed.
    pub(crate) fn gate(&self, variant: Variant) -> PathBuf {
        let build = self.builder.cache.build(variant);
        fs::create_dir_all(&build).expect("create");
        let gate = build.join("gate");
        mkfifo(&gate, Mode::S_IRWXU).expect("fifo");
        gate
    }

    pub(crate) fn modules(&self, kernel: &Kernel, folder: &str) -> Result<Vec<PathBuf>, Error> {
        let folder = self.dir.path().join(folder);
        self.builder
            .modules(kernel, Variant::Release, &folder, &Reporter::silent())
    }

    pub(crate) fn module(&self, kernel: &Kernel) -> String {
        let built = self.modules(kernel, "module").expect("builds");
        assert_eq!(built.len(), 1);
        read(&built[0])
    }

    /// The other way to the source: a release by URL and checksum.
    pub(crate) fn take_release(&mut self, sha256: &str) {
        let sources = &mut self.builder.definition.sources;
        sources.origin = Origin::KernelOrg;
        sources.kernel_org.url = format!("file://{}/linux.tar.xz", self.dir.path().display());
        sources.kernel_org.sha256 = sha256.to_owned();
    }

    pub(crate) fn finished(&self) -> usize {
        fs::read_dir(self.builder.cache.out()).map_or(0, Iterator::count)
    }
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("read")
}

pub(crate) fn modified(path: PathBuf) -> SystemTime {
    let metadata = fs::metadata(path).expect("it is there");
    metadata.modified().expect("has a time")
}
