//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand};

/// What Commonwatt adds to a call, beside a bare proxy in the same run, against a simulated provider.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// A minute instead of four: enough to see that a change did not break it.
    #[arg(long, conflicts_with = "full")]
    pub(crate) quick: bool,
    /// A quarter of an hour: every cell with thousands of requests, the largest too.
    #[arg(long)]
    pub(crate) full: bool,
    /// Only cells whose name contains this, such as `stream-64k-same` or `across`; may be given several times.
    #[arg(long = "cell", value_name = "NAME")]
    pub(crate) cells: Vec<String>,
    /// Only these paths, of `direct`, `floor`, `stateless` (Commonwatt with its bus off) and `commonwatt`.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) paths: Vec<String>,
    /// Another gateway that leads to the same provider, which must then have a fixed address.
    #[arg(long = "other", value_name = "NAME=URL[,pid=N][,model=M][,key=K]", requires = "upstream_listen")]
    pub(crate) others: Vec<Other>,
    /// Where the simulated provider listens; by default on a free port.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) upstream_listen: Option<SocketAddr>,
    /// Milliseconds between the events of a stream; by default none.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub(crate) gap: u64,
    /// Each gateway alone on core 0, the load and the provider on core 1.
    #[arg(long)]
    pub(crate) pin: bool,
    /// Measure nothing: for so long, load every chosen path with every chosen cell, and name its process, for a profiler
    /// to look at.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) profile: Option<u64>,
    /// The daemon's binary; by default `commonwatt` beside this program.
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    /// Where results are kept; by default the folder `bench` in cargo's target folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) helper: Option<Helper>,
}

/// What a run starts in processes of their own.
#[derive(Debug, Subcommand)]
pub(crate) enum Helper {
    /// The simulated provider.
    #[command(hide = true)]
    Upstream {
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
        /// Milliseconds between the events of a stream.
        #[arg(long)]
        gap: u64,
    },
    /// The bare reverse proxy.
    #[command(hide = true)]
    Proxy {
        /// The provider.
        #[arg(long)]
        to: SocketAddr,
    },
}

/// Another gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Other {
    pub(crate) name: String,
    /// `host:port`.
    pub(crate) host: String,
    /// What stands before `/v1` in its paths.
    pub(crate) prefix: String,
    /// Its process, so that its CPU time and memory can be read.
    pub(crate) process: Option<u32>,
    /// The model to ask for.
    pub(crate) model: String,
    /// The key that it wants.
    pub(crate) key: String,
}

impl FromStr for Other {
    type Err = String;

    fn from_str(words: &str) -> Result<Self, String> {
        let form = || format!("`{words}` is not understood: write NAME=http://HOST:PORT, then ,pid=N ,model=M ,key=K");
        let mut words = words.split(',');
        let (name, url) = words.next().and_then(|first| first.split_once('=')).ok_or_else(form)?;
        let rest = url.strip_prefix("http://").ok_or_else(form)?.trim_end_matches('/');
        let rest = rest.strip_suffix("/v1").unwrap_or(rest);
        let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
        let mut other = Self {
            name: name.to_owned(),
            host: host.to_owned(),
            prefix: path.map(|path| format!("/{path}")).unwrap_or_default(),
            process: None,
            model: "auto".to_owned(),
            key: "none".to_owned(),
        };
        for word in words {
            match word.split_once('=').ok_or_else(form)? {
                ("pid", pid) => other.process = Some(pid.parse().map_err(|_| form())?),
                ("model", model) => other.model = model.to_owned(),
                ("key", key) => other.key = key.to_owned(),
                _ => return Err(form()),
            }
        }
        Ok(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_gateway_is_described_in_one_word() {
        let other: Other = "busbar=http://127.0.0.1:8080/openai/v1/,pid=42,model=gpt-x".parse().unwrap();
        assert_eq!((other.host.as_str(), other.prefix.as_str()), ("127.0.0.1:8080", "/openai"));
        assert_eq!((other.process, other.model.as_str()), (Some(42), "gpt-x"));
        let plain: Other = "x=http://localhost:1".parse().unwrap();
        assert_eq!((plain.name.as_str(), plain.prefix.as_str(), plain.model.as_str()), ("x", "", "auto"));
        for wrong in ["x", "x=localhost:1", "x=http://h:1,pid=z", "x=http://h:1,colour=red"] {
            assert!(wrong.parse::<Other>().unwrap_err().contains("write NAME="), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
        let run = Arguments::try_parse_from(["bench", "--quick", "--paths", "direct,floor"]).unwrap();
        assert_eq!(run.paths, ["direct", "floor"]);
        assert!(Arguments::try_parse_from(["bench", "--quick", "--full"]).is_err());
    }
}
