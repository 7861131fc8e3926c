//! The comparison as one page that needs nothing else, and its plots as files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rapidswap_tests::spread::Spread;
use rapidswap_tests::table::Table;

use super::charts::charts;
use super::outcome::Outcome;
use super::results::Summary;

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}\
    table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:left;\
    border-bottom:1px solid #ddd}td.n{text-align:right;font-variant-numeric:tabular-nums}\
    svg{max-width:100%;height:auto}.no{color:#b30000}";

const ABOUT: &str = "Cost is the completion time less that of the same job in the same round \
    without a limit. Reclaim is what the job's threads spent in it, by the kernel's trace \
    events, faults the rest of the cost: waiting for pages that come back, or for workers of the \
    kernel. What these reclaim beside the job is no part of the cost. Processor time is what the \
    host counts for the threads that run both nodes' CPUs, likewise less that of the job without a limit, for each page that left the client's \
    memory or came back. Every job checks what it did, and comes to the same result everywhere. \
    Bars are medians, lines go from the least to the greatest of the rounds.";

/// Writes `report.html` and the plots into a folder, and returns its path.
pub fn write(folder: &Path, outcome: &Outcome) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let mut plots = Vec::new();
    for bars in charts(&outcome.summaries) {
        let svg = bars.svg()?;
        put(&folder.join(format!("{}.svg", bars.name)), &svg)?;
        plots.push(svg);
    }
    let path = folder.join("report.html");
    put(&path, &page(outcome, &plots))?;
    Ok(path)
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn page(outcome: &Outcome, plots: &[String]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>Rapidswap: swap compared</title><style>{STYLE}</style></head><body>\n\
         <h1>Swap to remote memory, and what people would use instead</h1>\n<p>{ABOUT}</p>\n"
    );
    html += &ratios(outcome);
    for svg in plots {
        html += svg;
        html += "\n";
    }
    html += &numbers(&outcome.summaries);
    html += &requests(&outcome.summaries);
    html += &link(outcome);
    html += &conditions(outcome);
    html += "</body></html>\n";
    html
}

fn ratios(outcome: &Outcome) -> String {
    let rows = outcome.verdicts().map(|verdict| {
        let (class, missed) = match verdict.missed {
            true => (" class=no", ", not reached"),
            false => ("", ""),
        };
        let found = escape(&verdict.found);
        let aim = verdict.aim.unwrap_or_default();
        format!(
            "<tr><td>{}</td><td>{}</td><td{class}>{found}{missed}</td><td>{aim}</td></tr>\n",
            verdict.name,
            escape(verdict.about),
        )
    });
    let head = "<h2>Ratios</h2>\n<table><tr><th>ratio</th><th>of</th><th>found</th>\
        <th>aim</th></tr>\n";
    format!("{head}{}</table>\n", rows.collect::<String>())
}

fn numbers(summaries: &[Summary]) -> String {
    let middle = |spread: Option<Spread>| {
        spread.map_or_else(String::new, |spread| format!("{:.2}", spread.median))
    };
    let rows = summaries.iter().map(|one| {
        let vcpu = one
            .vcpu_us_per_page
            .map_or_else(String::new, |vcpu| format!("{vcpu:.0}"));
        format!(
            "<tr><td>{}</td><td>{} %</td><td>{}</td><td class=n>{:.2}</td><td class=n>{:.2}</td>\
             <td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{vcpu}</td><td class=n>{:.0}</td><td class=n>{:.0}</td></tr>\n",
            one.workload.title(),
            one.local_percent,
            one.backend.backend().title(),
            one.seconds,
            one.cost_seconds,
            middle(one.reclaim_seconds),
            middle(one.fault_seconds),
            middle(one.worker_reclaim_seconds),
            one.pages_out.median,
            one.pages_in.median,
        )
    });
    let head = "<h2>Numbers</h2>\n<table><tr><th>job</th><th>local</th><th>swap</th>\
        <th>time, s</th><th>cost, s</th><th>reclaim, s</th><th>faults, s</th><th>reclaim by workers, s</th><th>CPU a page, us</th><th>pages out</th><th>in</th></tr>\n";
    format!("{head}{}</table>\n", rows.collect::<String>())
}

/// Where requests were made at a fixed rate, how long they took.
fn requests(summaries: &[Summary]) -> String {
    let us =
        |spread: Option<Spread>| spread.map_or_else(String::new, |spread| format!("{spread:.0}"));
    let of_requests = summaries.iter().filter(|one| one.latency_p50_us.is_some());
    let rows = of_requests.map(|one| {
        format!(
            "<tr><td>{}</td><td>{} %</td><td>{}</td><td class=n>{}</td><td class=n>{}</td>\
             <td class=n>{}</td></tr>\n",
            one.workload.title(),
            one.local_percent,
            one.backend.backend().title(),
            us(one.latency_p50_us),
            us(one.latency_p99_us),
            us(one.local_latency_p99_us),
        )
    });
    let rows = rows.collect::<String>();
    if rows.is_empty() {
        return rows;
    }
    format!(
        "<h2>Requests at a fixed rate</h2>\n<table><tr><th>server</th><th>local</th>\
         <th>swap</th><th>p50, us</th><th>p99, us</th><th>p99 without a limit</th></tr>\n\
         {rows}</table>\n"
    )
}

