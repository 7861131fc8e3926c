//! What the host's own apt says about where Debian is and how to get there.
//! No mirror is named here: the host's is asked for when the host is Debian,
//! and mmdebstrap's default is taken otherwise.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::{Error, Result};

/// Settings of the host's apt that a bootstrap needs as well: how to reach
/// the network and which dates to believe. Everything else is the host's own.
const CARRIED: &[&str] = &[
    "Acquire::http",
    "Acquire::https",
    "Acquire::ftp",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::Retries",
    "Acquire::ForceIPv4",
    "Acquire::ForceIPv6",
    "Acquire::Queue-Mode",
];

/// One-line apt sources of `suite`, or none: mmdebstrap's default is meant.
/// `RAPIDSWAP_DEBIAN_MIRROR` is stronger than both.
pub(crate) fn sources(suite: &str) -> Result<Vec<String>> {
    if let Ok(mirror) = env::var("RAPIDSWAP_DEBIAN_MIRROR") {
        if !mirror.is_empty() {
            return Ok(vec![format!("deb {mirror} {suite} main")]);
        }
    }
    let Some(codename) =
        debian_codename(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    else {
        return Ok(Vec::new());
    };
    let targets = output(
        "apt-get",
        &[
            "indextargets",
            // Without it nothing is listed before the first `apt-get update`.
            "--no-release-info",
            "--format",
            "$(CREATED_BY) $(COMPONENT) $(RELEASE) $(SITE)",
        ],
    )?;
    Ok(sources_from(&targets, &codename, suite))
}

fn debian_codename(os_release: &str) -> Option<String> {
    let field = |key: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    field("VERSION_CODENAME").filter(|_| field("ID").as_deref() == Some("debian"))
}

/// The sites which have `codename` and its updates, asked for `suite`.
fn sources_from(targets: &str, codename: &str, suite: &str) -> Vec<String> {
    let mut sources = Vec::new();
    for line in targets.lines() {
        let mut words = line.split_whitespace();
        let (Some("Packages"), Some("main"), Some(release), Some(site)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Some(kind @ ("" | "-updates" | "-security")) = release.strip_prefix(codename) else {
            continue;
        };
        let source = format!("deb {site} {suite}{kind} main");
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    // Updates alone make no system.
    let base = format!(" {suite} main");
    if !sources.iter().any(|source| source.ends_with(&base)) {
        sources.clear();
    }
    sources
}

/// Settings of the host's apt to carry over, as configuration lines.
pub(crate) fn settings() -> Result<Vec<String>> {
    Ok(settings_from(&output("apt-config", &["dump"])?))
}

fn settings_from(dump: &str) -> Vec<String> {
    dump.lines()
        .filter(|line| {
            let key = line.split([' ', '\t']).next().unwrap_or_default();
            let carried = CARRIED.iter().any(|wanted| {
                key.get(..wanted.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(wanted))
                    && matches!(key.as_bytes().get(wanted.len()), None | Some(b':'))
            });
            // Empty values only open a scope in a dump.
            carried && !line.ends_with(" \"\";")
        })
        .map(str::to_owned)
        .collect()
}

/// The keys of Debian's archive, which a host that is not Debian does not
/// trust by itself.
pub(crate) fn keyring() -> Result<PathBuf> {
    ["gpg", "pgp"]
        .map(|kind| PathBuf::from(format!("/usr/share/keyrings/debian-archive-keyring.{kind}")))
        .into_iter()
        .find(|path| path.exists())
        .ok_or(Error::Keyring)
}

fn output(program: &'static str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .map_err(Error::start(program, "apt"))?;
    if !output.status.success() {
        return Err(Error::Program {
            program,
            reason: last_line(&output.stderr),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last line with anything in it.
pub(crate) fn last_line(output: &[u8]) -> String {
    String::from_utf8_lossy(output)
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing")
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_is_taken_for_debian() {
        let debian = "ID=debian\nVERSION_CODENAME=bookworm\n";
        assert_eq!(debian_codename(debian).as_deref(), Some("bookworm"));
        let ubuntu = "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=\"noble\"\n";
        assert_eq!(debian_codename(ubuntu), None);
    }

    #[test]
    fn the_hosts_sites_are_asked_for_the_guests_release() {
        let targets = "\
            Packages main bookworm http://a.example/debian\n\
            Translations main bookworm http://a.example/debian\n\
            Packages contrib bookworm http://a.example/debian\n\
            Packages main bookworm-updates http://a.example/debian\n\
            Packages main bookworm-backports http://a.example/debian\n\
            Packages main bookworm-security mirror+file:/etc/apt/mirrors/security.list\n\
            Packages main nodistro https://other.example/node\n";
        assert_eq!(
            sources_from(targets, "bookworm", "trixie"),
            [
                "deb http://a.example/debian trixie main",
                "deb http://a.example/debian trixie-updates main",
                "deb mirror+file:/etc/apt/mirrors/security.list trixie-security main",
            ]
        );
    }

    #[test]
    fn a_host_without_its_own_release_leaves_the_choice_to_mmdebstrap() {
        let targets = "Packages main bookworm-updates http://a.example/debian\n";
        assert!(sources_from(targets, "bookworm", "trixie").is_empty());
    }

    #[test]
    fn settings_of_the_network_and_of_dates_are_carried_over() {
        let dump = "\
            Acquire \"\";\n\
            Acquire::Check-Valid-Until \"false\";\n\
            acquire::HTTP::Proxy \"http://proxy.example:3128\";\n\
            Acquire::http \"\";\n\
            Acquire::httpfoo \"x\";\n\
            Acquire::Languages:: \"none\";\n\
            DPkg::Post-Invoke:: \"rm -f /var/cache/apt/archives/*.deb\";\n";
        assert_eq!(
            settings_from(dump),
            [
                "Acquire::Check-Valid-Until \"false\";",
                "acquire::HTTP::Proxy \"http://proxy.example:3128\";",
            ]
        );
    }
}
