# Recipes are run through ./just, which first installs what the host lacks.
#
# Results go to stdout and nothing else does: recipes are quiet, and cargo
# speaks on stderr. Arguments reach programs as "$@", exactly as typed.

set positional-arguments

target := env_var_or_default("CARGO_TARGET_DIR", justfile_directory() / "target")
static := target / "static"
release := target / "release"
cli := release / "rapidswap"
kernel := release / "rapidswap-kernel"
triple := "x86_64-unknown-linux-gnu"

# What is kept of failures, whatever failed.
export RAPIDSWAP_ARTIFACTS := env_var_or_default("RAPIDSWAP_ARTIFACTS", target / "failures")

# List the recipes
default:
    @"{{ just_executable() }}" --justfile "{{ justfile() }}" --list --unsorted

# The main job: swap to another VM's memory, shown end to end; --json prints one JSON object
[no-exit-message]
demo *ARGS: build
    @exec "{{ release }}/demo" "$@"

# Every test: format, lints, scripts, the patch series, unit and integration tests; or those of some names only: [NAME…]
[no-exit-message]
test *NAMES:
    @exec "{{ just_executable() }}" --justfile "{{ justfile() }}" {{ if NAMES == "" { "_test-all" } else { "_test-named" } }} "$@"

_test-all: test-ready nextest

# What `test` does before the first test: lints, the series, and all that tests need
[no-exit-message]
test-ready: fmt-check lint oldest-rust checkpatch build _kernel image
    @cargo nextest run --locked --workspace --no-run

_test-named *NAMES: build _kernel image
    @exec "{{ just_executable() }}" --justfile "{{ justfile() }}" nextest "$@"

# Bring a cluster up and leave it running
[no-exit-message]
up *ARGS: build
    @exec "{{ cli }}" up "$@"

# Stop a cluster and everything that belongs to it
[no-exit-message]
down *ARGS: _cli
    @exec "{{ cli }}" down "$@"

# What runs, and how it is: [--json]
[no-exit-message]
status *ARGS: _cli
    @exec "{{ cli }}" status "$@"

# Run a command in a node: NODE -- CMD ARGS…
[no-exit-message]
exec *ARGS: _cli
    @exec "{{ cli }}" exec "$@"

# A shell in a node: NODE
[no-exit-message]
shell *ARGS: _cli
    @exec "{{ cli }}" shell "$@"

# Copy a file into, out of or between nodes: FROM TO, one of them NODE:PATH
[no-exit-message]
cp *ARGS: _cli
    @exec "{{ cli }}" cp "$@"

# What a node's kernel says on its console: [-f] NODE
[no-exit-message]
logs *ARGS: _cli
    @exec "{{ cli }}" logs "$@"

# Be at a node's serial console, with a shell on it: NODE
[no-exit-message]
console *ARGS: _cli
    @exec "{{ cli }}" console "$@"

# Debug a node's kernel with gdb: NODE [-- GDB ARGUMENTS…]
[no-exit-message]
gdb *ARGS: _cli
    @exec "{{ cli }}" gdb "$@"

# Make something go wrong from outside: link|loss|delay|partition|clear|pause|resume|kill|reset …
[no-exit-message]
fault *ARGS: _cli
    @exec "{{ cli }}" fault "$@"

# What both ends' RDMA devices offer against what is needed: [--json] [--cap NODE:ATTRIBUTE=VALUE]
[no-exit-message]
parity *ARGS: _cli
    @exec "{{ cli }}" parity "$@"

# A profile: its nodes, their link, and the tests it leaves out: NAME
[no-exit-message]
profile *ARGS: _cli
    @exec "{{ cli }}" profile "$@"

# Run a command under a memory limit, and report what swapped: --limit 64M [--cpus LIST] [--compare] -- CMD ARGS…
[no-exit-message]
run *ARGS: _cli
    @exec "{{ cli }}" run "$@"

# Watch what the nodes do, each second; q leaves: [NAME] [--once] [--json]
[no-exit-message]
top *ARGS: _cli
    @exec "{{ cli }}" top "$@"

# What this host lacks, and the command that mends it: [--json]
[no-exit-message]
doctor *ARGS: _cli
    @exec "{{ cli }}" doctor "$@"

