//! How a cluster can be asked to be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use rapidswap_progress::{Event, Reporter, Stamped};
use rapidswap_tests::rapidswap::{self, root};
use rapidswap_tests::scene::{Scene, on_cluster, options, vacate};
use rapidswap_tests::vmcore;
use rapidswap_vm::{Cluster, ModuleFolder, UpOptions};

const NAME: &str = "test-up";

const UP: [&str; 7] = [
    "up",
    "--name",
    NAME,
    "--memory",
    "256M",
    "--no-swap",
    "--cold",
];

/// `up` with these arguments, small and without swap.
fn up(arguments: &[&str]) -> Result<Output> {
    vacate(NAME)?;
    rapidswap::run(&[&UP, arguments].concat())
}

/// `up` that is to fail, and the one directory of what was collected then.
fn failing_up(arguments: &[&str], set: &[(&str, &str)], place: &Path) -> Result<(Output, PathBuf)> {
    vacate(NAME)?;
    let output = rapidswap::command(&[&UP, arguments].concat())
        .env("RAPIDSWAP_ARTIFACTS", place)
        .envs(set.iter().copied())
        .output()?;
    let kept: Vec<_> = fs::read_dir(place)
        .with_context(|| format!("nothing was collected: {output:?}"))?
        .collect::<Result<_, _>>()?;
    ensure!(kept.len() == 1, "{kept:?}");
    let dir = kept[0].path();
    let said = format!("all that was kept is in {}", dir.display());
    ensure!(stderr(&output).contains(&said), "{output:?}");
    for item in [
        "supervisor.log",
        "events.jsonl",
        "client/console.log",
        "server/console.log",
    ] {
        ensure!(dir.join(item).is_file(), "no {item}");
    }
    Ok((output, dir))
}

fn down() -> Result<()> {
    Ok(Cluster::attach(NAME)?.down()?)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The kernel of the tests' cluster, without anything beside it.
fn lone_image(dir: &Path) -> Result<String> {
    let image = dir.join("vmlinux");
    on_cluster(|scene| {
        fs::copy(scene.cluster.status()?.vmlinux, &image)?;
        Ok(())
    })?;
    Ok(image.to_str().context("text")?.to_owned())
}

/// The steps that ended, by name.
fn steps(text: &str) -> Result<Vec<String>> {
    let mut steps = Vec::new();
    for line in text.lines() {
        let stamped: Stamped = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if let Event::StepEnded { step, ok: true, .. } = stamped.event {
            steps.push(step);
        }
    }
    Ok(steps)
}

/// The folder of a module of this checkout. It is no test's own, so that
/// machines which only run tests find it built.
fn module(name: &str) -> PathBuf {
    root().join(format!("tests/{name}-ko"))
}

#[test]
fn an_image_boots_as_it_is_and_programs_read_how() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let image = lone_image(dir.path())?;
    let output = up(&["--kernel", &image, "--no-link", "--events", "json"])?;
    ensure!(output.status.success(), "{output:?}");
    // What a program reads is what the log has.
    let said = steps(&stderr(&output))?;
    ensure!(said.last().is_some_and(|step| step == "boot"), "{said:?}");
    let last = stderr(&output);
    let last: Stamped = serde_json::from_str(last.lines().last().context("a line")?)?;
    ensure!(
        last.event
            == Event::Ended {
                code: 0,
                outcome: Some("passed".into()),
                node: None,
                error: None
            },
        "{last:?}"
    );
    let log = fs::read_to_string(Cluster::attach(NAME)?.run_dir().join("events.jsonl"))?;
    let status = rapidswap::run(&["--name", NAME, "status", "--json"])?;
    down()?;
    ensure!(steps(&log)? == said, "{log}");
    let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    ensure!(status["kernel"]["image"] == image, "{status}");
    Ok(())
}

#[test]
fn a_failure_leaves_nothing_unless_it_is_to_be_kept() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = module("unwilling");
    let folder = ["--no-link", "--module", folder.to_str().context("text")?];
    let place = dir.path().join("failures");
    let (output, kept) = failing_up(&folder, &[], &place)?;
    ensure!(output.status.code() == Some(94), "{output:?}");
    ensure!(
        stderr(&output).contains("loading unwilling.ko on node `client` failed"),
        "{output:?}"
    );
    ensure!(Cluster::attach(NAME).is_err(), "the cluster is left");
    let dmesg = fs::read_to_string(kept.join("client/dmesg.txt"))?;
    ensure!(dmesg.contains("greetings from unwilling"), "{dmesg}");
    fs::remove_dir_all(&place)?;

    let (output, _) = failing_up(&[&folder[..], &["--keep"]].concat(), &[], &place)?;
    ensure!(output.status.code() == Some(94), "{output:?}");
    let shell = format!("`./just shell client --name {NAME}`");
    ensure!(stderr(&output).contains(&shell), "{output:?}");
    let alive = rapidswap::run(&["--name", NAME, "exec", "client", "--", "true"])?;
    down()?;
    ensure!(alive.status.success(), "{alive:?}");
    Ok(())
}

