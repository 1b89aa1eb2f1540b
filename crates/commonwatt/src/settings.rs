//! The configuration, settled: the file, the environment and the home folder made into one value that leaves no
//! question open. Everything that can be wrong with them is found here, each with its place and what to do.
//!
//! Who wins where several speak: `COMMONWATT_…` variables over the file, the file over everybody else's variables
//! (`OPENAI_BASE_URL`, `OTEL_…`), those over what is built in.

mod providers;
mod routes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use commonwatt_core::admission::Grants;
use commonwatt_core::attempt;
use commonwatt_core::fleet::{NamedRoute, Tier};
use commonwatt_grid::bus::Retention;
use commonwatt_grid::identity::Key;
use commonwatt_upstream::spec::TimeoutsSpec;

pub(crate) use self::providers::{Access, Provider};
use crate::config::{self, Config, Places};
use crate::env::{self, Env};
use crate::home::{FirstKey, Home, expand, parse_hash};
use crate::problem::{Problem, Problems};
use crate::secret::Secret;

/// Where the daemon listens unless told otherwise.
pub(crate) const LISTEN: &str = "127.0.0.1:4600";
/// Where models are pulled from unless told otherwise.
const HUB: &str = "https://huggingface.co";

/// Everything the operator has decided, or left to us.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where it all comes from; [`Origin::load`] reads it anew.
    pub(crate) origin: Origin,
    /// The configuration file that was read.
    pub(crate) file: Option<PathBuf>,
    /// The address to listen on.
    pub(crate) listen: SocketAddr,
    /// Bounds of what callers may ask for.
    pub(crate) limits: Limits,
    /// How long suppliers are waited for, where it differs from the tier's habit.
    pub(crate) timeouts: TimeoutsSpec,
    /// The built-in engine.
    pub(crate) engine: Engine,
    /// Where models are pulled from.
    pub(crate) hub: Hub,
    /// The bus, where sessions are kept; `None` where nothing is.
    pub(crate) bus: Option<Bus>,
    /// All providers that are known, switched off and keyless ones included.
    pub(crate) providers: Vec<Provider>,
    /// The operator's routes.
    pub(crate) routes: Vec<NamedRoute>,
    /// Whether a model that cannot answer may be replaced by the rest of `auto`.
    pub(crate) substitute: bool,
    /// Who may call.
    pub(crate) keys: Vec<Key>,
    /// The name of the key with whose rights callers on this machine call that send none.
    pub(crate) keyless: Option<String>,
    /// The first key's text, where it is to be had.
    pub(crate) first_key: Option<FirstKey>,
    /// Logs and traces.
    pub(crate) telemetry: Telemetry,
}

/// Bounds of what callers may ask for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limits {
    /// Largest request, in bytes.
    pub(crate) body_bytes: usize,
    /// Calls under way at once.
    pub(crate) calls_max: usize,
    /// How much is tried for one call.
    pub(crate) attempts: attempt::Limits,
}

/// The built-in engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Engine {
    /// Whether models run here at all.
    pub(crate) enabled: bool,
    /// Compute threads; the engine decides where nothing is said.
    pub(crate) threads: Option<u32>,
    /// Window of one conversation in tokens.
    pub(crate) context_tokens: u32,
    /// Conversations that are answered at the same time.
    pub(crate) parallel: u32,
    /// A model without calls for this long leaves the memory.
    pub(crate) idle: Duration,
    /// Folder with GGUF files. It need not exist.
    pub(crate) vault: PathBuf,
}

/// Where models are pulled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hub {
    /// Its address.
    pub(crate) url: String,
    /// The token it wants, if any.
    pub(crate) token: Option<Secret>,
}

/// The bus, where sessions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bus {
    /// When sessions are erased that are not used.
    pub(crate) retention: Retention,
    /// Program and arguments that print the key; without them it lies in the home folder.
    pub(crate) key_command: Option<Vec<String>>,
}

/// Logs and traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Telemetry {
    /// Where traces go.
    pub(crate) otlp_endpoint: Option<String>,
    /// This daemon's name in traces.
    pub(crate) service_name: String,
    /// What is logged, as a filter of `tracing-subscriber`.
    pub(crate) log: Option<String>,
}

/// Where settings come from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The environment, as it was at the start.
    pub(crate) env: Env,
    /// The home folder.
    pub(crate) home: Home,
    /// The configuration file that somebody named: it must exist.
    pub(crate) file: Option<PathBuf>,
    /// The address that the command line names.
    pub(crate) listen: Option<String>,
}