# Remove what was not used for longest from the cache: [--limit SIZE] [--dry-run]
[no-exit-message]
clean *ARGS: _cli
    @exec "{{ cli }}" clean "$@"

# One step of git bisect run: [UP OPTIONS] [--timeout TIME] -- CMD ARGS…
[no-exit-message]
bisect-run *ARGS: _cli
    @exec "{{ cli }}" bisect-run "$@"

# Write pages for man into a directory: DIR
[no-exit-message]
man *ARGS: _cli
    @exec "{{ cli }}" man "$@"

# Keep what can be had of a cluster, to see what failed: [--dump] [DIR]
[no-exit-message]
collect *ARGS: _cli
    @exec "{{ cli }}" collect "$@"

# Measure faults and page-outs against the link, with swap other swap, or with env other tools: [swap|env] [--json]
[no-exit-message]
bench *ARGS: build
    @exec "{{ release }}/bench" "$@"

# Build the programs of host and guests
[no-exit-message]
build:
    @cargo build --release --locked --workspace --bins
    @cargo build --release --locked --package remoteswap-server --examples
    @RUSTFLAGS="-C target-feature=+crt-static -C strip=debuginfo" cargo build --release --locked \
        --target "{{ triple }}" --target-dir "{{ static }}" \
        --package rapidswap-agent --package rapidswap-workloads --bins

# Build the kernel: [--variant release|debug|host]; or edit|refresh the series, config, …: kernel --help
[no-exit-message]
kernel *ARGS: build
    @exec "{{ kernel }}" "$@"

# Build the modules, remoteswap.ko and those of tests: [--variant release|debug|host]
[no-exit-message]
modules *ARGS: build
    @"{{ kernel }}" module "$@" module tests/*-ko >&2

# Build the guests' root file system
[no-exit-message]
image: build
    @"{{ release }}/rapidswap-images" build >&2
    @"{{ release }}/rapidswap-images" build --posed-host >&2

# The correctness tests on a kernel with KASAN, lockdep, kmemleak and more; hours without KVM
[no-exit-message]
test-debug-kernel: (_kernel "--variant" "debug") image
    @RAPIDSWAP_KERNEL=debug "{{ just_executable() }}" --justfile "{{ justfile() }}" nextest --profile debug-kernel --package rapidswap-tests --test cluster --test debug_kernel

# The tests of data and failures, with every knob off and then with all on: [NEXTEST ARGUMENTS…]
[no-exit-message]
test-knobs *ARGS: _kernel image
    #!/bin/sh
    # One setting says little about the other.
    status=0
    for knobs in off all; do
        echo "test-knobs: $knobs" >&2
        RAPIDSWAP_KNOBS=$knobs "{{ just_executable() }}" --justfile "{{ justfile() }}" nextest --profile "knobs-$knobs" \
            --package rapidswap-tests --test cluster "$@" || status=$?
    done
    exit "$status"

# The tests on the nodes of a profile, without those that it leaves out: PROFILE [NEXTEST ARGUMENTS…]
[no-exit-message]
test-profile PROFILE *ARGS: image
    #!/bin/sh
    set -eu
    RAPIDSWAP_PROFILE=$1
    export RAPIDSWAP_PROFILE
    shift
    "{{ cli }}" profile "$RAPIDSWAP_PROFILE" --reach
    "{{ cli }}" profile "$RAPIDSWAP_PROFILE" >&2
    filter=$("{{ cli }}" profile "$RAPIDSWAP_PROFILE" --filter)
    # No test has the time to build it.
    variant=$("{{ cli }}" profile "$RAPIDSWAP_PROFILE" | sed -n 's/^kernel *//p')
    "{{ kernel }}" build --variant "$variant" >&2
    exec "{{ just_executable() }}" --justfile "{{ justfile() }}" nextest --package rapidswap-tests \
        --test cluster --filterset "$filter" "$@"

