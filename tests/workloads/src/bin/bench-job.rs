//! Runs one job on memory of a given size and checks what came of it.
//!
//! The result is one JSON line on stdout. Exit status: 0 all was right, 1
//! something was wrong, 2 the job could not be done.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use rapidswap_workloads::jobs::requests::Requests;
use rapidswap_workloads::jobs::store::Program;
use rapidswap_workloads::jobs::touch::Touch;
use rapidswap_workloads::jobs::{Done, compress, kmeans, pagerank, sort};
use rapidswap_workloads::percentiles::Percentiles;
use serde_json::json;

#[derive(Parser)]
#[command(version, about = "Works on memory that may be paged out, and times it")]
struct Cli {
    #[command(subcommand)]
    job: Job,
    /// Memory that the job uses.
    #[arg(long, global = true, default_value_t = 24)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    mib: u32,
}

#[derive(Subcommand)]
enum Job {
    /// Fill pages, then check and write each again.
    Touch {
        /// In a shuffled order instead of one after the other.
        #[arg(long)]
        random: bool,
        /// How often.
        #[arg(long, default_value_t = 1)]
        passes: u32,
        /// Threads, each with a part of the memory.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
        threads: u32,
    },
    /// Sort numbers in place.
    Sort,
    /// Rank the nodes of a generated graph.
    Pagerank,
    /// Find the clusters of generated points.
    Kmeans,
    /// Compress and decompress generated text.
    Compress,
    /// Ask a redis server for values, at a fixed rate.
    Redis(Rate),
    /// Ask a memcached server for values, at a fixed rate.
    Memcached(Rate),
}

#[derive(Args, Clone, Copy)]
struct Rate {
    /// Requests in a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Requests in all.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    requests: u32,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let started = Instant::now();
    match run(&cli) {
        Ok((Done { checksum, wrong }, latency)) => {
            let line = json!({
                "seconds": started.elapsed().as_secs_f64(),
                "checksum": format!("{checksum:016x}"),
                "wrong": wrong,
                "latency_ns": latency,
            });
            println!("{line}");
            ExitCode::from(u8::from(wrong != 0))
        }
        Err(error) => {
            eprintln!("bench-job: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<(Done, Option<Percentiles>)> {
    let requests = |program, rate: Rate| Requests {
        program,
        rate: rate.rate,
        count: rate.requests,
    };
    let done = match cli.job {
        Job::Touch {
            random,
            passes,
            threads,
        } => Touch {
            random,
            passes,
            threads,
        }
        .run(cli.mib)?,
        Job::Sort => sort::run(cli.mib),
        Job::Pagerank => pagerank::run(cli.mib),
        Job::Kmeans => kmeans::run(cli.mib),
        Job::Compress => compress::run(cli.mib),
        Job::Redis(rate) => return requests(Program::Redis, rate).run(cli.mib),
        Job::Memcached(rate) => return requests(Program::Memcached, rate).run(cli.mib),
    };
    Ok((done, None))
}
