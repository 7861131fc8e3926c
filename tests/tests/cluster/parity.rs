//! What both ends' devices offer, against what is needed of them.

use anyhow::{Context, Result, ensure};
use rapidswap_tests::rapidswap::run;
use rapidswap_tests::scene::on_cluster;

/// Both ends are asked, and a limit that one of them lowers shows as theirs.
#[test]
fn a_lower_limit_of_one_end_is_that_of_both() -> Result<()> {
    on_cluster(|scene| {
        let as_it_is = scene.cluster.parity(&[])?;
        ensure!(as_it_is.ok, "{as_it_is}");
        let nodes: Vec<_> = as_it_is.ends.iter().map(|end| end.node.as_str()).collect();
        ensure!(nodes[..2] == ["client", "server"], "{nodes:?}");
        let name = "max_qp_rd_atom";
        let of = |parity: &rapidswap_vm::Parity| {
            let mut limits = parity.limits.iter();
            let limit = limits.find(|limit| limit.attribute == name).cloned();
            limit.with_context(|| format!("no {name}"))
        };
        let before = of(&as_it_is)?;
        // Still enough, and too little.
        for (value, ok) in [(before.needed, true), (before.needed - 1, false)] {
            let cap = format!("server:{name}={value}").parse()?;
            let lowered = scene.cluster.parity(&[cap])?;
            let now = of(&lowered)?;
            ensure!(
                now.offered[0] == before.offered[0],
                "the client's changed: {now:?}"
            );
            ensure!(now.offered[1] == value && now.common == value, "{now:?}");
            ensure!(now.ok == ok && lowered.ok == ok, "{lowered}");
        }
        let cluster = scene.cluster.name();
        let low = format!("client:{name}=1");
        let output = run(&["parity", "--name", cluster, "--cap", &low])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
        let marked: Vec<&str> = said
            .lines()
            .filter(|line| line.ends_with("TOO LOW"))
            .collect();
        ensure!(marked.len() == 1 && marked[0].starts_with(name), "{said}");
        let unknown = run(&["parity", "--name", cluster, "--cap", "client:max_hops=1"])?;
        let said = String::from_utf8_lossy(&unknown.stderr);
        ensure!(
            said.contains("no attribute max_hops: there are max_qp_rd_atom"),
            "{said}"
        );
        Ok(())
    })
}