# The same on two virtual machines that pose as hosts; without KVM a quarter of an hour: [NEXTEST ARGUMENTS…]
[no-exit-message]
test-hosts *ARGS: image
    #!/bin/sh
    set -eu
    dir=$(mktemp -d)
    vmlinux=$("{{ kernel }}" build)
    image=$("{{ release }}/rapidswap-images" build --posed-host)
    mkfifo "$dir/said"
    tests/pose/pose.sh "$vmlinux" "$image" "$dir" >"$dir/said" &
    posed=$!
    end() {
        kill $posed 2>/dev/null || true
        wait $posed || true
        rm -rf "$dir"
    }
    trap end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    read -r said <"$dir/said" && [ "$said" = ready ]
    "{{ just_executable() }}" --justfile "{{ justfile() }}" test-profile "$dir/profile.toml" "$@"

# The kernel of hosts, with the drivers of their cards, on two VMs that pose as hosts
[no-exit-message]
test-host-kernel: (_kernel "--variant" "host") image
    @"{{ just_executable() }}" --justfile "{{ justfile() }}" nextest --profile host-kernel --package rapidswap-tests

# Half an hour of allocating at the limit: nothing is killed, and every byte is right
soak: build _kernel image
    @"{{ just_executable() }}" --justfile "{{ justfile() }}" nextest --profile soak --package rapidswap-tests

# Unit and integration tests only: [NEXTEST ARGUMENTS…]
[no-exit-message]
nextest *ARGS: build
    @exec "{{ just_executable() }}" --justfile "{{ justfile() }}" _nextest --locked --workspace "$@"

# Everything that the tests need of this build, for other machines to run them beside the cache: FILE.tar.zst
archive FILE: _kernel modules image
    @cargo nextest archive --locked --workspace --archive-file "$1" >&2

# A part of the tests of an archive, in a checkout at the same path: 1/3 FILE.tar.zst
[no-exit-message]
shard PART FILE:
    @exec "{{ just_executable() }}" --justfile "{{ justfile() }}" _nextest --archive-file "$2" --extract-to . --extract-overwrite --workspace-remap . --partition "hash:$1"

[no-exit-message]
_nextest *ARGS:
    #!/bin/sh
    # Tests run in a process each and share clusters, which nobody but the
    # last one out can take down; and one that was killed leaves its own.
    down() {
        [ -z "${RAPIDSWAP_KEEP:-}" ] || return 0
        clusters=${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/rapidswap}
        for dir in "${clusters:-/tmp/rapidswap-$(id -u)}"/test-*/; do
            "{{ cli }}" down --name "$(basename "$dir")" >/dev/null 2>&1
        done
    }
    trap down EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    cargo nextest run "$@"

# Keys of the cache for what takes long, a line each, NAME=KEY: [--variant release|debug|host]
cache-keys *ARGS: build
    @echo "kernel=$("{{ kernel }}" hash "$@")"
    @echo "modules=$("{{ kernel }}" hash "$@" --module module tests/*-ko | paste -sd -)"
    @echo "image=$("{{ release }}/rapidswap-images" key)-$("{{ release }}/rapidswap-images" key --posed-host)"

# Fail if the sources are not as rustfmt writes them
[no-exit-message]
fmt-check:
    @cargo fmt --all --check

# Write the sources as rustfmt does
[no-exit-message]
fmt:
    @cargo fmt --all

# clippy and shellcheck, warnings denied
[no-exit-message]
lint:
    @cargo clippy --locked --workspace --all-targets -- --deny warnings
    @shellcheck just .ci/run tests/pose/pose.sh vm/src/supervisor/host/host.sh

# Check everything with the oldest Rust that it is for: the kernel's, which any host has
[no-exit-message]
oldest-rust: build
    #!/bin/sh
    set -eu
    oldest=$("{{ kernel }}" rustc)
    # Where there is no other, all else is built with it.
    if [ "$("$oldest" --version --verbose)" != "$(rustc --version --verbose)" ]; then
        RUSTC=$oldest cargo check --locked --workspace --all-targets --target-dir "{{ target }}/oldest-rust"
    fi

# checkpatch.pl --strict over the kernel series
[no-exit-message]
checkpatch: build
    @"{{ kernel }}" checkpatch >&2

# As part of other jobs, whose stdout has other results.
_kernel *ARGS: build
    @"{{ kernel }}" build "$@" >&2

# An older program is as good here: what it talks to was started by itself.
_cli:
    @test -x "{{ cli }}" || "{{ just_executable() }}" --justfile "{{ justfile() }}" build