impl Origin {
    /// The origin that the environment names; the command line may name another file.
    ///
    /// # Errors
    /// When nobody says where the home folder is.
    pub(crate) fn new(env: Env, file: Option<PathBuf>) -> anyhow::Result<Self> {
        let home = Home::locate(&env)?;
        let file = file.or_else(|| env.get(env::CONFIG).map(|path| expand(&env, path)));
        Ok(Self { env, home, file, listen: None })
    }

    /// The file that is read: the one somebody named, or the one in the home folder if it is there. A running daemon
    /// watches it, or the folder where it may appear.
    pub(crate) fn file(&self) -> PathBuf {
        self.file.clone().unwrap_or_else(|| self.home.config_file())
    }

    /// Reads file, environment and home folder, and settles them.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn load(&self) -> Result<Settings, Problems> {
        let (config, places) = self.read()?;
        settle(self, config, places)
    }

    fn read(&self) -> Result<(Config, Option<Places>), Problem> {
        let path = self.file();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.file.is_none() => {
                return Ok((Config::default(), None));
            }
            Err(error) => return Err(Problem::new(crate::home::unreadable(&path, &error).to_string())),
        };
        config::parse(&path, &text).map(|(config, places)| (config, Some(places)))
    }
}

/// What is gone through while settling: who speaks, and what was found wrong so far.
struct Desk<'a> {
    origin: &'a Origin,
    places: Option<Places>,
    problems: Vec<Problem>,
}

impl Desk<'_> {
    /// Something is wrong with the value at `path`.
    fn wrong(&mut self, path: &[&str], message: impl Into<String>, help: impl Into<String>) {
        let message = message.into();
        let problem = match &self.places {
            Some(places) => places.problem(path, message),
            None => Problem::new(message),
        };
        self.problems.push(problem.help(help));
    }

    /// Something is wrong with the name that stands last in `path`.
    fn wrong_name(&mut self, path: &[&str], message: impl Into<String>, help: impl Into<String>) {
        let message = message.into();
        let problem = match &self.places {
            Some(places) => places.problem_with_name(path, message),
            None => Problem::new(message),
        };
        self.problems.push(problem.help(help));
    }

    /// A path in the file: `~` is the user's own folder, relative paths start from the file.
    fn path(&self, text: &str) -> PathBuf {
        let path = expand(&self.origin.env, text);
        let folder = self.places.as_ref().and_then(Places::folder);
        folder.map_or_else(|| path.clone(), |folder| folder.join(&path))
    }

    /// A number of seconds that must be positive.
    fn seconds(&mut self, path: &[&str], seconds: f64) -> Duration {
        if seconds.is_finite() && seconds > 0.0 && seconds <= 86_400.0 {
            return Duration::from_secs_f64(seconds);
        }
        self.wrong(path, format!("`{seconds}` is no wait"), "write seconds, more than 0 and at most 86400");
        Duration::from_secs(1)
    }

    /// A whole number that must lie in a range.
    fn count(&mut self, path: &[&str], count: u32, range: std::ops::RangeInclusive<u32>) -> u32 {
        if !range.contains(&count) {
            let help = format!("write a number from {} to {}", range.start(), range.end());
            self.wrong(path, format!("`{count}` is out of range"), help);
        }
        count
    }

    /// The tier of a word.
    fn tier(&mut self, path: &[&str], word: &str) -> Option<Tier> {
        let tier = Tier::from_word(word);
        if tier.is_none() {
            self.wrong(path, format!("`{word}` is not a tier"), "write `frontier`, `free` or `local`");
        }
        tier
    }
}

/// Makes settings of everything that was read.
fn settle(origin: &Origin, config: Config, places: Option<Places>) -> Result<Settings, Problems> {
    let file = places.is_some().then(|| origin.file());
    let mut desk = Desk { origin, places, problems: Vec::new() };
    let listen = listen(&mut desk, config.listen.as_deref());
    let limits = limits(&mut desk, &config.limits);
    let timeouts = timeouts(&mut desk, &["timeouts"], &config.timeouts);
    let engine = engine(&mut desk, &config.engine);
    let hub = hub(&mut desk, config.hub);
    let bus = bus(&mut desk, config.bus);
    let keys = keys(&mut desk, &config.keys);
    let keyless = keyless(&mut desk, config.keyless, listen, &keys);
    let providers = providers::settle(&mut desk, config.providers, listen, &keys);
    let substitute = config.routing.substitute;
    let routes = routes::settle(&mut desk, config.routes, &providers, substitute);
    let first_key = origin.home.first_key(&origin.env).unwrap_or_else(|error| {
        desk.problems.push(Problem::new(error.to_string()));
        None
    });
    let telemetry = telemetry(&mut desk, config.telemetry);
    if !desk.problems.is_empty() {
        desk.problems.sort_by_key(|problem| problem.position().map(|(_, line, column)| (line, column)));
        return Err(Problems(desk.problems));
    }
    let origin = origin.clone();
    Ok(Settings {
        origin,
        file,
        listen,
        limits,
        timeouts,
        engine,
        hub,
        bus,
        providers,
        routes,
        substitute,
        keys,
        keyless,
        first_key,
        telemetry,
    })
}

