//! The environment: the only place that reads it, and the list of every variable that means something here.
//!
//! Providers name further variables in their own files (`key_env`, `base_url_env`); they are looked up in the same
//! snapshot. A variable that is set to nothing counts as not set, which is what people mean by `NAME= command`.

use std::collections::BTreeMap;

/// A variable of ours, or one of everybody's that is honoured.
#[derive(Debug)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) says: &'static str,
}

/// The folder with keys, models and the configuration.
pub(crate) const HOME: &str = "COMMONWATT_HOME";
/// The address to listen on.
pub(crate) const LISTEN: &str = "COMMONWATT_LISTEN";
/// The configuration file.
pub(crate) const CONFIG: &str = "COMMONWATT_CONFIG";
/// The first key.
pub(crate) const KEY: &str = "COMMONWATT_KEY";
/// What is logged.
pub(crate) const LOG: &str = "COMMONWATT_LOG";
/// Where models are pulled from.
pub(crate) const HUB: &str = "COMMONWATT_HUB";
/// The token for the hub.
pub(crate) const HUB_TOKEN: &str = "HF_TOKEN";
/// Where traces go.
pub(crate) const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The name of this daemon in traces.
pub(crate) const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
/// No colours.
pub(crate) const NO_COLOR: &str = "NO_COLOR";
/// The user's own folder, above the default of [`HOME`].
const USER_HOME: &str = "HOME";

/// Every variable that is read, apart from those that providers name.
pub(crate) const VARIABLES: [Variable; 11] = [
    Variable { name: HOME, says: "folder for keys, models and the configuration; default `~/.commonwatt`" },
    Variable { name: LISTEN, says: "address to listen on; default `127.0.0.1:4600`; wins over the file" },
    Variable { name: CONFIG, says: "configuration file; default `commonwatt.toml` in the home folder, if it is there" },
    Variable {
        name: KEY,
        says: "the first key, for the daemon and the command line; otherwise one is made on first run",
    },
    Variable { name: LOG, says: "what is logged, such as `info` or `commonwatt=debug`" },
    Variable {
        name: HUB,
        says: "hub that models are pulled from; default `https://huggingface.co`; wins over the file",
    },
    Variable { name: HUB_TOKEN, says: "token for the hub; sent to the hub only" },
    Variable { name: OTLP_ENDPOINT, says: "where traces go, unless the file says" },
    Variable { name: SERVICE_NAME, says: "this daemon's name in traces, unless the file says" },
    Variable { name: NO_COLOR, says: "no colours, when set to anything" },
    Variable { name: USER_HOME, says: "your own folder, which `~` stands for" },
];

/// A snapshot of the environment. Whoever needs a variable is handed this.
#[derive(Clone, Debug, Default)]
pub(crate) struct Env {
    variables: BTreeMap<String, String>,
}

impl Env {
    /// The environment of this process. What is not Unicode is left out: no variable of ours may be.
    pub(crate) fn read() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { variables: std::env::vars_os().filter_map(text).collect() }
    }

    /// An environment of these variables only.
    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        Self { variables: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect() }
    }

    /// What a variable is set to, without white space around it; `None` where that is nothing.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The user's own folder.
    pub(crate) fn user_home(&self) -> Option<&str> {
        self.get(USER_HOME)
    }

    /// Whether colours are unwanted.
    pub(crate) fn no_color(&self) -> bool {
        self.get(NO_COLOR).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_set_to_nothing_is_not_set() {
        let env = Env::of(&[(KEY, ""), (LISTEN, " 127.0.0.1:1 ")]);
        assert_eq!(env.get(KEY), None);
        assert_eq!(env.get(LISTEN), Some("127.0.0.1:1"));
    }

    #[test]
    fn every_variable_is_listed_once_and_says_what_it_does() {
        for (at, variable) in VARIABLES.iter().enumerate() {
            assert!(!variable.says.is_empty());
            assert!(VARIABLES.iter().skip(at + 1).all(|other| other.name != variable.name), "{}", variable.name);
        }
    }
}
