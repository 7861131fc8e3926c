//! How a cluster can be asked to be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use rapidswap_progress::{Event, Reporter, Stamped};
use rapidswap_tests::rapidswap::{self, root};
use rapidswap_tests::scene::{Scene, on_cluster, options};
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
    rapidswap::run(&[&UP, arguments].concat())
}

/// `up` that is to fail, and the one directory of what was collected then.
fn failing_up(arguments: &[&str], set: &[(&str, &str)], place: &Path) -> Result<(Output, PathBuf)> {
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
    for item in ["supervisor.log", "client/console.log", "server/console.log"] {
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
    let step = |arguments: &[&str], script: &str| {
        let run = [
            "bisect-run",
            "--name",
            NAME,
            "--memory",
            "256M",
            "--no-link",
        ];
        let command = ["--timeout", "20s", "--", "sh", "-c", script];
        let output = rapidswap::run(&[&run, arguments, &command].concat())?;
        ensure!(Cluster::attach(NAME).is_err(), "the cluster is left");
        Ok((output.status.code(), stderr(&output)))
    };
    let (code, said) = step(&[], "echo on the client; test $(hostname) = client")?;
    ensure!(
        code == Some(0) && said.contains("this commit is good"),
        "{said}"
    );
    let (code, said) = step(&[], "exit 7")?;
    ensure!(
        code == Some(1) && said.contains("this commit is bad"),
        "{said}"
    );
    // The command is content, and the kernel is not.
    let warn = "insmod /rapidswap/modules/lkdtm.ko && echo WARNING >/sys/kernel/debug/provoke-crash/DIRECT";
    let (code, said) = step(&[], warn)?;
    ensure!(
        code == Some(1) && said.contains("warning on client"),
        "{said}"
    );
    let dir = tempfile::tempdir()?;
    let no_tree = dir.path().to_str().context("text")?;
    let (code, said) = step(&["--kernel", no_tree], "true")?;
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
    let run = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["sh", "-c", script]);
        command.arg(rapidswap::program()).arg(NAME);
        command.env("RAPIDSWAP_OFFLINE", "1");
        command.output().context("run it")
    };
    let apart = ["unshare", "--map-root-user", "--net"];
    let can_part = Command::new(apart[0])
        .args(&apart[1..])
        .arg("true")
        .output();
    let output = match can_part {
        Ok(output) if output.status.success() => run(&apart)?,
        // A host that forbids it still shows that nothing is asked for.
        _ => run(&["env"])?,
    };
    ensure!(output.status.success(), "{output:?}");
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