/// The address to listen on. What the file says must be one also where somebody else wins.
fn listen(desk: &mut Desk<'_>, in_file: Option<&str>) -> SocketAddr {
    let origin = desk.origin;
    let help = "write an address and a port, such as `127.0.0.1:4600`";
    if let Some(text) = in_file.filter(|text| address(text).is_none()) {
        desk.wrong(&["listen"], format!("`{text}` is not an address to listen on"), help);
    }
    let louder = match (&origin.listen, origin.env.get(env::LISTEN)) {
        (Some(text), _) => Some(("--listen", text.as_str())),
        (None, Some(text)) => Some((env::LISTEN, text)),
        (None, None) => None,
    };
    if let Some((place, text)) = louder.filter(|(_, text)| address(text).is_none()) {
        let message = format!("`{text}` is not an address to listen on, but stands in `{place}`");
        desk.problems.push(Problem::new(message).help(help));
    }
    let text = louder.map(|(_, text)| text).or(in_file).unwrap_or(LISTEN);
    address(text).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

fn limits(desk: &mut Desk<'_>, limits: &config::Limits) -> Limits {
    let body_mib = desk.count(&["limits", "body_mib"], limits.body_mib, 1..=1_024);
    let calls_max = desk.count(&["limits", "calls_max"], limits.calls_max, 1..=1_000_000);
    let attempts_max = desk.count(&["limits", "attempts_max"], limits.attempts_max, 1..=64);
    let patience = desk.seconds(&["limits", "patience_s"], limits.patience_s);
    let wait_max = desk.seconds(&["limits", "retry_wait_max_s"], limits.retry_wait_max_s);
    let summary = desk.seconds(&["limits", "summary_s"], limits.summary_s);
    let ms = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let (patience_ms, wait_max_ms, summary_ms) = (ms(patience), ms(wait_max), ms(summary));
    let attempts = attempt::Limits { attempts_max, patience_ms, wait_max_ms, summary_ms };
    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    Limits { body_bytes: size(body_mib) << 20, calls_max: size(calls_max), attempts }
}

/// Waits that the file sets; those it does not set stay open.
fn timeouts(desk: &mut Desk<'_>, path: &[&str], timeouts: &config::Timeouts) -> TimeoutsSpec {
    let mut wait = |name: &str, seconds: Option<f64>| {
        seconds.map(|seconds| desk.seconds(&[path, &[name]].concat(), seconds).as_secs_f64())
    };
    TimeoutsSpec {
        connect_s: wait("connect_s", timeouts.connect_s),
        headers_s: wait("headers_s", timeouts.headers_s),
        first_content_s: wait("first_content_s", timeouts.first_content_s),
        idle_s: wait("idle_s", timeouts.idle_s),
        total_s: wait("total_s", timeouts.total_s),
    }
}

fn engine(desk: &mut Desk<'_>, engine: &config::Engine) -> Engine {
    let vault = engine.vault.as_deref().map_or_else(|| desk.origin.home.vault(), |text| desk.path(text));
    Engine {
        enabled: engine.enabled,
        threads: engine.threads.map(|threads| desk.count(&["engine", "threads"], threads, 1..=1_024)),
        context_tokens: desk.count(&["engine", "context_tokens"], engine.context_tokens, 256..=16_777_216),
        parallel: desk.count(&["engine", "parallel"], engine.parallel, 1..=256),
        idle: Duration::from_secs(u64::from(desk.count(
            &["engine", "idle_unload_s"],
            engine.idle_unload_s,
            1..=u32::MAX,
        ))),
        vault,
    }
}

fn hub(desk: &mut Desk<'_>, hub: config::Hub) -> Hub {
    let env = &desk.origin.env;
    let token = env.get(env::HUB_TOKEN).map(Secret::new);
    let preset = env.get(env::HUB).map(str::to_owned);
    let url = preset.or(hub.url).unwrap_or_else(|| HUB.to_owned());
    if let Err(message) = web_address(&url) {
        desk.wrong(&["hub", "url"], message, "write `https://host`");
    }
    Hub { url, token }
}

/// Keys from the home folder and the file.
fn keys(desk: &mut Desk<'_>, listed: &[config::Key]) -> Vec<Key> {
    let origin = desk.origin;
    let mut keys = origin.home.keyring(&origin.env).unwrap_or_else(|error| {
        let said = format!("{error:#}");
        if origin.home.first_key(&origin.env).is_ok() {
            desk.problems.push(Problem::new(said));
        }
        Vec::new()
    });
    for (at, key) in listed.iter().enumerate() {
        let at = at.to_string();
        if keys.iter().any(|other| other.name == key.name) {
            let message = format!("there are two keys of the name `{}`", key.name);
            desk.wrong(&["keys", &at, "name"], message, "give each key its own name");
        }
        let Some(hash) = parse_hash(&key.hash) else {
            let help = "write `blake3:` and 64 hexadecimal digits; `commonwatt key add NAME` prints them";
            desk.wrong(&["keys", &at, "hash"], "this is no hash of a key", help);
            continue;
        };
        let mut grants = Grants::default();
        if let Some(words) = &key.tiers {
            let position = |i: usize| i.to_string();
            let tier = |(i, word): (usize, &String)| desk.tier(&["keys", &at, "tiers", &position(i)], word);
            grants.tiers = words.iter().enumerate().filter_map(tier).collect();
        }
        keys.push(Key { name: key.name.clone(), hash, grants });
    }
    keys
}

/// The key of callers that send none. Its address must be out of reach for everybody else.
fn keyless(desk: &mut Desk<'_>, name: Option<String>, listen: SocketAddr, keys: &[Key]) -> Option<String> {
    let name = name?;
    if !listen.ip().is_loopback() {
        let message = format!("callers without a key would be let in from outside, since `listen` is `{listen}`");
        desk.wrong(&["keyless"], message, "remove `keyless`, or listen on `127.0.0.1:4600`");
    }
    // The first key is made when the daemon starts.
    if name != crate::home::FIRST && !keys.iter().any(|key| key.name == name) {
        desk.wrong(&["keyless"], format!("there is no key of the name `{name}`"), "write the name of one of `keys`");
    }
    Some(name)
}

/// What a retention of no days would mean.
const AT_ONCE: &str = "sessions would be erased at once";

fn bus(desk: &mut Desk<'_>, bus: config::Bus) -> Option<Bus> {
    let config::Bus { enabled, keep_days, route_days, class_days, key_command } = bus;
    let ms = |days: u32| u64::from(days) * 86_400_000;
    if keep_days == Some(0) {
        desk.wrong(&["bus", "keep_days"], AT_ONCE, "write a number of days, or remove it");
    }
    for (table, days) in [("route_days", &route_days), ("class_days", &class_days)] {
        for (name, _) in days.iter().filter(|(_, days)| **days == 0) {
            desk.wrong(&["bus", table, name], AT_ONCE, "write a number of days, or remove it");
        }
    }
    if key_command.as_ref().is_some_and(|command| command.first().is_none_or(String::is_empty)) {
        let help = "write the program and its arguments, such as `[\"pass\", \"show\", \"commonwatt\"]`";
        desk.wrong(&["bus", "key_command"], "no program is named", help);
    }
    let by = |days: BTreeMap<String, u32>| days.into_iter().map(|(name, days)| (name, ms(days))).collect();
    let retention = Retention { keep_ms: keep_days.map(ms), by_route: by(route_days), by_class: by(class_days) };
    enabled.then_some(Bus { retention, key_command })
}

fn telemetry(desk: &mut Desk<'_>, telemetry: config::Telemetry) -> Telemetry {
    let env = &desk.origin.env;
    let from = |name: &str| env.get(name).map(str::to_owned);
    let log = from(env::LOG);
    let service_name = telemetry.service_name.or_else(|| from(env::SERVICE_NAME));
    let otlp_endpoint = telemetry.otlp_endpoint.or_else(|| from(env::OTLP_ENDPOINT));
    if let Some(Err(message)) = otlp_endpoint.as_deref().map(web_address) {
        desk.wrong(&["telemetry", "otlp_endpoint"], message, "write `http://host:4318`");
    }
    Telemetry { otlp_endpoint, service_name: service_name.unwrap_or_else(|| "commonwatt".to_owned()), log }
}

/// Whether a text is an address on the web.
fn web_address(text: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| format!("`{text}` is not an address on the web"))
}

/// What a file says, without its white space; for keys.
fn secret_file(path: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(path).map_err(|error| crate::home::unreadable(path, &error))?;
    Ok(Secret::new(&text))
}

#[cfg(test)]
mod tests;