fn link(outcome: &Outcome) -> String {
    let mut table = Table::default();
    outcome.link_rows(&mut table);
    let rows = table.rows().iter();
    let rows =
        rows.map(|(name, value)| format!("<tr><td>{name}</td><td>{}</td></tr>\n", escape(value)));
    format!(
        "<h2>Faults, page-outs and page-ins beside the link</h2>\n<table>{}</table>\n",
        rows.collect::<String>()
    )
}

fn conditions(outcome: &Outcome) -> String {
    let rows = outcome
        .conditions()
        .into_iter()
        .map(|(name, value)| format!("<tr><td>{name}</td><td>{}</td></tr>\n", escape(&value)));
    format!(
        "<h2>Measured on</h2>\n<table>{}</table>\n",
        rows.collect::<String>()
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::backends::Row;
    use super::super::ratios::{Found, Ratios};
    use super::super::results::{summaries, tests::run};
    use super::super::run::Latency;
    use super::super::workloads::Workload;
    use super::*;

    fn outcome() -> Outcome {
        let runs = vec![
            run(Row::Rapidswap, Workload::Random, 0, 2.0),
            run(Row::Nvme, Workload::Random, 0, 4.0),
        ];
        let summaries = summaries(&runs);
        Outcome {
            accel: "tcg".into(),
            accel_reason: "no KVM: <none>".into(),
            kernel_release: "6.12".into(),
            cpus: 1,
            page_cluster: 3,
            size_mib: 24,
            rate: 100,
            rounds: 1,
            load: vec![0.5, 1.25],
            ratios: Ratios::of(Found {
                summaries: &summaries,
                ..Found::default()
            }),
            summaries,
            link: None,
            one_by_one: None,
            kernel_memory: None,
            runs,
        }
    }

    #[test]
    fn the_report_is_one_page_and_each_plot_a_file() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let path = write(folder.path(), &outcome()).expect("written");
        let html = fs::read_to_string(path).expect("page");
        assert_eq!(html.matches("<svg").count(), 3);
        for word in [
            "app_vs_nvme_random",
            "0.50",
            "no KVM: &lt;none&gt;",
            "NVMe/RDMA",
            "<td class=n>0.50</td><td class=n>1.50</td><td class=n>4.00</td>",
        ] {
            assert!(html.contains(word), "{word}");
        }
        assert!(!html.contains("fixed rate</h2>"), "nothing has one");
        // Nothing is loaded from elsewhere.
        for outside in ["<script", "<link", "src=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
        for plot in ["cost-50.svg", "reclaim-50.svg", "cpu-50.svg"] {
            let svg = fs::read_to_string(folder.path().join(plot)).expect("plot");
            assert!(html.contains(&svg), "{plot}");
        }
    }

    #[test]
    fn requests_have_a_plot_and_a_table_of_their_own() {
        let mut outcome = outcome();
        let mut run = run(Row::Nvme, Workload::Redis, 0, 0.1);
        let latency = |p99_us| {
            Some(Latency {
                p50_us: 5.0,
                p99_us,
            })
        };
        (run.latency, run.local_latency) = (latency(4321.0), latency(77.0));
        outcome.runs.push(run);
        outcome.summaries = summaries(&outcome.runs);
        let folder = tempfile::tempdir().expect("temporary directory");
        let path = write(folder.path(), &outcome).expect("written");
        let html = fs::read_to_string(path).expect("page");
        for word in ["fixed rate</h2>", "4321 (4321 to 4321)", "77 (77 to 77)"] {
            assert!(html.contains(word), "{word}");
        }
        let plot = |name: &str| fs::read_to_string(folder.path().join(name)).expect("plot");
        assert!(plot("latency-50.svg").contains("redis"));
        assert!(!plot("cost-50.svg").contains("redis"));
    }

    #[test]
    fn json_has_every_ratio_or_the_reason() {
        let json = serde_json::to_value(outcome()).expect("json");
        assert_eq!(json["ratios"]["app_vs_nvme_random"], 0.5);
        assert!(json["ratios"]["app_vs_nbd_geomean"].is_null());
        assert!(json["why"]["app_vs_nbd_geomean"].is_string());
        assert_eq!(json["runs"][0]["backend"], "rapidswap");
        assert_eq!(json["runs"][0]["worker_reclaim_seconds"], 4.0);
    }
}