/// What a program that writes JSON said of kernels, and its last event.
fn complaints(output: &Output) -> Result<(Vec<(String, String)>, Event)> {
    let mut faults = Vec::new();
    let mut last = None;
    for line in stderr(output).lines() {
        let stamped: Stamped = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if let Event::KernelFault { node, kind, .. } = &stamped.event {
            faults.push((node.clone(), kind.clone()));
        }
        last = Some(stamped.event);
    }
    Ok((faults, last.context("an event")?))
}

/// `up` with a module in whose initialisation the client's kernel complains.
fn complaining_up(folder: &Path, place: &Path, kind: &str, code: i32) -> Result<(Event, PathBuf)> {
    let folder = folder.to_str().context("text")?;
    let arguments = ["--no-link", "--events", "json", "--module", folder];
    // All of it is dumped.
    let arguments = [&arguments[..], &["--server-mem", "1M"]].concat();
    let (output, kept) = failing_up(&arguments, &[("RAPIDSWAP_DUMP", "1")], place)?;
    ensure!(output.status.code() == Some(code), "{output:?}");
    ensure!(Cluster::attach(NAME).is_err(), "the cluster is left");
    let (faults, last) = complaints(&output)?;
    ensure!(
        faults.contains(&("client".to_owned(), kind.to_owned())),
        "{faults:?}"
    );
    vmcore::check(&kept.join("client/vmcore"))?;
    Ok((last, kept))
}

/// Whether a line of the traces that were kept is of a module, and says where
/// in its source that is.
fn is_traced(kept: &Path, module: &str, source: &str) -> Result<()> {
    let traces = fs::read_to_string(kept.join("traces.txt"))?;
    let (of, at) = (format!(" [{module}]"), format!("{source}:"));
    let mut lines = traces.lines().filter_map(|line| line.split_once(&of));
    ensure!(lines.any(|(_, place)| place.contains(&at)), "{traces}");
    Ok(())
}

#[test]
fn a_kernel_that_complains_while_it_comes_up_is_no_success() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = module("complains");
    let place = dir.path().join("failures");
    let (last, kept) = complaining_up(&folder, &place, "warning", 99)?;
    let Event::Ended {
        code: 99,
        outcome: Some(outcome),
        node: Some(node),
        error: Some(error),
    } = last
    else {
        bail!("{last:?}");
    };
    ensure!((&*outcome, &*node) == ("guest_splat", "client"), "{error}");
    ensure!(error.starts_with("warning on client"), "{error}");
    is_traced(&kept, "complains", "complains.c")?;

    // One that is known is none.
    let known = dir.path().join("known");
    fs::write(&known, "client | warning | complains.c | it is asked for")?;
    let folder = folder.to_str().context("text")?;
    let with_list = |arguments: &[&str]| {
        let mut command = rapidswap::command(arguments);
        command.env("RAPIDSWAP_ALLOWED_FAULTS", &known).output()
    };
    let output = with_list(&[&UP[..], &["--no-link", "--module", folder]].concat())?;
    ensure!(output.status.success(), "{output:?}");
    let status = ["--name", NAME, "status"];
    let (listed, unlisted) = (with_list(&status)?, rapidswap::run(&status)?);
    down()?;
    ensure!(listed.status.success(), "{listed:?}");
    ensure!(unlisted.status.code() == Some(99), "{unlisted:?}");
    Ok(())
}

/// A QEMU whose guests find nothing to start.
const NO_INIT: &str = r#"#!/bin/sh
last=
for word; do
    shift
    [ "$last" != -append ] || word="$word rdinit=/nothing"
    last=$word
    set -- "$@" "$word"
done
exec qemu-system-x86_64 "$@"
"#;

