//! Fills a redis server with values which depend on their keys alone, or reads
//! all of them back and compares every byte.
//!
//! The result is one JSON line on stdout. Exit status: 0 all right, 1 corrupt
//! or missing values, 2 the check itself could not be made.

use std::io::{BufReader, BufWriter, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use rapidswap_workloads::pattern::{PAGE, Pattern, Tally, WORDS};
use rapidswap_workloads::resp::{Reply, read_reply, write_command};
use rapidswap_workloads::shuffle::shuffled;
use serde_json::json;

/// Commands sent before their replies are read: few enough that both
/// directions fit the sockets' buffers.
const PIPELINE: usize = 16;

#[derive(Parser)]
#[command(version, about = "Fills a redis server, or checks every value of it")]
struct Cli {
    /// What to do.
    #[arg(value_enum)]
    action: Action,
    /// Where the server listens.
    #[arg(long, default_value = "127.0.0.1:6379")]
    address: SocketAddr,
    /// How much to hold, in values of 4096 bytes.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    mib: u32,
    /// Names the contents.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Action {
    /// SET every key.
    Fill,
    /// GET every key, in a shuffled order, and compare.
    Verify,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("redis-check: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let started = Instant::now();
    let stream = TcpStream::connect(cli.address)
        .with_context(|| format!("connect to redis at {}", cli.address))?;
    let mut sink = BufWriter::new(stream.try_clone()?);
    let mut source = BufReader::new(stream);
    let pattern = Pattern::new(cli.seed);
    let count = cli.mib * ((1 << 20) / PAGE as u32);
    let keys = match cli.action {
        Action::Fill => (0..count).collect(),
        Action::Verify => shuffled(count, cli.seed),
    };
    let mut tally = Tally::default();
    let mut missing = 0u64;
    for batch in keys.chunks(PIPELINE) {
        for &key in batch {
            let name = format!("page:{key}");
            match cli.action {
                Action::Fill => {
                    let value = value(pattern, key);
                    write_command(&mut sink, &[b"SET", name.as_bytes(), &value])?;
                }
                Action::Verify => write_command(&mut sink, &[b"GET", name.as_bytes()])?,
            }
        }
        sink.flush()?;
        for &key in batch {
            match (cli.action, read_reply(&mut source)?) {
                (Action::Fill, Reply::Status(status)) if status == "OK" => {}
                (Action::Verify, Reply::Bulk(None)) => missing += 1,
                (Action::Verify, Reply::Bulk(Some(bytes))) => {
                    if !compare(pattern, key, &bytes, &mut tally) {
                        missing += 1;
                    }
                }
                (_, reply) => bail!("redis answered {reply:?} for key page:{key}"),
            }
        }
    }
    println!(
        "{}",
        json!({
            "values": count,
            "missing": missing,
            "bytes_verified": tally.bytes_verified,
            "corrupt_bytes": tally.corrupt_bytes,
            "corrupt": tally.corrupt,
            "seconds": started.elapsed().as_secs_f64(),
        })
    );
    let wrong = missing != 0 || tally.corrupt_bytes != 0;
    Ok(ExitCode::from(u8::from(wrong)))
}

fn value(pattern: Pattern, key: u32) -> Vec<u8> {
    let mut words = [0; WORDS];
    pattern.fill(u64::from(key), &mut words);
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Whether a value has the right length; its bytes are counted in `tally`.
fn compare(pattern: Pattern, key: u32, bytes: &[u8], tally: &mut Tally) -> bool {
    if bytes.len() != PAGE {
        return false;
    }
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut array = [0; 8];
        array.copy_from_slice(bytes);
        *word = u64::from_ne_bytes(array);
    }
    pattern.verify(u64::from(key), &words, tally);
    true
}