#[test]
fn a_node_that_does_not_boot_is_told_of_by_what_is_collected() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let qemu = dir.path().join("qemu");
    fs::write(&qemu, NO_INIT)?;
    fs::set_permissions(&qemu, PermissionsExt::from_mode(0o755))?;
    let qemu = qemu.to_str().context("text")?;
    let (output, kept) = failing_up(
        &["--accel", "tcg"],
        &[("RAPIDSWAP_QEMU", qemu)],
        &dir.path().join("failures"),
    )?;
    ensure!(output.status.code() == Some(97), "{output:?}");
    ensure!(Cluster::attach(NAME).is_err(), "the cluster is left");
    let log = fs::read_to_string(kept.join("events.jsonl"))?;
    ensure!(log.contains("node_gone"), "{log}");
    let consoles = ["client", "server"].map(|node| kept.join(node).join("console.log"));
    let said = consoles.map(fs::read_to_string);
    ensure!(
        said.iter()
            .flatten()
            .any(|text| text.contains("Unable to mount root fs")),
        "{said:?}"
    );
    Ok(())
}

#[test]
fn a_module_of_ones_own_is_built_and_loaded_where_it_is_wanted() -> Result<()> {
    let folder = module("greeting");
    let wanted = UpOptions {
        memory_mib: 256,
        link: false,
        modules: vec![ModuleFolder {
            node: "server".into(),
            folder: folder.clone(),
        }],
        ..options(NAME)?
    };
    let scene = Scene::of(Cluster::up(&wanted, &Reporter::auto())?)?;
    let console = scene.server.node.console();
    let here = scene.server.run(&["test", "-e", "/sys/module/greeting"]);
    let there = scene.client.run(&["test", "-e", "/sys/module/greeting"]);
    scene.cluster.down()?;
    ensure!(
        console?.contains("greetings from greeting"),
        "it did not greet"
    );
    ensure!(here?.status.success() && !there?.status.success());
    ensure!(
        fs::read_dir(&folder)?.count() == 2,
        "something was built in the folder"
    );
    Ok(())
}

#[test]
fn a_step_of_a_bisection_is_good_bad_or_skipped() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let list = dir.path().join("known");
    let step = |arguments: &[&str], script: &str, known: &str| {
        fs::write(&list, known)?;
        let run = [
            "bisect-run",
            "--name",
            NAME,
            "--memory",
            "256M",
            "--no-link",
        ];
        let command = ["--timeout", "20s", "--", "sh", "-c", script];
        let output = rapidswap::command(&[&run, arguments, &command].concat())
            .env("RAPIDSWAP_ALLOWED_FAULTS", &list)
            .output()?;
        ensure!(Cluster::attach(NAME).is_err(), "the cluster is left");
        Ok((output.status.code(), stderr(&output)))
    };
    // The command is content, and the kernel is not; of that nobody minds the first.
    let warn = "test $(hostname) = client && insmod /rapidswap/modules/lkdtm.ko && \
                echo WARNING >/sys/kernel/debug/provoke-crash/DIRECT";
    let known = "client | warning | lkdtm | it is asked for";
    let (code, said) = step(&[], warn, known)?;
    ensure!(
        code == Some(0) && said.contains("this commit is good"),
        "{said}"
    );
    let (code, said) = step(&[], "exit 7", "")?;
    ensure!(
        code == Some(1) && said.contains("this commit is bad"),
        "{said}"
    );
    let (code, said) = step(&[], warn, "")?;
    ensure!(
        code == Some(1) && said.contains("warning on client"),
        "{said}"
    );
    let no_tree = dir.path().to_str().context("text")?;
    let (code, said) = step(&["--kernel", no_tree], "true", "")?;
    ensure!(
        code == Some(125) && said.contains("is no source tree of Linux"),
        "{said}"
    );
    Ok(())
}

#[test]
fn once_all_is_cached_no_network_is_needed() -> Result<()> {
    // What has to be there is there when a cluster has been up.
    on_cluster(|_| Ok(()))?;
    let script = r#""$0" up --name "$1" --memory 256M --no-swap && "$0" down --name "$1""#;
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "sh", "-c", script])
        .arg(rapidswap::program())
        .arg(NAME)
        .env("RAPIDSWAP_OFFLINE", "1")
        .output()?;
    let said = stderr(&output);
    ensure!(output.status.success(), "without a network: {said}");
    let cache = tempfile::tempdir()?;
    let images = rapidswap::program().with_file_name("rapidswap-images");
    let output = Command::new(images)
        .arg("build")
        .env("RAPIDSWAP_OFFLINE", "1")
        .env("XDG_CACHE_HOME", cache.path())
        .output()?;
    ensure!(
        stderr(&output).contains("RAPIDSWAP_OFFLINE is set"),
        "{output:?}"
    );
    ensure!(!output.status.success() && stderr(&output).lines().count() == 1);
    Ok(())
}
